"""Measuring what claims ask for: each model loaded once, each prompt run once."""
