"""From observations to a verdict: a claim on one model, or on several."""
