"""Means over problems of what thoughts receive and what they are worth, for figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.observables.registry import observable
from refutable.observables.thoughts.reduced import of_prompts

if TYPE_CHECKING:
    import xarray as xr


@observable(dims=("layer", "thought"), unit="share", recorded_with="attention_to_spans")
def mean_thought_attention(attention_from_answer: xr.DataArray) -> xr.DataArray:
    """Share of each thought in what the six receive from the answer, mean over problems, heads."""
    return attention_from_answer.mean("prompt")


@observable(dims=("later", "measure", "thought"), recorded_with="thought_importance")
def mean_thought_importance(
    total_importance: xr.DataArray, direct_importance: xr.DataArray
) -> xr.DataArray:
    """What the answer loses when a thought is another problem's, mean over problems.

    Later thoughts follow from it, or are kept; the same of written steps.
    """
    import numpy as np
    import xarray as xr

    total, direct = total_importance.mean("prompt"), direct_importance.mean("prompt")
    return xr.DataArray(
        np.stack([total.values, direct.transpose(*total.dims).values]),
        {
            "later": ["follow from it", "kept"],
            "measure": total["quantity"].values,
            "thought": total["thought"].values,
        },
        ("later", *("measure" if dim == "quantity" else dim for dim in total.dims)),
    )


@observable(dims=("thoughts", "measure"), recorded_with="answers_by_thoughts")
def mean_answers_by_thoughts(answers_by_thoughts: xr.DataArray) -> xr.DataArray:
    """Log-probability and accuracy of the right answer by thoughts given, mean over problems."""
    return answers_by_thoughts.mean("prompt").rename(quantity="measure")


@observable(dims=("thought",), unit="correlation", recorded_with="thought_importance")
def correlation_over_problems(
    attention_from_answer: xr.DataArray, total_importance: xr.DataArray
) -> xr.DataArray:
    """Correlation over problems of a thought's attention, mean over blocks, and importance."""
    import numpy as np

    lost = total_importance.sel(quantity="log-probability", drop=True)
    share = of_prompts(attention_from_answer, lost).mean("layer")
    a, b = (
        values - values.mean(axis=0)
        for values in (one.transpose("prompt", "thought").values for one in (share, lost))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return lost.isel(prompt=0, drop=True).copy(data=r)
