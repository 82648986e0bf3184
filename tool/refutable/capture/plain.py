"""The model's own forward without any hook, and what a measurement must leave as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from refutable.models.placement import input_device

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from refutable.models.encode import Encoded

# Numbers of one full logit array of a plain run (256 MB in float32).
_MOST_LOGITS = 1 << 26


@torch.no_grad()
def plain_logits(
    model: PreTrainedModel, encoded: Encoded, vocabulary: int
) -> dict[str, NDArray[np.generic]]:
    """Last-token logits of each prompt, run alone and in order.

    Returns
    -------
    dict of str to array (vocab,)
        By prompt id; a prompt whose logits would take too much memory is left out.
    """
    device = input_device(model)
    logits: dict[str, NDArray[np.generic]] = {}
    for name, ids in zip(encoded.prompt_ids, encoded.ids, strict=True):
        if logits and len(ids) * vocabulary > _MOST_LOGITS:
            continue
        tokens = torch.tensor([ids], device=device)
        out = model(input_ids=tokens, use_cache=False, return_dict=True)
        logits[name] = out.logits[0, -1].float().cpu().numpy()
    return logits


def state_of(model: PreTrainedModel) -> tuple[int, tuple[str, ...]]:
    """Count the hooks on a model and name its attention implementations."""
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    implementations = {
        str(getattr(m.config, "_attn_implementation", ""))
        for m in model.modules()
        if hasattr(m, "config")
    }
    return hooks, tuple(sorted(implementations))


def written(model: PreTrainedModel) -> int:
    """Tell whether a model's weights were changed in place since: another number then."""
    return hash(tuple((p.data_ptr(), p._version) for p in model.parameters()))
