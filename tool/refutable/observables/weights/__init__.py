"""What weights show without running the model: counts, distributions, positions, heads, spectra."""
