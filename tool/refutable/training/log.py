"""The record of a twin's training, ``training.json`` beside its weights."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refutable.errors import RefutableError

LOG = "training.json"


@dataclass(slots=True)
class TwinLog:
    """What is written down while a twin trains; ``training.json`` beside its weights."""

    variant: str
    seed: int
    recipe: dict[str, Any]
    corpus_digest: str
    device: str
    threads: int
    versions: dict[str, str]
    losses: list[float] = field(default_factory=list)
    """Training loss of each step in nats, before its update."""
    loss_every: int = 1
    """Steps that each of `losses` is the mean of: more than 1 in the shipped log of a long run."""
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    """(step, held-out loss in nats) on the same few held-out rows for every twin."""
    stack: list[int] = field(default_factory=list)
    """Seeds trained side by side on a GPU: numbers depend on them in the last bits."""
    groups: list[str] = field(default_factory=list)
    """Names of the tensor groups of the next two fields; norms are in none of them."""
    gradient_norms: list[list[float]] = field(default_factory=list)
    """Root mean square over ``log_every`` steps of each group's gradient norm, before clipping."""
    weight_norms: list[list[float]] = field(default_factory=list)
    """Norm of each group's weights at the last of those steps."""
    seconds: float = 0.0
    """Time in training steps, over all sittings."""
    step_seconds: float = 0.0
    """Median time of a step in the last sitting."""
    held_out_loss: float = math.nan
    """Final loss in nats on ``final_rows`` held-out rows."""
    trigram_loss: float = math.nan
    """Loss on these of the interpolated trigram model of the same training rows, each read once."""


def read_log(folder: Path) -> TwinLog:
    """Return the log of a finished run.

    Raises
    ------
    RefutableError
        When the folder holds no finished run.
    """
    file = folder / LOG
    if not file.exists():
        raise RefutableError(f"no finished twin in {folder}: train it with `refutable train twins`")
    return TwinLog(**json.loads(file.read_text()))
