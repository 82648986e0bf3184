"""Attention that thoughts receive, beside a length-matched span and the published procedure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from refutable.errors import NotMeasurableError
from refutable.models.large import is_large
from refutable.observables.registry import observable
from refutable.observables.thoughts.subject import (
    NAMES,
    THOUGHTS,
    by_prompt,
    first_of_each_family,
    laid_out,
)
from refutable.store.alike import Templates, labels_key

if TYPE_CHECKING:
    import torch
    import xarray as xr
    from torch import nn
    from transformers import PreTrainedModel

    from refutable.capture.thoughts import Thoughts
    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel
    from refutable.stats.core import Floats

CONTROLS = tuple(f"random{number}" for number in range(THOUGHTS))
SPANS = (*NAMES, *CONTROLS, "begin", "end")
FROM = ("answer", "later", "published")
_TEMPLATES = Templates()
PROMPTS_LARGE = 2
"""Prompts of each family that a large model reads (`refutable.models.large`)."""


@observable(
    source="model",
    dims=("prompt", "received_from", "layer", "head", "span"),
    unit="share",
    in_store_only=True,
    economical=True,
)
def attention_to_spans(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Attention weight that a span receives, as share of the whole row, by block and head.

    ``answer``: in the row of the position that says the answer. ``later``: mean over the rows of
    all positions behind the span. ``published``: not what the span receives but the mean over its
    keys of the span's own row, as the study's script takes it. ``random0`` to ``random5``: as
    many tokens as the thought of that number has, at random in the problem. Of several tokens the
    weights are added up; of a row, the last one's. Of a large model two prompts a family.
    """
    encoded = _affordable(loaded, encoded)
    thoughts = laid_out(loaded, encoded)
    spans = _spans(thoughts, encoded.prompt_ids)
    received = _received(loaded.model, thoughts, spans)
    layers, heads = range(received.shape[2]), range(received.shape[3])
    return by_prompt(
        received.numpy(), encoded, ("received_from", "layer", "head", "span"),
        received_from=FROM, layer=layers, head=heads, span=SPANS,
    )  # fmt: skip


