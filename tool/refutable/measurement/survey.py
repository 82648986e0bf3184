"""What the instrument can measure of a model, what not and why; no claim and no verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from refutable.capture.measure import measure
from refutable.errors import RefutableError, told
from refutable.measurement.available import checked_apart
from refutable.measurement.instrument import check
from refutable.measurement.instrument_result import InstrumentResult
from refutable.models.encode import Encoded
from refutable.models.sites import Sites, find_sites
from refutable.models.weights.reading import WeightReader
from refutable.observables.registry import REGISTRY

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RECORDED = (
    "residual_norm",
    "embedding_norm",
    "next_token_entropy",
    "top_token",
    "attention_entropy",
    "attention_first",
    "router_entropy",
    "expert_load",
)
"""Observables of a pass that stand for their kinds."""
OF_WEIGHTS = ("parameter_count", "weight_sd", "query_head")
_LENGTHS = (9, 3, 14, 1, 22, 7, 12, 6, 33, 5, 18, 11)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the instrument asks of a model that has no checkpoint."""

    model: PreTrainedModel


@dataclass(frozen=True, slots=True)
class Survey:
    """What can be measured of one model."""

    model_type: str
    architecture: str
    norm: str = ""
    positions: str = ""
    layout: str = ""
    """``packed``, ``padded`` or ``single``; empty where nothing could be run."""
    reasons: dict[str, str] | None = None
    """By observable: empty where it was measured, else why it was not."""
    error: str = ""
    """Why nothing can be measured; empty otherwise."""

    def reason_for(self, *names: str) -> str:
        """Why none of some observables was measured; empty when they were."""
        if self.error:
            return self.error
        reasons = [(self.reasons or {}).get(name, "") for name in names]
        return next((reason for reason in reasons if reason), "")


def survey(model: PreTrainedModel, model_type: str) -> Survey:
    """Run the whole instrument on a model in memory.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A small copy, say.
    model_type : str
        Its name in the table.

    Returns
    -------
    Survey
        Never an exception: what cannot be measured is said in one line.
    """
    name = type(model).__name__
    try:
        sites = find_sites(model)
    except RefutableError as problem:
        return Survey(model_type, name, error=str(problem))
    structure = sites.structure
    seen = Survey(model_type, name, structure.norm_kind, structure.positions)
    try:
        result, reasons = _recorded(model, sites)
    except RefutableError as problem:
        return replace(seen, error=str(problem))
    failed = [f"{c.name}: {c.detail}" for c in result.checks if not c.passed]
    if failed:
        return replace(seen, error="; ".join(failed))
    reasons |= _of_weights(model)
    return replace(seen, layout=result.layout, reasons=reasons)


def _recorded(model: PreTrainedModel, sites: Sites) -> tuple[InstrumentResult, dict[str, str]]:
    source = np.random.default_rng(0)
    most = int(sites.structure.d_vocab)
    ids = tuple(tuple(int(i) for i in source.integers(3, most, n)) for n in _LENGTHS)
    names = tuple(f"f{at}/0" for at in range(len(ids)))
    encoded = Encoded(ids, names, names, "no-bos", None)
    items = [REGISTRY[name] for name in RECORDED if name in REGISTRY]
    checking = partial(check, Loaded(model), sites, encoded)  # type: ignore[arg-type]
    result, reasons = checked_apart(items, sites, checking)
    there = [item for item in items if item.name not in reasons]
    if there and all(c.passed for c in result.checks):
        measure(model, sites, encoded, there, layout=result.layout)
    return result, {item.name: reasons.get(item.name, "") for item in items}


def _of_weights(model: PreTrainedModel) -> dict[str, str]:
    reader = WeightReader.from_state_dict(model.state_dict(), model.config)
    reasons = {}
    for name in OF_WEIGHTS:
        function = REGISTRY[name].weights
        assert function is not None  # noqa: S101  (chosen by this field)
        try:
            function(reader)
        except RefutableError as problem:
            reasons[name] = str(problem)
        # A fault of one observable is told, and ends nothing.
        except Exception as problem:
            reasons[name] = told(problem)
        else:
            reasons[name] = ""
    return reasons
