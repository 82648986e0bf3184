"""The study no position: what no other study needs."""
