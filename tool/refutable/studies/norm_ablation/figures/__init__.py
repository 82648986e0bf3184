"""Figures of the study norm ablation."""
