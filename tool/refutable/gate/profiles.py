"""Depth profiles of two releases, block by block: where a change first shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refutable.stats import core
from refutable.stats.decide import FEWEST_FAMILIES
from refutable.stats.multiplicity import holm
from refutable.stats.paired import PairedChange, paired_change

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Profile:
    """What is compared block by block."""

    words: str
    unit: str
    margin: str = "profile"
    """Name of the margin it is held to."""


PROFILES = {
    "mean_log_residual_norm_rest": Profile("norm of the stream", "log norm"),
    "attention_adds": Profile("what attention adds", "log norm"),
    "feed_forward_adds": Profile("what the feed-forward adds", "log norm"),
    "block_angle": Profile("turn of the stream", "radians"),
    "attention_entropy": Profile("attention's entropy", "share of its maximum"),
    "attention_first": Profile("attention to the first token", "share"),
    "lens_divergence": Profile("what is left to the prediction", "nats", "lens"),
}
"""Observables by prompt and block that are compared block by block; heads are averaged."""
MARGINS = {"profile": 0.02, "lens": 0.1}
"""Largest differences of a block's mean that pass."""
_KEYS = ["prompts", "arm", "prompt", "text", "layer"]


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """One profile, over all blocks."""

    quantity: str
    prompts: str
    arm: str
    blocks: int
    """How many there are."""
    changed: tuple[int, ...]
    """Blocks whose mean moved by more than the margin."""
    largest: PairedChange
    """The block that moved most."""
    block: int
    undecided: tuple[int, ...] = ()

    @property
    def first(self) -> int | None:
        """The first block in which it shows."""
        return self.changed[0] if self.changed else None


def compare_profiles(
    base: pd.DataFrame,
    candidate: pd.DataFrame,
    models: tuple[str, str],
    margins: Mapping[str, float] = MARGINS,
) -> tuple[ProfileChange, ...]:
    """Compare depth profiles of one model, paired by prompt, families as units.

    Parameters
    ----------
    base, candidate : DataFrame
        Observations of the two runs.
    models : tuple of str
        The model's id in each.
    margins : mapping of str to float
        Largest differences of a block that pass, by name.

    Returns
    -------
    tuple of ProfileChange
        Corrected by Holm over all blocks of all profiles; what shows in the earliest block first.
    """
    profiles: list[tuple[str, str, str, list[tuple[int, PairedChange]]]] = []
    for quantity, profile in PROFILES.items():
        margin = margins[profile.margin]
        sides = [_rows(f, m, quantity) for f, m in zip((base, candidate), models, strict=True)]
        table = sides[0].merge(
            sides[1][[*_KEYS, "value"]], on=_KEYS, suffixes=("_base", "_candidate")
        )
        table = table.assign(d=table["value_candidate"] - table["value_base"])
        table = table[np.isfinite(table["d"])]
        for (prompts, arm), part in table.groupby(["prompts", "arm"], sort=True, observed=True):
            blocks = [
                (int(layer), _of_block(rows, margin))
                for layer, rows in part.groupby("layer", sort=True)
            ]
            profiles.append((quantity, str(prompts), str(arm), blocks))
    return _decided(profiles)


def _rows(frame: pd.DataFrame, model: str, quantity: str) -> pd.DataFrame:
    of_model = frame["claim"].isna() & frame["control"].isna() & (frame["model"] == model)
    rows = frame[of_model & (frame["quantity"] == quantity)]
    rows = rows[[*_KEYS, "head", "family", "value"]].drop_duplicates([*_KEYS, "head"])
    by_family = rows.groupby([*_KEYS, "family"], observed=True, dropna=False, sort=True)
    return by_family["value"].mean().reset_index()


def _of_block(rows: pd.DataFrame, margin: float) -> PairedChange:
    means, _ = core.group_means(rows["d"].to_numpy(float), [str(f) for f in rows["family"]])
    return paired_change(means, margin=margin)


def _decided(
    profiles: list[tuple[str, str, str, list[tuple[int, PairedChange]]]],
) -> tuple[ProfileChange, ...]:
    every = [change for *_, blocks in profiles for _, change in blocks]
    _, survives = holm([c.p if c.families >= FEWEST_FAMILIES else None for c in every])
    moved = iter(
        bool(stays) or (c.p is None and c.changed) for stays, c in zip(survives, every, strict=True)
    )
    made = []
    for quantity, prompts, arm, blocks in profiles:
        flags = [next(moved) for _ in blocks]
        block, largest = max(blocks, key=lambda item: abs(item[1].value))
        made.append(
            ProfileChange(
                quantity, prompts, arm, len(blocks),
                tuple(b for (b, _), flag in zip(blocks, flags, strict=True) if flag),
                largest, block,
                tuple(b for (b, c), f in zip(blocks, flags, strict=True) if not f and not c.same),
            )
        )  # fmt: skip
    return tuple(sorted(made, key=lambda p: (p.first is None, p.first or 0)))
