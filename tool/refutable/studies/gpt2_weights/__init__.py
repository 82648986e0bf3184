"""The study gpt2 weights: what no other study needs."""
