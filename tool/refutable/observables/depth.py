"""What blocks do for the prediction: deleting one, reading it early, copying, the logits' rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from refutable.capture.last_answer import LastAnswer
from refutable.capture.last_states import handed_over
from refutable.errors import NotAvailableError
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import numpy as np
    import torch
    import xarray as xr
    from numpy.typing import NDArray

    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel

PROMPTS, TOKENS = 44, 4
"""Prompts, one a family, after whose first tokens blocks are deleted: a pass for each block.

Many short beginnings cost what few long ones do, and families are the unit: twelve of them can
confirm no share below 1 where prompts differ by 0.25 (docs/gate.md)."""
SEQUENCES, HALF = 12, 24
"""Sequences of random tokens, each half as long as the sequence that repeats it."""
_BACK = {"copied": HALF - 1, "elsewhere": HALF + 4}
"""How far back the token after the previous copy lies, and one where nothing was copied."""
_SEED = 20_240_711
_last_repeated: LastAnswer[Mapping[str, xr.DataArray]] = LastAnswer()


@observable(source="model", dims=("prompt", "layer"), unit="share", version=3)
def deletion_keeps_top(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Whether the most probable next token stays when a block is deleted.

    After the first four tokens of one prompt of each family, 44 at most.
    """
    intact, deleted, picked = _deletions(loaded, encoded)
    return _by_block(deleted == intact[:, None], encoded, picked)


@observable(source="model", dims=("prompt", "layer"), unit="share", version=3)
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

    from refutable.capture.rows import last_states
    from refutable.models.sites import find_sites

    sites = find_sites(loaded.model)
    if sites.unembedding is None or sites.final_norm is None:
        raise NotAvailableError("the model has no final norm or no unembedding to read a block by")
    picked = _one_a_family(encoded, len(encoded))
    prompts = [list(encoded.ids[place]) for place in picked]
    handed = handed_over(loaded.model, prompts)
    states = (
        last_states(loaded.model, sites, prompts)
        if handed is None
        else torch.as_tensor(handed, device=loaded.device)
    )
    like = next(sites.unembedding.parameters())
    rows = []
    for state in states:
        with torch.no_grad():
            early = sites.unembedding(sites.final_norm(state.to(like)))
        logs = log_softmax(early.float(), dim=-1)
        final = logs[-1]
        rows.append((final.exp() * (final - logs)).sum(-1).cpu().numpy())
    return _by_block(np.stack(rows), encoded, picked)


@observable(source="model", dims=("prompt", "layer", "head"), unit="share", per_prompt=False)
def induction_attention(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Attention to the token after the previous copy, on random tokens that are repeated."""
    return _repeated(loaded)["copied"]


@observable(source="model", dims=("prompt", "layer", "head"), unit="share", per_prompt=False)
def off_induction_attention(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """As `induction_attention`, to a token five places further back, where nothing was copied."""
    return _repeated(loaded)["elsewhere"]


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


def _deletions(
    loaded: LoadedModel, encoded: Encoded
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
    """Top token of the intact model, (prompt,), and without each block, (prompt, layer)."""
    from refutable.capture.deletion import tops_without_blocks

    picked = _one_a_family(encoded, PROMPTS)
    begun = [encoded.ids[place][:TOKENS] for place in picked]
    intact, deleted = tops_without_blocks(loaded.model, begun)
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


def _repeated(loaded: LoadedModel) -> Mapping[str, xr.DataArray]:
    """Attention over the second half of repeated tokens, by the key that it goes to."""
    if 2 * HALF > loaded.facts.context:
        raise NotAvailableError(f"{loaded.facts.id} reads fewer than {2 * HALF} tokens")
    return _last_repeated.of(loaded.model, loaded.facts.d_vocab, lambda: _of_repeated(loaded))


def _of_repeated(loaded: LoadedModel) -> Mapping[str, xr.DataArray]:
    import numpy as np
    import torch

    from refutable.capture.interface import attention_implementation

    by_key: dict[str, list[list[NDArray[np.float32]]]] = {name: [] for name in _BACK}
    device = next(loaded.model.parameters()).device
    for half in _random_tokens(loaded.facts.d_vocab, SEQUENCES, HALF):
        tokens = torch.tensor([half + half], device=device)
        with torch.no_grad(), attention_implementation(loaded.model, "eager"):
            out = loaded.model(input_ids=tokens, use_cache=False, output_attentions=True)
        if not out.attentions or out.attentions[0] is None:
            raise NotAvailableError("the model's attention returns no weights")
        for name, back in _BACK.items():
            rows = torch.arange(max(HALF + 1, back), 2 * HALF, device=device)
            by_key[name].append([w[0][:, rows, rows - back].float().mean(-1).cpu().numpy()
                                 for w in out.attentions])  # fmt: skip
    return {name: _by_head(np.array(tables)) for name, tables in by_key.items()}


def _by_head(table: NDArray[np.float32]) -> xr.DataArray:
    import numpy as np
    import xarray as xr

    names = [f"repeat-{i}" for i in range(SEQUENCES)]
    return xr.DataArray(
        table,
        dims=("prompt", "layer", "head"),
        coords={
            "prompt": names, "family": ("prompt", names),
            "layer": np.arange(table.shape[1]), "head": np.arange(table.shape[2]),
        },
    )  # fmt: skip
