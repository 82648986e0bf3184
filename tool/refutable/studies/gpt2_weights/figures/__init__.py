"""Figures of the study gpt2 weights."""
