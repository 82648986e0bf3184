"""Figures of the study no position."""
