"""What blocks do for the prediction: deleting one, reading it early, copying, the logits' rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from refutable.capture.last_states import handed_over
from refutable.errors import NotAvailableError
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import numpy as np
    import torch
    import xarray as xr
    from numpy.typing import NDArray
    from torch import nn

    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel

PROMPTS = 12
"""Prompts, one a family, on which blocks are deleted: a pass for each block and prompt."""
SEQUENCES, HALF = 12, 24
"""Sequences of random tokens, each half as long as the sequence that repeats it."""
_SEED = 20_240_711


@observable(source="model", dims=("prompt", "layer"), unit="share")
def deletion_keeps_top(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Whether the most probable next token stays when a block is deleted; one prompt a family."""
    intact, deleted, picked = _deletions(loaded, encoded)
    return _by_block(deleted == intact[:, None], encoded, picked)


@observable(source="model", dims=("prompt", "layer"), unit="share")
def deletion_keeps_other(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """As `deletion_keeps_top`, against what the intact model says after another prompt."""
    import numpy as np

    intact, deleted, picked = _deletions(loaded, encoded)
    return _by_block(deleted == np.roll(intact, 1)[:, None], encoded, picked)


@observable(source="model", dims=("prompt", "layer"), unit="nats", last_states=True)
def lens_divergence(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """KL of the final distribution from that read off each block by the final norm and head."""
    import numpy as np
    import torch
    from torch.nn.functional import log_softmax

    from refutable.models.sites import find_sites

    sites = find_sites(loaded.model)
    if sites.unembedding is None or sites.final_norm is None:
        raise NotAvailableError("the model has no final norm or no unembedding to read a block by")
    picked = _one_a_family(encoded, len(encoded))
    rows = []
    known = handed_over(loaded.model, [encoded.ids[place] for place in picked])
    like = next(sites.unembedding.parameters())
    for row, place in enumerate(picked):
        with torch.no_grad():
            if known is None:
                with _kept(sites.blocks) as kept:
                    _logits(loaded, encoded.ids[place])
                states = torch.stack(kept)
            else:
                states = torch.as_tensor(known[row]).to(like)
            early = sites.unembedding(sites.final_norm(states))
        logs = log_softmax(early.float(), dim=-1)
        final = logs[-1]
        rows.append((final.exp() * (final - logs)).sum(-1).cpu().numpy())
    return _by_block(np.stack(rows), encoded, picked)


@observable(source="model", dims=("prompt", "layer", "head"), unit="share", per_prompt=False)
def induction_attention(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Attention to the token after the previous copy, on random tokens that are repeated."""
    return _repeated(loaded, HALF - 1)


@observable(source="model", dims=("prompt", "layer", "head"), unit="share", per_prompt=False)
def off_induction_attention(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """As `induction_attention`, to a token five places further back, where nothing was copied."""
    return _repeated(loaded, HALF + 4)


@observable(source="model", dims=(), unit="dimensions")
def logit_rank_defect(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Rank of the logits less the width of the model: 0, or -1 where a norm takes the mean off."""
    import numpy as np
    import torch
    import xarray as xr

    width, vocab = loaded.facts.d_model, loaded.facts.d_vocab
    if vocab <= width + 8:
        raise NotAvailableError(f"{vocab} tokens do not show a rank of {width}")
    count = width + 32
    ids = _random_tokens(vocab, 1 + count // 64, 64)
    with torch.no_grad():
        rows = torch.cat([_logits(loaded, row).double().cpu() for row in ids])[:count]
    source = torch.Generator().manual_seed(_SEED)
    sketch = rows @ torch.randn(vocab, count, generator=source, dtype=torch.float64)
    values = torch.linalg.svdvals(sketch).numpy()
    logs = np.log(np.maximum(values, values[0] * 1e-300))
    # Beyond the rank there is only the rounding of the passes; the rank ends at the widest gap.
    first = max(width // 2, 1)
    rank = first + 1 + int(np.argmin(np.diff(logs)[first:]))
    return xr.DataArray(float(rank - width))


# -- helpers -------------------------------------------------------------------------------------


def _one_a_family(encoded: Encoded, most: int) -> list[int]:
    first: dict[str, int] = {}
    for place, family in enumerate(encoded.families):
        first.setdefault(family, place)
    return list(first.values())[:most]


def _logits(loaded: LoadedModel, ids: Sequence[int]) -> torch.Tensor:
    """Logits of one sequence alone: (position, vocabulary)."""
    import torch

    device = next(loaded.model.parameters()).device
    tokens = torch.tensor([list(ids)], device=device)
    out: torch.Tensor = loaded.model(input_ids=tokens, use_cache=False, return_dict=True).logits[0]
    return out


@contextmanager
def _kept(blocks: Sequence[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """Keep the last token's state after each block of one pass."""
    states: list[torch.Tensor] = []

    def keep(
        module: nn.Module, args: object, output: torch.Tensor | tuple[torch.Tensor, ...]
    ) -> None:
        states.append((output[0] if isinstance(output, (tuple, list)) else output)[0, -1])

    with _hooked(blocks, keep):
        yield states


@contextmanager
def _hooked(blocks: Sequence[nn.Module], hook: Callable[..., object]) -> Iterator[None]:
    handles = [block.register_forward_hook(hook, with_kwargs=False) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _deletions(
    loaded: LoadedModel, encoded: Encoded
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
    """Top token of the intact model, (prompt,), and without each block, (prompt, layer)."""
    from refutable.capture.deletion import tops_without_blocks

    picked = _one_a_family(encoded, PROMPTS)
    intact, deleted = tops_without_blocks(loaded.model, [encoded.ids[i] for i in picked])
    return intact, deleted, picked


def _by_block(values: NDArray[np.generic], encoded: Encoded, picked: Sequence[int]) -> xr.DataArray:
    import numpy as np
    import xarray as xr

    table = np.asarray(values, dtype=float)
    return xr.DataArray(
        table,
        dims=("prompt", "layer"),
        coords={
            "prompt": [encoded.prompt_ids[i] for i in picked],
            "family": ("prompt", [encoded.families[i] for i in picked]),
            "layer": np.arange(table.shape[1]),
        },
    )


def _random_tokens(vocab: int, rows: int, length: int) -> list[list[int]]:
    import numpy as np

    drawn = np.random.default_rng(_SEED).integers(0, vocab, (rows, length))
    return [[int(token) for token in row] for row in drawn]


def _repeated(loaded: LoadedModel, back: int) -> xr.DataArray:
    """Mean attention to the key so many places back, over the second half of repeated tokens."""
    import numpy as np
    import torch
    import xarray as xr

    from refutable.capture.interface import attention_implementation

    if 2 * HALF > loaded.facts.context:
        raise NotAvailableError(f"{loaded.facts.id} reads fewer than {2 * HALF} tokens")
    repeated = []
    for half in _random_tokens(loaded.facts.d_vocab, SEQUENCES, HALF):
        device = next(loaded.model.parameters()).device
        tokens = torch.tensor([half + half], device=device)
        with torch.no_grad(), attention_implementation(loaded.model, "eager"):
            out = loaded.model(input_ids=tokens, use_cache=False, output_attentions=True)
        if not out.attentions or out.attentions[0] is None:
            raise NotAvailableError("the model's attention returns no weights")
        rows = torch.arange(max(HALF + 1, back), 2 * HALF, device=device)
        repeated.append([w[0][:, rows, rows - back].float().mean(-1).cpu().numpy()
                      for w in out.attentions])  # fmt: skip
    table = np.array(repeated)
    names = [f"repeat-{i}" for i in range(SEQUENCES)]
    return xr.DataArray(
        table,
        dims=("prompt", "layer", "head"),
        coords={
            "prompt": names, "family": ("prompt", names),
            "layer": np.arange(table.shape[1]), "head": np.arange(table.shape[2]),
        },
    )  # fmt: skip
