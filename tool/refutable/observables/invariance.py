"""What should not change a prompt's numbers: the order of its tokens, and the prompts beside it.

Each is measured prompt by prompt, from its token ids alone, so that a search can attack it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from refutable.capture.measure import measure
from refutable.capture.packing import Pack, Segment
from refutable.capture.recorder import AttentionRecorder
from refutable.errors import InstrumentError, NotAvailableError
from refutable.observables.registry import REGISTRY, observable
from refutable.observables.similarity.alignment import last_residuals

if TYPE_CHECKING:
    import torch
    import xarray as xr
    from numpy.typing import NDArray

    from refutable.capture.recorder import Patterns
    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel

    Ids = tuple[int, ...]


@observable(source="recorder", dims=("prompt", "layer", "head"), unit="sum of a row")
class AttentionRowTotal(AttentionRecorder):
    """Sum of the attention row of a prompt that lies furthest from 1, by head.

    Notes
    -----
    Models whose heads have a sink of their own leave part of each row to it, and sum to less.
    """

    name = "attention_row_total"

    def reduce(self, view: Patterns) -> torch.Tensor:
        """Pick the sum that is furthest from 1."""
        import torch

        total = view.pattern.sum(-1)
        rows = torch.arange(total.shape[-1], device=total.device)
        inside = (rows < view.lengths[:, None])[:, None, :]
        furthest = (total - 1).abs().masked_fill(~inside, -1.0).argmax(-1, keepdim=True)
        return total.gather(-1, furthest)[..., 0]


@observable(source="model", dims=("prompt", "layer"), unit="share of the norm", by_prompt=True)
def change_by_order(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Change of the last token's stream, over its norm, when the tokens before it are reversed.

    Parameters
    ----------
    loaded : LoadedModel
        The model.
    encoded : Encoded
        The prompts.

    Returns
    -------
    DataArray
        ``(prompt, layer)``, after each block, before the final norm.
    """
    turned = replace(encoded, ids=tuple((*ids[-2::-1], ids[-1]) for ids in encoded.ids))
    straight = last_residuals(loaded, encoded)
    change = np.linalg.norm(last_residuals(loaded, turned) - straight, axis=-1)
    return _by_layer(change / np.linalg.norm(straight, axis=-1), encoded, first=0)


@observable(source="model", dims=("prompt", "layer"), unit="log ratio", by_prompt=True)
def change_by_company(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Absolute change of a prompt's log growth by block when it shares a batch with others.

    Parameters
    ----------
    loaded : LoadedModel
        The model.
    encoded : Encoded
        The prompts. Each is run alone and as the middle row of a right-padded batch whose other
        rows are its last token and the prompt twice over, as far as the context goes: what it is
        padded by follows from the prompt.

    Returns
    -------
    DataArray
        ``(prompt, layer)``, from the second block on.

    Raises
    ------
    NotAvailableError
        If the model takes no padded batch.
    """
    alone = _log_growth(loaded, encoded, None)
    rows, packs = _in_company(encoded, loaded.facts.context)
    try:
        beside = _log_growth(loaded, rows, packs)[1::3]
    except InstrumentError as problem:
        raise NotAvailableError(f"the model takes no padded batch ({problem})") from problem
    return _by_layer(np.abs(beside - alone), encoded, first=1)


def _in_company(encoded: Encoded, context: int) -> tuple[Encoded, tuple[Pack, ...]]:
    """Return three rows for each prompt, itself in the middle, and the passes that hold them."""
    ids: list[Ids] = []
    packs = []
    for tokens in encoded.ids:
        rows = (tokens[-1:], tokens, (tokens + tokens)[: max(context, len(tokens))])
        segments = tuple(Segment(len(ids) + k, k, 0, len(row)) for k, row in enumerate(rows))
        packs.append(Pack("padded", len(rows), len(rows[-1]), segments))
        ids += rows
    names = tuple(map(str, range(len(ids))))
    made = replace(
        encoded, ids=tuple(ids), prompt_ids=names, families=names, spans=(), answers=()
    )  # fmt: skip
    return made, tuple(packs)


def _log_growth(
    loaded: LoadedModel, encoded: Encoded, packs: tuple[Pack, ...] | None
) -> NDArray[np.float64]:
    from refutable.models.sites import find_sites

    norm = REGISTRY["residual_norm"]
    norms = measure(
        loaded.model, find_sites(loaded.model), encoded, [norm], layout="single", packs=packs
    )[norm.name]
    return np.diff(np.log(np.asarray(norms.values, dtype=np.float64)), axis=1)


def _by_layer(values: NDArray[np.float64], encoded: Encoded, *, first: int) -> xr.DataArray:
    import xarray as xr

    return xr.DataArray(
        values,
        dims=("prompt", "layer"),
        coords={
            "prompt": list(encoded.prompt_ids),
            "family": ("prompt", list(encoded.families)),
            "layer": first + np.arange(values.shape[1]),
        },
    )
