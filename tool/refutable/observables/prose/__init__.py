"""What a model does on held-out prose."""
