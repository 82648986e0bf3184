"""Which continuous thoughts matter, and whether attention shows it.

The study compared two published models that differ in everything. Here the subjects are thought
twins: two sizes of one shape, eight training seeds each, on the same data and curriculum, with
thoughts and without (docs/studies/thought-tokens.md). Seeds and problem templates are the units.
"small" takes the place of the study's GPT-2, "large" that of its LLaMA. Claims whose name begins
with ``written`` ask the same of ordinary written steps, on any model of text.
"""
