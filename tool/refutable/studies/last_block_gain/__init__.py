"""The study last block gain: what no other study needs."""
