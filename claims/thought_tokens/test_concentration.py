"""Rows C6 and C8: attention concentrates on thought 5, and more so with depth."""

import xarray as xr

from refutable import Source, claim, untrained
from refutable.predictions import over_seeds

C6 = Source(study="thought-tokens", ref="C6")
C8 = Source(study="thought-tokens", ref="C8")
PROMPTS = "modular-steps"
SESOI = 0.02


@claim(
    id="thoughts.attention-on-last",
    statement="The answer's position attends to thought 5 more than to any other thought.",
    refuted_if="the share of thought 5 minus the largest other lies below 0",
    source=C6,
    prompts=PROMPTS,
    predicts=over_seeds("thoughts-large").above(0.0),
    control=untrained(seeds=5),
    unit="share",
    sesoi=SESOI,
    margin=SESOI,
)
def test_on_last(attention_from_answer):
    """Share of thought 5 minus the largest other, mean over heads, in the last block."""
    share = attention_from_answer.isel(layer=-1, drop=True)
    return share.sel(thought=5, drop=True) - share.sel(thought=slice(0, 4)).max("thought")


@claim(
    id="thoughts.end-attends-to-itself",
    statement="The token after the thoughts attends to itself more than to any thought.",
    refuted_if="its weight on itself minus the largest on a thought lies below 0",
    source=C6,
    prompts=PROMPTS,
    predicts=over_seeds("thoughts-large").above(0.0),
    control=untrained(seeds=5),
    unit="share",
    sesoi=SESOI,
    margin=SESOI,
)
def test_end_on_itself(answer_row):
    """Weight on the end token minus the largest on a thought, in its row; heads' mean, last block.

    An index shifted by one would show the end token where thought 5 is meant.
    """
    weight = answer_row.isel(layer=-1, drop=True)
    thoughts = weight.sel(span=[f"t{number}" for number in range(6)])
    return weight.sel(span="end", drop=True) - thoughts.max("span")


@claim(
    id="thoughts.focus-grows-with-depth",
    statement="The share of thought 5 grows with depth.",
    refuted_if="the mean slope of its share over the blocks lies below 0",
    source=C8,
    prompts=PROMPTS,
    predicts=over_seeds("thoughts-large").above(0.0),
    control=untrained(seeds=5),
    unit="share a block",
    sesoi=0.01,
    margin=0.01,
)
def test_slope(attention_from_answer):
    """Least-squares slope of thought 5's share over all blocks; one for each problem."""
    share = attention_from_answer.sel(thought=5, drop=True)
    depth = xr.DataArray(range(share.sizes["layer"]), dims="layer", coords={"layer": share.layer})
    centred = depth - depth.mean()
    return (share * centred).sum("layer") / (centred**2).sum()
