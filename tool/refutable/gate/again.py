"""Results judged again from the observations of their run, with the claim's own prediction."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from refutable.errors import RefutableError, one_line
from refutable.gate.arrays import arrays_of
from refutable.predictions.base import Judgement, Measured, NullControl, Prediction
from refutable.predictions.recorded import prediction_of
from refutable.records import ClaimReport, Control, Evidence, Result

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_KEY = ["claim", "model", "prompts", "arm"]
_BODY = r"value\d*"
"""Quantities of what a body returned; all others stand beside it."""


@dataclass(frozen=True, slots=True)
class Again:
    """What follows from the observations for one result."""

    judgement: Judgement | None
    control: Control | None = None
    reason: str = ""
    """Why it could not be judged."""


class Observed:
    """What the bodies of a run's claims returned, on models and on the copies of controls.

    Parameters
    ----------
    evidence : Evidence
        Of the run.
    frame : DataFrame
        Its observations.
    """

    def __init__(self, evidence: Evidence, frame: pd.DataFrame) -> None:
        of_claims = frame[frame["claim"].notna()]
        of_claims = of_claims.assign(**{key: of_claims[key].fillna("") for key in _KEY})
        self._cells = {
            tuple(str(k) for k in key): cell
            for key, cell in of_claims.groupby(_KEY, sort=False, dropna=False)
        }
        self._claims = {claim.id: claim for claim in evidence.claims}
        self._members = {m.id: m.facts for m in evidence.models if m.facts is not None}

    def judge(self, result: Result) -> Again:
        """Judge a result again, and read its control again.

        Parameters
        ----------
        result : Result
            With an estimate.
        """
        claim = self._claims.get(result.claim)
        prediction = None if claim is None else prediction_of(claim.prediction)
        if claim is None or prediction is None:
            return Again(None, reason="a prediction that is not known here")
        try:
            rests = self._rests(result, prediction)
            again = _judged_from(prediction, result, rests)
            if again is not None:
                return again
            values = prediction.completed(self._values(result, prediction, None), rests)
            null = self._null(result, claim, prediction)
            return _judged(prediction, result, values, null)
        except (RefutableError, ValueError, KeyError) as problem:
            return Again(None, reason=one_line(problem))

    def _rests(self, result: Result, prediction: Prediction) -> dict[str, xr.DataArray]:
        """What the estimate rests on where the values of single models do not hold it."""
        cell = self._cell(result, result.model)
        if cell is None or not prediction.grouped or result.model in result.models:
            return {}
        rows = cell[cell["control"].isna()]
        return {str(name): _by_coordinates(part) for name, part in rows.groupby("quantity")}

    def _values(self, result: Result, prediction: Prediction, control: str | None) -> object:
        """What the body returned, in the form that the prediction takes."""
        if not prediction.grouped:
            return self._value(result, result.model, control)
        groups: dict[str, dict[int | None, object]] = {name: {} for name in prediction.names}
        for model in result.models:
            facts = self._members.get(model)
            for name, members in groups.items():
                of_group = facts is not None and facts.group == name
                if model != name and not of_group:
                    continue
                seed = None if model == name else (facts.seed or 0 if facts else 0)
                members[seed] = self._value(result, model, control)
        return groups

    def _value(self, result: Result, model: str, control: str | None) -> object:
        cell = self._cell(result, model)
        if cell is None:
            raise RefutableError(f"the observations hold no values of {model}")
        rows = cell[cell["control"].isna() if control is None else cell["control"] == control]
        rows = rows[rows["quantity"].str.fullmatch(_BODY)]
        if not len(rows):
            raise RefutableError(f"the observations hold no values of the control of {model}")
        if rows["family"].isna().all():
            return _by_coordinates(rows)
        return arrays_of(rows, "value")

    def _null(
        self, result: Result, claim: ClaimReport, prediction: Prediction
    ) -> NullControl | None:
        """The copies of the control, where the run has any."""
        recorded = result.control
        if recorded is None:
            return None
        controlled = self._controlled(result, prediction)
        names = self._copies(result, next(iter(controlled.values())))
        values = tuple(self._copy(result, prediction, controlled, i) for i in range(len(names)))
        # Earlier runs kept one of the copies that a placebo's body returned.
        if not values or (not prediction.grouped and len(values) < len(recorded.models)):
            return None
        return NullControl(recorded.kind, recorded.models, values, claim.sesoi)

    def _controlled(self, result: Result, prediction: Prediction) -> dict[str, str]:
        """The model of each group that has the copies: its first; by group."""
        if not prediction.grouped:
            return {"": result.model}
        values = self._values(result, prediction, None)
        assert isinstance(values, Mapping)  # noqa: S101
        first = {}
        for name in prediction.names:
            of_group = [m for m in result.models if m == name or self._group(m) == name]
            first[name] = next((m for m in of_group if self._copies(result, m)), of_group[0])
        return first

    def _copy(
        self, result: Result, prediction: Prediction, controlled: Mapping[str, str], place: int
    ) -> object:
        """Values of one copy of the control."""
        copies = {group: self._copies(result, model) for group, model in controlled.items()}
        if not prediction.grouped:
            return self._value(result, result.model, copies[""][place])
        if result.control is not None and result.control.kind == "placebo":
            # It is measured on every model, and stands beside each.
            return self._values(result, prediction, copies[prediction.names[0]][place])
        return {
            group: {place: self._value(result, model, copies[group][place])}
            for group, model in controlled.items()
        }

    def _copies(self, result: Result, model: str) -> list[str]:
        cell = self._cell(result, model)
        names = [] if cell is None else [str(n) for n in cell["control"].dropna().unique()]
        # What is made of all copies at once, and what the study's own statistic rests on, is none.
        copies = [name for name in names if name[-1].isdigit()]
        return sorted(copies, key=lambda n: int(n.rsplit("-", 1)[-1]))

    def _group(self, model: str) -> str | None:
        facts = self._members.get(model)
        return None if facts is None else facts.group

    def _cell(self, result: Result, model: str) -> pd.DataFrame | None:
        return self._cells.get((result.claim, model, result.prompts, result.arm))


def _by_coordinates(rows: pd.DataFrame) -> xr.DataArray:
    """Make an array without prompts again: a number, or values along named coordinates."""
    import xarray as xr

    if len(rows) == 1 and rows["at"].isna().all():
        return xr.DataArray(float(rows["value"].iloc[0]))
    if rows["at"].isna().any():
        raise RefutableError("its observations have no coordinates")
    coordinates = [dict(p.partition("=")[::2] for p in str(at).split(";")) for at in rows["at"]]
    names = list(coordinates[0])
    index = [[_whole(one[name]) for one in coordinates] for name in names]
    return xr.DataArray.from_series(rows["value"].set_axis(_index(index, names)))


def _whole(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text


def _index(columns: list[list[int | str]], names: list[str]) -> pd.Index:
    import pandas as pd

    if len(names) == 1:
        return pd.Index(columns[0], name=names[0])
    return pd.MultiIndex.from_arrays(columns, names=names)


def _judged(
    prediction: Prediction, result: Result, values: object, null: NullControl | None
) -> Again:
    """Judge values with the error that the recorded estimate states."""
    recorded = result.estimate
    assert recorded is not None  # noqa: S101  (the caller looked)
    seed = zlib.crc32(f"{result.claim}|{result.model}".encode())
    measured = Measured(values, recorded.error, seed, recorded.unit)
    judged = prediction.judge(measured, null)
    made = judged.estimate.error
    if made not in (0.0, recorded.error):
        # An estimate of differences states the error of those, twice that of a value.
        measured = replace(measured, error=recorded.error**2 / made)
        judged = prediction.judge(measured, null)
    control = prediction.read_control(measured, null) if null is not None else None
    return Again(judged, control)


def _judged_from(
    prediction: Prediction, result: Result, rests: Mapping[str, xr.DataArray]
) -> Again | None:
    recorded = result.estimate
    assert recorded is not None  # noqa: S101  (the caller looked)
    judged = prediction.judge_from(rests, recorded.error, recorded.unit)
    return None if judged is None else Again(judged)
