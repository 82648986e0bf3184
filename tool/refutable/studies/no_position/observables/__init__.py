"""Observables of the study no position, measured on its trained seeds; loads no torch."""
