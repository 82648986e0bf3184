"""Predictions from the records that evidence holds of them."""

from __future__ import annotations

from dataclasses import fields

from refutable.predictions.base import IN_CODE, KINDS, Prediction
from refutable.records import PredictionRecord
from refutable.system.discovery import load_package


def kind_of(record: PredictionRecord) -> type[Prediction] | None:
    """Return the class of a recorded prediction; ``None`` for a word that is not known here."""
    # Each word enters itself in `KINDS` when its module is imported.
    load_package("refutable.predictions")
    return KINDS.get(record.kind)


def prediction_of(record: PredictionRecord) -> Prediction | None:
    """Make a recorded prediction anew, to reduce values as its claim does.

    Parameters
    ----------
    record : PredictionRecord
        Kind and parameters; parameters that this version does not know are left aside.

    Returns
    -------
    Prediction or None
        Without what only code can hold (the kernel of `across`); ``None`` for a word that is not
        known here, such as one of a package that is not imported.
    """
    kind = kind_of(record)
    if kind is None:
        return None
    known = {f.name for f in fields(kind) if f.metadata != IN_CODE} - {"region"}
    given = {name: value for name, value in record.parameters.items() if name in known}
    return kind(region=record.region, **given)
