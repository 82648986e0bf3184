"""Gradients of the held-out loss relative to the weights they would change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.observables.prose.text import documents, windows_of
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import torch
    import xarray as xr
    from torch import nn

    from refutable.models.load import LoadedModel


@observable(source="model", dims=("text", "layer"), unit="log ratio")
def relative_gradient_norm(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Log of gradient norm over weight norm of each block, for the loss on each held-out document.

    Notes
    -----
    Norm gains and biases are left out: a block without norms has none. The model itself is not
    changed; its gradients are switched off again.
    """
    import numpy as np
    import torch
    import xarray as xr
    from torch.nn.functional import cross_entropy

    from refutable.models.sites import find_sites

    names, texts = documents()
    blocks = [_matrices(block) for block in find_sites(loaded.model).blocks]
    flat = [p for of_block in blocks for p in of_block]
    weights = [torch.stack([p.norm() for p in of_block]).norm() for of_block in blocks]
    rows = []
    for parameter in flat:
        parameter.requires_grad_(True)
    try:
        for text in texts:
            ids = windows_of(loaded, text)
            logits = loaded.model(input_ids=ids, use_cache=False).logits[:, :-1]
            loss = cross_entropy(logits.transpose(1, 2).float(), ids[:, 1:])
            gradients = iter(torch.autograd.grad(loss, flat))
            norms = [
                torch.stack([next(gradients).norm() for _ in of_block]).norm()
                for of_block in blocks
            ]
            rows.append([float((g / w).log()) for g, w in zip(norms, weights, strict=True)])
    finally:
        for parameter in flat:
            parameter.requires_grad_(False)
    coords = {"text": names, "family": ("text", names), "layer": range(len(blocks))}
    return xr.DataArray(np.array(rows), dims=("text", "layer"), coords=coords)


def _matrices(block: nn.Module) -> list[torch.Tensor]:
    """Return a block's matrices."""
    return [parameter for parameter in block.parameters() if parameter.dim() > 1]
