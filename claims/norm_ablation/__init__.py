"""What normalization does inside a decoder, on twins that differ in nothing but their norms.

The study compared four checkpoints of one training run each. Here the groups are the twins of
``fixtures/twins``: the same data, initialisation and optimiser for all variants of a seed, so a
contrast is paired by seed, and where there are prompts or documents by family too (two-way
interval). Fewer than five seeds of both sides decide nothing. ``none`` has no norm inside its
blocks; the final norm stays in every variant. Steps are equal, losses are not: see docs/twins.md.
"""
