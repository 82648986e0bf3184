"""A run checked without its model: digests of its files, and estimates again from observations."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.errors import EvidenceError, RefutableError
from refutable.evidence.release import read_release, release_folders
from refutable.gate.pairs import Rows
from refutable.gate.runs import read_run
from refutable.predictions.base import Measured
from refutable.predictions.recorded import prediction_of
from refutable.records import ClaimReport, Result

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

TOLERANCE = 1e-6
"""Largest relative difference of a recomputed number."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """What was checked."""

    recomputed: int
    wrong: tuple[str, ...]
    """Results whose numbers do not follow from the observations, and why."""
    not_recomputed: tuple[str, ...]
    """Results that rest on more than rows of prompts: groups of models, facts, other places."""
    releases: int

    @property
    def agrees(self) -> bool:
        """Whether nothing that was checked is wrong."""
        return not self.wrong

    @property
    def vacuous(self) -> bool:
        """Whether there were results and no estimate of them was recomputed."""
        return not self.recomputed and bool(self.not_recomputed)

    def lines(self) -> list[str]:
        """Say it in words, the answer first."""
        word = "agrees" if self.agrees else "DISAGREES"
        if self.vacuous:
            word = "NOTHING RECOMPUTED"
        head = (
            f"{word}: {self.recomputed - len(self.wrong)} of {self.recomputed} estimates follow "
            f"from the observations, {self.releases} releases have the files that were written"
        )
        rest = f"{len(self.not_recomputed)} results rest on more than rows of prompts"
        return [head, *(f"  {line}" for line in self.wrong), f"  {rest}: not recomputed"]


def recheck_run(run: Path) -> Recheck:
    """Check the folder of a run.

    Parameters
    ----------
    run : Path
        With ``evidence.json`` and ``observations.parquet``.

    Raises
    ------
    EvidenceError
        If a file is missing, unreadable, or not the one that the run wrote.
    """
    run_read = read_run(run)
    releases = [read_release(folder) for folder in release_folders(run)]
    if run_read.rows is None:
        raise EvidenceError(
            f"{run} has no observations.parquet: no estimate can be recomputed; give the folder "
            "that the run wrote (--claim-out)"
        )
    rows = Rows(run_read.rows)
    claims = {claim.id: claim for claim in run_read.evidence.claims}
    wrong, left, count = [], [], 0
    for result in run_read.evidence.results:
        if result.verdict is None or result.estimate is None:
            continue
        name = f"{result.claim} ({result.model}, {result.arm})"
        said = _recomputed(result, claims.get(result.claim), rows)
        if said is None:
            left.append(name)
            continue
        count += 1
        if said:
            wrong.append(f"{name}: {said}")
    return Recheck(count, tuple(wrong), tuple(left), len(releases))


def _recomputed(result: Result, claim: ClaimReport | None, rows: Rows) -> str | None:
    """Return what differs, empty if nothing does; ``None`` if it cannot be recomputed."""
    if claim is None or not claim.sampled or len(result.models) > 1:
        return None
    frame = rows.of(result.claim, result.model, result.prompts, result.arm)
    prediction = prediction_of(claim.prediction)
    if frame is None or prediction is None or frame["prompt"].isna().any():
        return None
    if frame["at"].notna().any() or prediction.grouped:
        return None
    estimate = result.estimate
    assert estimate is not None  # noqa: S101  (the caller looked)
    try:
        seed = zlib.crc32(f"{result.claim}|{result.model}".encode())
        judged = prediction.judge(Measured(_values(frame), estimate.error, seed, estimate.unit))
    except (RefutableError, ValueError):
        return None
    pairs = {
        name: (getattr(estimate, name), getattr(judged.estimate, name))
        for name in ("value", "low", "high")
    }
    bad = [f"{n} {a} is recorded, {b} follows" for n, (a, b) in pairs.items() if not _near(a, b)]
    if judged.decision.verdict is not result.verdict:
        bad.append(f"{result.verdict} is recorded, {judged.decision.verdict} follows")
    return "; ".join(bad)


def _near(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return (a is None or not math.isfinite(a)) and (b is None or not math.isfinite(b))
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _values(frame: pd.DataFrame) -> xr.DataArray | tuple[xr.DataArray, ...]:
    """Make the arrays again that the claim's body returned."""
    arrays = [_array(part) for _, part in frame.groupby("quantity", sort=True)]
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def _array(frame: pd.DataFrame) -> xr.DataArray:
    import xarray as xr

    dims: Sequence[str] = ["prompt", *(d for d in ("layer", "head") if frame[d].notna().all())]
    array = xr.DataArray.from_series(frame.set_index(list(dims))["value"])
    prompts = frame.drop_duplicates("prompt").set_index("prompt").loc[array["prompt"].values]
    coords = {key: ("prompt", [str(v) for v in prompts[key]]) for key in ("family", "register")}
    return array.assign_coords(coords)
