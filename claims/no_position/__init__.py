"""How a transformer without positional embeddings finds the previous token.

Five training seeds of the study's model (2 blocks, 1 head, width 64, ReLU, vocabulary 300, context
50, positional embedding zero and frozen) are the units; each has its own initialisation and data
order. Tokens are uniform in 1..299 behind a BOS token, the target at position t is the token at
t - 1. Everything is evaluated on sequences from a stream that no training run reads.
"""
