"""The Python interface, for notebooks, scripts and training loops."""
