"""Two runs on the same prompts: what each claim's body returned, paired by family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refutable.errors import ClaimError
from refutable.gate.arrays import arrays_of
from refutable.predictions.labels import PerFamily, reduce_prompts
from refutable.predictions.recorded import prediction_of
from refutable.records import ClaimReport, Result
from refutable.stats.core import Floats
from refutable.stats.paired import PairedChange, exact_change, paired_change

if TYPE_CHECKING:
    import pandas as pd

_KEY = ["claim", "model", "prompts", "arm"]
_CELL = ["quantity", "layer", "head", "at"]


@dataclass(frozen=True, slots=True)
class Paired:
    """The change of one claim, in one or more parts that must all stay still."""

    parts: tuple[tuple[str, PairedChange], ...]
    note: str = ""
    """Why nothing could be paired, or what was left out."""
    gone: bool = False
    """The candidate lacks values, or finite ones, that the base has."""


class Rows:
    """What the bodies of the claims returned in one run, by claim, model, prompts and arm."""

    def __init__(self, frame: pd.DataFrame) -> None:
        of_claims = frame[frame["claim"].notna() & frame["control"].isna()]
        of_claims = of_claims.assign(**{key: of_claims[key].fillna("") for key in _KEY})
        self._groups = {
            tuple(str(k) for k in key): group
            for key, group in of_claims.groupby(_KEY, sort=False, dropna=False)
        }

    def of(self, claim: str, model: str, prompts: str, arm: str) -> pd.DataFrame | None:
        """Rows of one cell of the run."""
        return self._groups.get((claim, model, prompts, arm))


def pair(
    claim: ClaimReport,
    base: tuple[Result, Rows],
    candidate: tuple[Result, Rows],
    *,
    margin: float,
    noise: float,
) -> Paired:
    """Pair the values of one claim and test each part against the margin.

    The reduction is that of the claim's own prediction (`Prediction.compared`). A claim over
    several models is compared model by model; where each of them gives one number, the models are
    the units.

    Parameters
    ----------
    claim : ClaimReport
        Holds the prediction.
    base, candidate : tuple of (Result, Rows)
        The two runs.
    margin, noise : float
        Smallest change, and the numerical noise of one difference.
    """
    members = list(zip(_members(base[0]), _members(candidate[0]), strict=False))
    if len(_members(base[0])) != len(_members(candidate[0])):
        return Paired((), "the claim's models differ between the runs")
    merged, numbers = [], []
    for base_model, candidate_model in members:
        frames = [
            rows.of(result.claim, model, result.prompts, result.arm)
            for (result, rows), model in ((base, base_model), (candidate, candidate_model))
        ]
        if frames[0] is None:
            continue
        if frames[1] is None:
            return Paired((), f"the candidate has no values of {candidate_model}", gone=True)
        table, note, gone = _merge(frames[0], frames[1])
        if gone or not len(table):
            return Paired((), note, gone=gone)
        if table["family"].isna().all():
            numbers.extend(table["difference"].tolist())
        else:
            merged.append((base_model if len(members) > 1 else "", table, note))
    if merged:
        return _families(claim, merged, margin, noise)
    if numbers:
        d = np.array(numbers)
        single = len(members) == 1 or not claim.sampled
        worst = float(d[np.abs(d).argmax()])
        change = (
            exact_change(worst, margin=margin, error=noise)
            if single
            else paired_change(d, margin=margin, error=noise)
        )
        return Paired((("", change),))
    return Paired((), "unpaired: the observations hold no values of this claim")


def _members(result: Result) -> tuple[str, ...]:
    return result.models if len(result.models) > 1 else (result.model,)


def _merge(base: pd.DataFrame, candidate: pd.DataFrame) -> tuple[pd.DataFrame, str, bool]:
    """Rows of the same prompt (by name and text) and cell side by side."""
    keys = ["prompt", "text", *_CELL]
    left = base[[*keys, "family", "register", "value"]].drop_duplicates(keys)
    right = candidate[[*keys, "value"]].drop_duplicates(keys)
    table = left.merge(right, on=keys, suffixes=("_base", "_candidate"))
    if not len(table):
        return table, "unpaired: the two runs share no prompt", False
    table = table[table["value_base"].notna() | table["value_candidate"].notna()]
    bad = [f"value_{side}" for side in ("base", "candidate")]
    if table[bad[0]].isna().any():
        return table.iloc[:0], "values of the base are not finite", False
    if table[bad[1]].isna().any():
        return table, "values of the candidate are not finite", True
    table = table.assign(difference=table[bad[1]] - table[bad[0]])
    whole, kept = base["prompt"].nunique(), table["prompt"].nunique()
    return table, f"{kept} of {whole} prompts paired" if kept < whole else "", False


def _families(
    claim: ClaimReport, merged: Sequence[tuple[str, pd.DataFrame, str]], margin: float, noise: float
) -> Paired:
    parts: list[tuple[str, PairedChange]] = []
    for model, table, _ in merged:
        for name, d, error in _reduced(claim, table, noise):
            label = ": ".join(word for word in (model, name) if word)
            parts.append((label, paired_change(d, margin=margin, error=error)))
    note = next((note for _, _, note in merged if note), "")
    if not parts:
        return Paired((), "no family gives a value of the claim's statistic")
    return Paired(tuple(parts), note)


def _reduced(
    claim: ClaimReport, table: pd.DataFrame, noise: float
) -> Iterator[tuple[str, Floats, float]]:
    """Differences (family,) of each part of the statistic, and their numerical noise."""
    try:
        before, after = (_compared(claim, table, side, noise) for side in ("base", "candidate"))
    except ClaimError:
        # The rows are not of the form that the prediction reduces, as where no prompt is whole.
        yield "", np.empty(0), noise
        return
    for old in before:
        new = next((part for part in after if part.part == old.part), None)
        shared = [name for name in old.names if new is not None and name in new.names]
        if new is not None and shared:
            yield old.part if len(before) > 1 else "", new.of(shared) - old.of(shared), old.error


def _compared(
    claim: ClaimReport, table: pd.DataFrame, side: str, noise: float
) -> tuple[PerFamily, ...]:
    """Reduce one side as the claim's prediction does; an unknown one by family means."""
    values = arrays_of(table, f"value_{side}")
    prediction = prediction_of(claim.prediction)
    if prediction is not None:
        return prediction.compared(values, noise)
    quantities = values if isinstance(values, tuple) else (values,)
    reduced = [reduce_prompts(array, noise, anything=True) for array in quantities]
    return reduced[0], *reduced[1:]
