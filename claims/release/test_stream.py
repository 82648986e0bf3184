"""Rows B1, B3, B6, B12 and B15: sinks, massive entries, growth, rogue dimensions, all-ones."""

import numpy as np

from refutable import Source, claim, mean, share, trend
from refutable.spec.claim import placebo

GROUPS = ("release",)
PROFILES = ("attention_adds", "attention_entropy", "block_angle", "feed_forward_adds")
"""What the gate compares block by block, besides what the claims read."""


def strongest(values):
    """Values on every other family of the head that is strongest on the families between."""
    families = list(dict.fromkeys(values["family"].values.tolist()))
    chosen = values["family"].isin(families[::2])
    means = values.isel(prompt=chosen.values).mean("prompt")
    layer, head = np.unravel_index(int(means.values.argmax()), means.shape)
    return values.isel(prompt=~chosen.values, layer=int(layer), head=int(head), drop=True)


def middle_attention(attention_middle):
    """Attention to a key in the middle, of the head that pays it most."""
    return strongest(attention_middle)


@claim(
    id="literature.attention-sink",
    statement="Some head pays much of its attention to the first token.",
    refuted_if="the head that pays it most pays it less than 0.3 on average, on other prompts",
    source=Source("literature", "B1", "Gu 2024, arXiv 2410.10781"),
    arms=("no-bos", "bos"),
    predicts=mean.above(0.3),
    control=placebo(middle_attention, statement="attention to a key in the middle"),
    unit="share of attention",
    sesoi=0.05,
    margin=0.05,
    groups=GROUPS,
)
def test_attention_sink(attention_first):
    """Attention to key 0, rows t >= 1, of the head chosen on every other family."""
    return strongest(attention_first)


def ordinary(tenth_to_median):
    """Log10 of the entry that a tenth exceed over the median; the largest over blocks."""
    return tenth_to_median.max("layer")


@claim(
    id="literature.massive-entries",
    statement="Some entries of the stream are a thousand times as large as the median one.",
    refuted_if="in fewer than half of the prompts some entry exceeds 1000 medians of its state",
    source=Source("literature", "B3", "Sun 2024, arXiv 2402.17762"),
    predicts=share.above(0.5, over=3.0),
    control=placebo(ordinary, statement="the entry that a tenth of all exceed"),
    unit="share of prompts",
    sesoi=0.1,
    margin=0.1,
    groups=GROUPS,
)
def test_massive_entries(largest_to_median):
    """Log10 of the largest entry over the median one of its state, the largest over blocks."""
    return largest_to_median.max("layer")


def shuffled_blocks(mean_log_residual_norm_rest):
    """Log norms with the blocks in a fixed random order."""
    order = np.random.default_rng(0).permutation(mean_log_residual_norm_rest.sizes["layer"])
    moved = mean_log_residual_norm_rest.isel(layer=order)
    return moved.assign_coords(layer=mean_log_residual_norm_rest["layer"])


@claim(
    id="literature.stream-grows",
    statement="The norm of the residual stream grows from block to block.",
    refuted_if="the mean slope of the log norm over blocks lies below +0.005",
    source=Source("literature", "B6", "Heimersheim and Turner 2023"),
    predicts=trend(over="layer").above(0.005),
    control=placebo(shuffled_blocks, statement="the blocks in a fixed random order"),
    also_record=PROFILES,
    unit="log norm a block",
    sesoi=0.005,
    margin=0.005,
    groups=GROUPS,
)
def test_stream_grows(mean_log_residual_norm_rest):
    """Mean over tokens, the first left out, of the log residual norm, block by block."""
    return mean_log_residual_norm_rest


def first_dimensions(first_cosine_share):
    """Share of the cosine that the first three dimensions make, the largest over blocks."""
    return first_cosine_share.max("layer")


@claim(
    id="literature.rogue-dimensions",
    statement="Three dimensions make most of the cosine of two tokens in some block.",
    refuted_if="the mean share of the top three, in the block where it is largest, is below 0.5",
    source=Source("literature", "B12", "Timkey and van Schijndel 2021, arXiv 2109.04404"),
    predicts=mean.above(0.5),
    control=placebo(first_dimensions, statement="the first three dimensions"),
    unit="share of the cosine",
    sesoi=0.05,
    margin=0.05,
    groups=GROUPS,
)
def test_rogue_dimensions(top_cosine_share):
    """Share of the expected cosine of two tokens from the top three dimensions, largest block."""
    return top_cosine_share.max("layer")


def random_direction(signs_cosine):
    """Absolute cosine with a random direction, times the root of the width; mean over blocks."""
    return signs_cosine.mean("layer")


@claim(
    id="literature.no-ones-direction",
    statement="States are nearly orthogonal to the all-ones direction.",
    refuted_if="the mean absolute cosine with it exceeds 2 over the root of the width",
    source=Source("literature", "B15", "Gupta 2024, arXiv 2409.12951"),
    predicts=mean.below(2.0),
    control=placebo(random_direction, statement="a fixed direction of random signs"),
    unit="abs cosine x root of width",
    sesoi=0.1,
    margin=0.1,
    groups=GROUPS,
)
def test_no_ones_direction(ones_cosine):
    """Absolute cosine with all ones, times the root of the width; mean over tokens and blocks."""
    return ones_cosine.mean("layer")
