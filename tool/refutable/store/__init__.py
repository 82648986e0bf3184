"""Measured arrays that are kept between runs."""
