"""Does a position see only what comes before it? Asked of the model itself, not of its config.

The last token of a prompt is replaced, then tokens inside one, since a model may see ahead within a
prefix or a chunk alone. In a causal language model nothing before it changes, and the last position
does. Both are looked at in the logits and, where it can be read, in the residual stream: a stream
whose last row is not the last token's fails here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from refutable.capture.measure import measure
from refutable.capture.recorder import (
    ALL_LOGITS,
    RESID_POST,
    BlockRecorder,
    Recorded,
    Recorder,
    Tokens,
)
from refutable.models.placement import input_device

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from refutable.capture.packing import Pack
    from refutable.capture.views import LogitView
    from refutable.models.encode import Encoded
    from refutable.models.sites import Sites

# Numbers of one full logit array (256 MB in float32).
_MOST_LOGITS = 1 << 26
_SHORT = 8
_INSIDE = 16


@dataclass(frozen=True, slots=True)
class Causality:
    """What replacing the last token changes; relative to the range of the values."""

    before: float
    """Largest change at positions before it."""
    at: float
    """Change at its own position; 0 where something there does not depend on it."""
    where: str
    """What changed before, or did not change at, the last position."""
    what: str = "the last token"
    """Which token was replaced."""

    def told(self, bound: float) -> str:
        """Say in one line what was found, under a bound for what comes before."""
        if self.before > bound:
            return (
                f"replacing {self.what} of a prompt changes {self.where} before it by "
                f"{self.before:.1e} of their range: the model sees later tokens (an encoder, or a "
                "bidirectional variant), so it has no next-token distribution"
            )
        if self.at == 0:
            return (
                f"replacing the last token of a prompt leaves {self.where} at the last position as "
                "they are: what is read there is not the last token's"
            )
        return "replacing the last token changes the last position and nothing before it"


class _Projection(BlockRecorder):
    """Each token's stream along one fixed direction: token by token, whatever its norm."""

    name: ClassVar[str] = "check_projection"
    reads: ClassVar[tuple[str, ...]] = (RESID_POST,)

    def read(self, site: str, layer: int, view: Tokens) -> None:
        states = view.all().float()
        steps = torch.arange(states.shape[-1], device=states.device, dtype=torch.float32)
        self.keep(layer, states @ torch.cos(1.0 + 1.7 * steps))
        self._view = view

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        per_token = super().take(pack, blocks)
        return self._view.by_prompt(per_token.T).transpose(0, 1)


class _EveryLogit(Recorder):
    """Logits after every token of a prompt that runs alone."""

    name: ClassVar[str] = "check_every_logit"
    reads: ClassVar[tuple[str, ...]] = (ALL_LOGITS,)

    def read(self, site: str, layer: int, view: LogitView) -> None:
        self._value = view.all().float()[None]

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        return self._value


_PROJECTIONS = Recorded(_Projection.name, ("prompt", "layer", "position"), _Projection)
_LOGITS = Recorded(_EveryLogit.name, ("prompt", "position", "vocab"), _EveryLogit)


def causality(model: PreTrainedModel, sites: Sites, encoded: Encoded) -> Causality:
    """Replace the last token of a short and of the longest prompt and see what changes.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In eval mode.
    sites : Sites
        Its parts.
    encoded : Encoded
        Prompts of the run.

    Returns
    -------
    Causality
        The worst over both prompts.
    """
    trials: list[Causality] = []
    for ids in _prompts(encoded, sites.structure.d_vocab):
        # Another token may by chance do what the first does: the last position must move for one.
        tried = _replaced(model, sites, encoded, ids)
        worst = max(tried, key=lambda one: one.before)
        moves = max(tried, key=lambda one: one.at)
        trials.append(
            replace(worst, at=moves.at, where=worst.where if worst.before else moves.where)
        )
        if len(trials) == 1:
            # The shortest that is not too short: a prefix or a chunk is met there as well.
            inside = _inside(model, encoded, ids[:_INSIDE], sites)
            trials += [replace(one, at=moves.at) for one in inside]
    leak = max(trials, key=lambda one: one.before)
    still = min(trials, key=lambda one: one.at)
    where = still.where if still.at == 0 else leak.where
    return Causality(leak.before, still.at, where, leak.what)


