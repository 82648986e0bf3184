"""How the models that are shipped were made: corpus, recipe, training."""
