"""Observables that only the study of norm ablation can have."""
