"""Figures of the thought-tokens study."""
