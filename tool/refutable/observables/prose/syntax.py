"""Where heads attend on held-out prose: maps, and arcs from a word's later tokens to its first.

The study says of its base model that some heads attend to syntax and does not define it (row N2).
Here it means *word arcs*: a token that continues a word attends to that word's first token more
than tokens that are no such continuation attend to the key at the same distance. That needs no
parser, holds for any subword tokenizer, and the position of the key alone cannot produce it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from refutable.models.large import reads_as_a_copy
from refutable.observables.prose.text import documents, windows_of
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import numpy as np
    import torch
    import xarray as xr

    from refutable.models.load import LoadedModel

    Integers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

TOKENS = 64
FARTHEST = 4
"""Longest word arc that is read, in tokens."""
MAP_TOKENS = 16
MOST_CELLS = 30_000
"""Numbers of an attention map; more would not be kept with a run's observations."""
_SPACES = str.maketrans("Ġ▁Ċĉ", "    ")
"""How byte-level and SentencePiece tokenizers write white space."""


def word_starts(pieces: Sequence[str]) -> Integers:
    """Position of the first token of each token's word; a token that starts one gives its own.

    Parameters
    ----------
    pieces : sequence of str
        Tokens as the tokenizer writes them; a leading ``Ġ``, ``▁`` or space starts a word, and
        so does a letter or digit after anything else, and everything that is neither.
    """
    import numpy as np

    starts: list[int] = []
    before = ""
    for place, piece in enumerate(pieces):
        plain = piece.translate(_SPACES)
        continues = plain[:1].isalnum() and before[-1:].isalnum()
        starts.append(starts[-1] if continues else place)
        before = plain
    return np.array(starts, dtype=np.int64)


def arc_weights(starts: Sequence[Integers], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights that turn attention into its mean on word arcs, and on the same distances elsewhere.

    Parameters
    ----------
    starts : sequence, (text,)
        What `word_starts` gives for each text, of `length` tokens each.
    length : int
        Tokens.

    Returns
    -------
    arcs, elsewhere : torch.Tensor
        ``(text, query, key)``; each text's weights sum to 1, and have the same sum at every
        distance in both. All 0 for a text without a word arc. The first token is no key of
        either: attention rests there without need.
    """
    import torch

    arcs = torch.zeros(len(starts), length, length)
    elsewhere = torch.zeros_like(arcs)
    for text, of_text in enumerate(starts):
        for distance in range(1, FARTHEST + 1):
            queries = torch.arange(distance + 1, length)
            on = torch.as_tensor(of_text)[queries] == queries - distance
            if not on.any() or on.all():
                continue
            arcs[text, queries[on], queries[on] - distance] = 1.0
            share = float(on.sum()) / float((~on).sum())
            elsewhere[text, queries[~on], queries[~on] - distance] = share
    total = arcs.sum((1, 2), keepdim=True).clamp_min(1.0)
    return arcs / total, elsewhere / total


@observable(source="model", dims=("text", "layer", "head"), unit="share", economical=True)
def word_arcs(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Attention on the first token of one's word less that at the same distances elsewhere.

    Notes
    -----
    Over the first 64 tokens of each held-out document, see `arc_weights`; a document without a
    word arc gives NaN. Untrained copies read every other pair of documents.
    """
    import numpy as np
    import torch
    import xarray as xr

    names, rows, patterns = _read(loaded, TOKENS, some=reads_as_a_copy(loaded))
    pieces = [loaded.reader().convert_ids_to_tokens(row) for row in rows.tolist()]
    arcs, elsewhere = arc_weights([word_starts(p) for p in pieces], rows.shape[1])
    excess = [torch.einsum("thqk,tqk->th", pattern, arcs - elsewhere) for pattern in patterns]
    values = np.asarray(torch.stack(excess, dim=1).double())
    values[np.asarray(arcs.sum((1, 2)) == 0)] = np.nan
    coords = {
        "text": names,
        "family": ("text", names),
        "layer": range(values.shape[1]),
        "head": range(values.shape[2]),
    }
    return xr.DataArray(values, dims=("text", "layer", "head"), coords=coords)


@observable(
    source="model",
    dims=("layer", "head", "query", "key"),
    unit="share",
    recorded_with="attention_entropy",
)
def attention_map(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Attention of each head from query to key, mean over the starts of held-out documents.

    Notes
    -----
    The first 16 tokens of each document, or fewer where a model has so many heads that its maps
    would hold more than 30,000 numbers.
    """
    import numpy as np
    import torch
    import xarray as xr

    heads = loaded.facts.blocks * loaded.facts.heads
    length = max(2, min(MAP_TOKENS, int((MOST_CELLS / heads) ** 0.5)))
    _, _, patterns = _read(loaded, length)
    values = np.asarray(torch.stack([pattern.mean(0) for pattern in patterns]).double())
    coords = {dim: range(n) for dim, n in zip(("layer", "head"), values.shape, strict=False)}
    coords |= {"query": range(length), "key": range(length)}
    return xr.DataArray(values, dims=("layer", "head", "query", "key"), coords=coords)


def _read(
    loaded: LoadedModel, tokens: int, *, some: bool = False
) -> tuple[list[str], torch.Tensor, list[torch.Tensor]]:
    """Names and first tokens of held-out documents, and each block's patterns on them."""
    import torch

    from refutable.capture.intervene import read

    names, texts = documents()
    if some:
        # Pairs, so that what was an even document is one and what was an odd one, too.
        names, texts = ([x for i, x in enumerate(part) if i % 4 < 2] for part in (names, texts))
    rows = torch.cat([windows_of(loaded, text, windows=1)[:, :tokens] for text in texts])
    sites = [f"blocks.{layer}.attn.pattern" for layer in range(loaded.facts.blocks)]
    values = read(loaded.model, rows, sites)
    return names, rows.cpu(), [values[site].float().cpu() for site in sites]


def best_elsewhere(values: xr.DataArray) -> xr.DataArray:
    """Pick the head with the largest mean on even families, and return it on the odd ones.

    Parameters
    ----------
    values : xarray.DataArray
        ``(text, layer, head)``; families in the order of `text`. NaN is left out of means.

    Returns
    -------
    xarray.DataArray
        ``(text)`` of every second family. Selection and test share none.
    """
    even, odd = values.isel(text=slice(0, None, 2)), values.isel(text=slice(1, None, 2))
    chosen = even.mean("text", skipna=True).argmax(("layer", "head"))
    score: xr.DataArray = odd.isel(chosen).drop_vars(("layer", "head"), errors="ignore")
    return score.dropna("text")
