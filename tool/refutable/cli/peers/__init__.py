"""Side by side with other ways to read a model's internals."""