@observable(source="model", dims=("prompt", "span"), unit="tokens", economical=True)
def span_lengths(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Number of tokens of each thought; 1 of a latent one."""
    encoded = _affordable(loaded, encoded)
    thoughts = laid_out(loaded, encoded)
    counts = [thoughts.thought(number).sum(dim=1) for number in range(THOUGHTS)]
    values = [[float(count[row]) for count in counts] for row in range(len(encoded))]
    import numpy as np

    return by_prompt(np.array(values), encoded, ("span",), span=NAMES)


@observable(source="model", dims=("prompt", "span"), unit="tokens", economical=True)
def keys_seen(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Number of positions that the last token of each thought sees, its own included."""
    encoded = _affordable(loaded, encoded)
    thoughts = laid_out(loaded, encoded)
    seen = thoughts.present.long().cumsum(dim=1)
    import torch

    masks = torch.stack([thoughts.thought(number) for number in range(THOUGHTS)], dim=1)
    last = (seen[:, None] * masks).amax(dim=2)
    return by_prompt(last.double().cpu().numpy(), encoded, ("span",), span=NAMES)


@observable(dims=("prompt", "received_from", "layer", "head", "thought"), unit="share")
def thought_attention(attention_to_spans: xr.DataArray, span_lengths: xr.DataArray) -> xr.DataArray:
    """Share of each thought in the attention, per token, that the six thoughts receive."""
    return among_six(attention_to_spans, span_lengths, NAMES)


def among_six(
    attention: xr.DataArray, lengths: xr.DataArray, names: tuple[str, ...]
) -> xr.DataArray:
    """Return the share of each of six spans, per token, in what the six receive.

    Parameters
    ----------
    attention
        `attention_to_spans`, from all places or from one.
    lengths
        `span_lengths`.
    names
        The six spans.
    """
    import numpy as np

    # In plain arrays: claims over seeds come here a hundred times a run.
    if not attention.indexes["prompt"].equals(lengths.indexes["prompt"]):
        raise ValueError("expected attention and lengths of the same prompts in the same order")
    spans = attention.indexes["span"].tolist()
    each = attention.values.take(
        [spans.index(name) for name in names], attention.dims.index("span")
    )
    each = np.moveaxis(each, attention.dims.index("span"), -1)
    last = [dim for dim in attention.dims if dim != "span"]
    tokens = lengths.values if lengths.dims[0] == "prompt" else lengths.values.T
    # The mean over keys of a row is no sum over the span's tokens.
    published = (attention["received_from"] == "published").values
    axes = {"prompt": len(tokens), "received_from": published.size}
    alone = [axes[dim] if dim == "prompt" else 1 for dim in last]
    if "received_from" in last:
        published = published.reshape([axes[d] if d == "received_from" else 1 for d in last])
    per_token = each / np.where(published[..., None], 1.0, tokens.reshape(*alone, len(names)))
    share = per_token / per_token.sum(axis=-1, keepdims=True)
    labels = labels_key(attention)
    return _TEMPLATES.filled(
        None if labels is None else (names, labels),
        lambda: _of_thoughts(attention, share), share, attention.name, {},
    )  # fmt: skip


def _of_thoughts(attention: xr.DataArray, share: Floats) -> xr.DataArray:
    """Label shares of six spans, whose dim comes last, as those of thoughts."""
    import xarray as xr

    dims = (*(dim for dim in attention.dims if dim != "span"), "thought")
    kept = {n: one for n, one in attention.coords.items() if set(one.dims) <= set(dims)}
    if "received_from" not in dims:
        del kept["received_from"]
    return xr.DataArray(share, {**kept, "thought": range(THOUGHTS)}, dims)


def _affordable(loaded: LoadedModel, encoded: Encoded) -> Encoded:
    """Families are the units, and the prompts of one are alike: of a large model a few decide."""
    large = is_large(loaded.facts)
    return first_of_each_family(encoded, PROMPTS_LARGE) if large else encoded


def _spans(thoughts: Thoughts, names: Sequence[str]) -> torch.Tensor:
    """Masks of all spans, (span, prompt, position); empty where prompts lack one."""
    import torch

    of_thoughts = [thoughts.thought(number) for number in range(THOUGHTS)]
    nothing = torch.zeros_like(thoughts.present)
    ends = [thoughts.spans.get(name, nothing) for name in ("begin", "end")]
    if not thoughts.latent:
        # The last token of a written prompt is called begin while prompts are laid out.
        ends = [nothing, nothing]
    return torch.stack([*of_thoughts, *_random_spans(of_thoughts, thoughts, names), *ends])


def _random_spans(
    taken: list[torch.Tensor], thoughts: Thoughts, names: Sequence[str]
) -> list[torch.Tensor]:
    """Draw spans before the first thought, as long as each thought; never the first token."""
    import numpy as np
    import torch

    drawn = [torch.zeros_like(mask) for mask in taken]
    for row, name in enumerate(names):
        start = int(thoughts.present[row].float().argmax()) + 1
        stop = int(taken[0][row].float().argmax())
        if thoughts.latent:
            # Begin stands right before the thoughts and is a span of its own.
            stop -= 1
        entropy = int.from_bytes(hashlib.sha256(str(name).encode()).digest()[:8], "big")
        random = np.random.default_rng(entropy)
        for number, mask in enumerate(taken):
            length = min(int(mask[row].sum()), stop - start)
            if length < 1:
                raise NotMeasurableError("a problem is too short to draw a random span from it")
            at = int(random.integers(start, stop - length + 1))
            drawn[number][row, at : at + length] = True
    return drawn


def _received(model: PreTrainedModel, thoughts: Thoughts, spans: torch.Tensor) -> torch.Tensor:
    """Reduce each block's pattern as it is computed: (prompt, from, layer, head, span)."""
    import torch

    from refutable.capture.answers import each_part
    from refutable.capture.interface import attending, eager_attention
    from refutable.capture.thought_parts import Part, gathered
    from refutable.models.structure import find_structure

    structure = find_structure(model)
    if not structure.attention_interface:
        raise NotMeasurableError("its attention does not go through transformers' interface")
    layers = {id(module): layer for layer, module in enumerate(structure.attentions)}
    rows = _rows(thoughts, spans)
    ran: list[Part] = []
    kept: list[dict[int, torch.Tensor]] = []
    cut: list[torch.Tensor] = []

    def begins(part: Part) -> None:
        ran.append(part)
        kept.append({})
        # (..., span, prompt, position), of the part's prompts and positions.
        cut[:] = [x[..., part.rows, part.start :] for x in (rows, spans.float())]

    def attend(
        module: nn.Module, *args: torch.Tensor, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        out, pattern = eager_attention(module)(module, *args, **kwargs)
        kept[-1][layers[id(module)]] = _reduced(pattern.float(), *cut)
        return out, pattern

    with attending(model, attend):
        each_part(model, thoughts, begins)
    stacked = [torch.stack([of[layer] for layer in sorted(of)], dim=2) for of in kept]
    return gathered(ran, stacked).cpu()


def _rows(thoughts: Thoughts, spans: torch.Tensor) -> torch.Tensor:
    """Weights of the rows to average for each span: (2, span, prompt, query); later, and own."""
    import torch

    positions = torch.arange(spans.shape[-1], device=spans.device)
    last = torch.where(spans, positions, -1).amax(dim=-1, keepdim=True)
    later = ((positions > last) & thoughts.present & (last >= 0)).float()
    later = later / later.sum(dim=-1, keepdim=True)
    at_last = (positions == last).float()
    # The mean over its keys: a row's weights are divided by how many positions it sees.
    seen = thoughts.present.long().cumsum(dim=1).clamp(min=1)
    return torch.stack([later, at_last / seen])


def _reduced(pattern: torch.Tensor, rows: torch.Tensor, spans: torch.Tensor) -> torch.Tensor:
    """Return (prompt, from, head, span) of one pattern (prompt, head, query, key)."""
    import torch

    answer = torch.einsum("phk,spk->phs", pattern[:, :, -1], spans)
    later = torch.einsum("phqk,spq,spk->phs", pattern, rows[0], spans)
    published = torch.einsum("phqk,spq->phs", pattern, rows[1])
    there = spans.any(dim=-1).transpose(0, 1)[:, None]
    shares = torch.stack([answer, later, published], dim=1)
    return torch.where(there[:, None], shares, torch.full_like(shares, torch.nan))
