"""Rows B8, B19, B27 and B36: block deletion, induction, the logits' rank, the logit lens."""

import numpy as np

from refutable import Source, claim, equals, mean
from refutable.spec.claim import placebo

GROUPS = ("release",)


def other_prompt(deletion_keeps_other):
    """Share of middle blocks without which the model says what it says after another prompt."""
    return inner(deletion_keeps_other)


def inner(values):
    """Mean over the blocks but the first two and the last."""
    return values.isel(layer=slice(min(2, values.sizes["layer"] - 2), -1)).mean("layer")


@claim(
    id="literature.blocks-are-spare",
    statement="Deleting one middle block leaves the most probable next token.",
    refuted_if="it stays in less than 72 % of the deletions of middle blocks",
    source=Source("literature", "B8", "Lad 2024, arXiv 2406.19384"),
    predicts=mean.above(0.72),
    control=placebo(other_prompt, statement="what the intact model says after another prompt"),
    kind="interventional",
    unit="share of deletions",
    sesoi=0.05,
    margin=0.1,
    groups=GROUPS,
)
def test_blocks_are_spare(deletion_keeps_top):
    """Share of the blocks but the first two and the last whose deletion keeps the top token."""
    return inner(deletion_keeps_top)


def strongest(values):
    """Values on odd sequences of the head that is strongest on even ones."""
    chosen = values.isel(prompt=slice(0, None, 2)).mean("prompt")
    layer, head = np.unravel_index(int(chosen.values.argmax()), chosen.shape)
    return values.isel(prompt=slice(1, None, 2), layer=int(layer), head=int(head), drop=True)


def elsewhere(off_induction_attention):
    """Attention of the strongest head to a token that was not copied."""
    return strongest(off_induction_attention)


@claim(
    id="literature.induction-head",
    statement="Some head attends to the token after the previous copy.",
    refuted_if="the strongest head pays it less than 0.4 of its attention on other sequences",
    source=Source("literature", "B19", "Olsson 2022, arXiv 2209.11895"),
    predicts=mean.above(0.4),
    control=placebo(elsewhere, statement="a token five places further back"),
    unit="share of attention",
    sesoi=0.05,
    margin=0.1,
    groups=GROUPS,
)
def test_induction_head(induction_attention):
    """Attention to the token after the copy, of the head chosen on half of the sequences."""
    return strongest(induction_attention)


@claim(
    id="literature.rank-of-logits",
    statement="The logits have the rank of the model's width, or one less.",
    refuted_if="the rank differs from the width by more than that",
    source=Source("literature", "B27", "Carlini 2024, arXiv 2403.06634"),
    predicts=equals(0.0, tolerance=1.0),
    no_control="an identity of the architecture: any weights have it",
    unit="dimensions",
    margin=0.5,
    groups=GROUPS,
)
def test_rank_of_logits(logit_rank_defect):
    """Numerical rank of the logits after random tokens, less the width."""
    return logit_rank_defect


def rises(values):
    """Share of the steps from block to block in which a value rises."""
    table = np.diff(values.values, axis=values.get_axis_num("layer"))
    return values.isel(layer=0, drop=True).copy(data=(table > 0).mean(-1))


def shuffled_depth(lens_divergence):
    """Share of rising steps with the blocks in a fixed random order."""
    order = np.random.default_rng(1).permutation(lens_divergence.sizes["layer"])
    return rises(lens_divergence.isel(layer=order))


@claim(
    id="literature.lens-converges",
    statement="What a block would predict comes closer to the prediction from block to block.",
    refuted_if="the divergence rises in more than 20 % of the steps",
    source=Source("literature", "B36", "Belrose 2023, arXiv 2303.08112"),
    predicts=mean.below(0.2),
    control=placebo(shuffled_depth, statement="the blocks in a fixed random order"),
    kind="probing",
    unit="share of steps",
    sesoi=0.05,
    margin=0.05,
    groups=GROUPS,
)
def test_lens_converges(lens_divergence):
    """Share of the steps over blocks in which the lens's KL to the final distribution rises."""
    return rises(lens_divergence)
