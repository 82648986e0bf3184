"""Figures of the study last block gain."""
