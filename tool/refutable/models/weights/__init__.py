"""Tensors of a checkpoint, read without building the model."""