def _inside(
    model: PreTrainedModel, encoded: Encoded, ids: tuple[int, ...], sites: Sites
) -> list[Causality]:
    """Replace tokens inside a prompt: near its start, in its middle and near its end."""
    positions = sorted({1, 2, 3, len(ids) // 2, len(ids) - 2} & set(range(1, len(ids) - 1)))
    rows = [ids]
    for place in positions:
        other = next(t for t in _others(encoded, ids, sites) if t != ids[place])
        rows.append((*ids[:place], other, *ids[place + 1 :]))
    logits = _values(model, sites, encoded, rows, stream=False)["logits"]
    return [
        replace(_compared("logits", logits[[0, at], : place + 1]), what=f"token {place + 1}")
        for at, place in enumerate(positions, start=1)
    ]


def _prompts(encoded: Encoded, vocabulary: int) -> list[tuple[int, ...]]:
    most = max(2, _MOST_LOGITS // max(vocabulary, 1))
    long = sorted((ids[:most] for ids in encoded.ids if len(ids) > 1), key=len)
    if not long:
        # Prompts of one token have nothing before the last.
        joined = tuple(token for ids in encoded.ids for token in ids)[:_SHORT]
        return [joined if len(joined) > 1 else joined * 2]
    short = next((ids for ids in long if len(ids) >= min(_SHORT, len(long[-1]))), long[-1])
    return [short] if short == long[-1] else [short, long[-1]]


def _others(encoded: Encoded, ids: Sequence[int], sites: Sites) -> list[int]:
    """Two tokens to put last: of other prompts where there are any, so that none is special."""
    seen = {token for other in encoded.ids for token in other[-2:]} - {ids[-1]}
    more = {(ids[-1] + step) % sites.structure.d_vocab for step in (7, 13)} - {ids[-1]}
    return [*sorted(seen), *sorted(more)][:2]


def _replaced(
    model: PreTrainedModel, sites: Sites, encoded: Encoded, ids: tuple[int, ...]
) -> list[Causality]:
    """Replace the last token of a prompt by each of two others."""
    rows = [ids, *((*ids[:-1], other) for other in _others(encoded, ids, sites))]
    values = _values(model, sites, encoded, rows, stream=not sites.reason("blocks.0.resid_post"))
    tried = []
    for at in range(1, len(rows)):
        parts = [_compared(name, value[[0, at]]) for name, value in values.items()]
        leak = max(parts, key=lambda one: one.before)
        still = min(parts, key=lambda one: one.at)
        tried.append(Causality(leak.before, still.at, still.where if still.at == 0 else leak.where))
    return tried


def _values(
    model: PreTrainedModel,
    sites: Sites,
    encoded: Encoded,
    rows: Sequence[tuple[int, ...]],
    *,
    stream: bool,
) -> dict[str, NDArray[np.generic]]:
    """Logits of prompts of one length, each run alone, and their stream: prompt, position, value.

    One pass gives both. Where no unembedding was found the model's own logits are taken.
    """
    names = tuple(f"row/{place}" for place in range(len(rows)))
    prompts = replace(encoded, ids=tuple(rows), prompt_ids=names, families=names)
    headless = sites.unembedding is None
    items = [*([_PROJECTIONS] if stream else []), *([] if headless else [_LOGITS])]
    arrays = measure(model, sites, prompts, items, layout="single", finite=False) if items else {}
    values = {"logits": _logits(model, prompts) if headless else arrays[_LOGITS.name].values}
    if stream:
        along = arrays[_PROJECTIONS.name].values
        values |= {f"block {layer}": along[:, layer, :, None] for layer in range(along.shape[1])}
    return values


@torch.no_grad()
def _logits(model: PreTrainedModel, prompts: Encoded) -> NDArray[np.float32]:
    device = input_device(model)
    logits = []
    for ids in prompts.ids:
        out = model(input_ids=torch.tensor([ids], device=device), use_cache=False, return_dict=True)
        logits.append(out.logits[0].float().cpu().numpy())
    return np.stack(logits)


def _compared(name: str, values: NDArray[np.generic]) -> Causality:
    """Compare two prompts' values, (2, position, ...)."""
    # A token that the model rules out (-inf) is ruled out in both.
    values = np.nan_to_num(values.astype(np.float64), neginf=0.0, posinf=0.0)
    scale = float(np.ptp(values)) or 1.0
    gap = np.abs(values[0] - values[1]).reshape(values.shape[1], -1).max(-1) / scale
    return Causality(float(gap[:-1].max(initial=0.0)), float(gap[-1]), name)
