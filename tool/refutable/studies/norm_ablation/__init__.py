"""The study norm ablation: what no other study needs."""
