"""The search for the smallest prompt that refutes a claim.

``objective`` scores token ids by how far they violate a claim, many a pass; ``explore`` looks for
the worst of them, ``shrink`` makes a violating one as small as it can, ``verify`` runs it alone in
float32, ``counterexamples`` keeps it. ``search`` puts them together; ``strategies`` (public as
`refutable.strategies`) gives the same prompts to anybody's own Hypothesis tests.
"""
