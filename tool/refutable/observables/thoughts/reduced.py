"""One number a thought, a prompt or a model: what claims about thoughts compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.observables.registry import observable
from refutable.observables.thoughts.ablation import INPUT, RUN_ON
from refutable.observables.thoughts.attention import CONTROLS, among_six
from refutable.observables.thoughts.subject import NAMES

if TYPE_CHECKING:
    import xarray as xr


@observable(dims=("prompt", "quantity", "thought"))
def total_importance(thought_importance: xr.DataArray) -> xr.DataArray:
    """What the answer loses when a thought is another problem's and later ones follow from it.

    Written steps follow from nothing: theirs is the loss with all later steps kept.
    """
    coordinates = [str(place) for place in thought_importance["place"].values]
    place = RUN_ON if RUN_ON in coordinates else INPUT
    return thought_importance.sel(replaced_by="resampled", place=place, drop=True)


@observable(dims=("prompt", "quantity", "thought"))
def direct_importance(thought_importance: xr.DataArray) -> xr.DataArray:
    """What the answer loses when a thought is another problem's and later ones are kept."""
    return thought_importance.sel(replaced_by="resampled", place=INPUT, drop=True)


@observable(dims=("prompt", "layer", "span"), unit="share")
def answer_row(attention_to_spans: xr.DataArray) -> xr.DataArray:
    """Weight of the answer's position on each thought and on the end token, mean over heads."""
    spans = [*NAMES, "begin", "end"]
    return attention_to_spans.sel(received_from="answer", span=spans, drop=True).mean("head")


@observable(dims=("prompt", "quantity"))
def pairs_beyond_singles(thought_pair_importance: xr.DataArray) -> xr.DataArray:
    """What a pair loses more than its two thoughts alone together, mean over the 15 pairs.

    Above 0: one thought stands in for the other.
    """
    import numpy as np

    both = thought_pair_importance.transpose(..., "first", "second")
    values = both.values
    single = np.diagonal(values, axis1=-2, axis2=-1)
    more = values - single[..., None] - single[..., None, :]
    first, second = np.triu_indices(values.shape[-1], 1)
    one = both.isel(first=0, second=0, drop=True)
    return one.copy(data=more[..., first, second].mean(axis=-1))


@observable(dims=("prompt", "layer", "thought"), unit="share")
def attention_from_answer(
    attention_to_spans: xr.DataArray, span_lengths: xr.DataArray
) -> xr.DataArray:
    """Share of each thought in what the six receive from the answer's position, mean over heads."""
    received = attention_to_spans.sel(received_from="answer")
    return among_six(received, span_lengths, NAMES).mean("head")


@observable(dims=("prompt", "layer", "thought"), unit="share")
def random_attention_from_answer(
    attention_to_spans: xr.DataArray, span_lengths: xr.DataArray
) -> xr.DataArray:
    """The same of six random spans of the problem that are as long as the thoughts."""
    received = attention_to_spans.sel(received_from="answer")
    return among_six(received, span_lengths, CONTROLS).mean("head")


@observable(dims=("prompt", "layer", "thought"), unit="share")
def published_attention(
    attention_to_spans: xr.DataArray, span_lengths: xr.DataArray
) -> xr.DataArray:
    """Share of each thought by the published procedure: mean over the keys of its own row."""
    received = attention_to_spans.sel(received_from="published")
    return among_six(received, span_lengths, NAMES).mean("head")


@observable(dims=("prompt",), unit="correlation")
def attention_follows_total_importance(
    attention_from_answer: xr.DataArray, total_importance: xr.DataArray
) -> xr.DataArray:
    """Correlation over a prompt's six thoughts of attention, mean over blocks, and importance."""
    return _correlation(attention_from_answer, total_importance)


@observable(dims=("prompt",), unit="correlation")
def attention_follows_direct_importance(
    attention_from_answer: xr.DataArray, direct_importance: xr.DataArray
) -> xr.DataArray:
    """The same with the importance of a thought when the later ones are kept."""
    return _correlation(attention_from_answer, direct_importance)


def of_prompts(attention: xr.DataArray, others: xr.DataArray) -> xr.DataArray:
    """Return attention on the prompts of another array, in its order."""
    if attention.indexes["prompt"].equals(others.indexes["prompt"]):
        return attention
    return attention.sel(prompt=others["prompt"])


def _correlation(attention: xr.DataArray, importance: xr.DataArray) -> xr.DataArray:
    """Pearson's r over the six thoughts; 0 where the importance of all is the same."""
    import numpy as np

    lost = importance.sel(quantity="log-probability", drop=True)
    share = of_prompts(attention, lost).mean("layer")
    plain = (one.values if one.dims[0] == "prompt" else one.values.T for one in (share, lost))
    a, b = (values - values.mean(axis=1, keepdims=True) for values in plain)
    size = (a**2).sum(axis=1) * (b**2).sum(axis=1)
    r = (a * b).sum(axis=1) / np.sqrt(np.where(size == 0, 1.0, size))
    return lost.isel(thought=0, drop=True).copy(data=np.where(size == 0, 0.0, r))


@observable(dims=(), unit="thoughts")
def thoughts_that_matter(total_importance: xr.DataArray) -> xr.DataArray:
    """Effective number of thoughts: exp of the entropy of their shares of the mean importance.

    Between 1 (all of it lies in one) and 6. A mean importance below 0 counts as none.
    """
    import numpy as np

    lost = total_importance.sel(quantity="log-probability", drop=True).mean("prompt").clip(min=0)
    # In plain arrays: claims over seeds come here for every copy of every seed.
    whole = lost.values.sum()
    share = lost.values / (whole if whole > 0 else np.nan)
    surprise = -(share * np.log(np.where(share == 0, 1.0, share))).sum()
    return lost.isel(thought=0, drop=True).copy(data=np.exp(surprise))
