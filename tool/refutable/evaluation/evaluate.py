"""From observations to a verdict: one claim on one model, with its control and its replication.

Nothing here measures and nothing here knows pytest.
"""

from __future__ import annotations

import inspect
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from refutable.errors import ClaimError, InstrumentError, RefutableError
from refutable.measurement.subject import Observations, Subject, call
from refutable.observables.registry import REGISTRY
from refutable.predictions.base import Judgement, Measured, NullControl
from refutable.records import Control, Estimate, Replication
from refutable.spec.claim import Claim, ReplicationSpec
from refutable.stats import estimate as est
from refutable.stats.core import Floats

if TYPE_CHECKING:
    import xarray as xr

_DRAWS = 6
"""Ways to move observables by the errors they state."""

# Rounding of one forward pass in units of the dtype's epsilon: the floor of the instrument's
# error, for when packed and single runs happen to agree to the last bit.
_ROUNDING = {"float64": 1e-12, "float32": 1e-6, "bfloat16": 4e-3, "float16": 5e-4}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Values, verdict, control and replication of one claim on one model."""

    values: Any
    control_values: tuple[object, ...]
    judgement: Judgement
    control: Control | None
    replication: Replication | None
    error: float
    replicated: Any = None
    """What the study's own statistic is made of."""


def seed_of(claim: str, model: str = "") -> int:
    """Return the seed of every random draw made for one claim on one model."""
    return zlib.crc32(f"{claim}|{model}".encode())


def evaluate(claim: Claim, subject: Subject, *, model: str = "") -> Evaluation:
    """Evaluate a claim about a single model.

    Parameters
    ----------
    claim : Claim
        The claim.
    subject : Subject
        Observations of the model, of its null controls, and of the instrument check.
    model : str
        The model's id; seeds the bootstrap together with the claim's id.

    Returns
    -------
    Evaluation
    """
    values = call(claim.body, subject.observations, claim.observables)
    error = instrument_error(claim, subject, values) + stated_error(claim, subject, values)
    seed = seed_of(claim.id, model)
    controls, names = _controls(claim, subject, model)
    null = NullControl(claim.control.kind, names, controls, claim.sesoi) if claim.control else None
    measured = Measured(values, error, seed, claim.unit)
    judgement, control = decide(claim, measured, null)
    if claim.replication is None:
        return Evaluation(values, controls, judgement, control, None, error)
    names = tuple(inspect.signature(claim.replication.body).parameters)
    arrays = call(claim.replication.body, subject.observations, names)
    replicated = _replicate(claim.replication, arrays)
    return Evaluation(values, controls, judgement, control, replicated, error, arrays)


def decide(
    claim: Claim, measured: Measured, control: NullControl | None
) -> tuple[Judgement, Control | None]:
    """Judge a claim and read its null control, where there are copies of it.

    Parameters
    ----------
    claim : Claim
        The claim.
    measured : Measured
        What its body returned, on a model or on several by name and training seed.
    control : NullControl or None
        The same on the null control.
    """
    judgement = claim.predicts.judge(measured, control)
    if control is None or not control.values:
        return judgement, None
    return judgement, claim.predicts.read_control(measured, control)


def _controls(
    claim: Claim, subject: Subject, model: str
) -> tuple[tuple[object, ...], tuple[str, ...]]:
    """Values of the null control, and what each was measured on."""
    spec = claim.control
    if spec is not None and spec.body is not None:
        value = call(spec.body, subject.observations, spec.observables)
        if spec.kind == "placebo" and "copy" not in getattr(value, "dims", ()):
            return (value,), (f"{model}@placebo",)
        copies = _along_copies(claim, value)
        return copies, tuple(f"{model}@{spec.kind}-{place}" for place in range(len(copies)))
    values = tuple(call(claim.body, o, claim.observables) for o in subject.controls)
    return values, subject.control_names


def _along_copies(claim: Claim, value: object) -> tuple[xr.DataArray, ...]:
    """Take the copies of a null control out of the array that holds them."""
    import xarray as xr

    if not isinstance(value, xr.DataArray) or "copy" not in value.dims:
        raise ClaimError(
            f"{claim.id}: the body of its untrained copies returned no array along 'copy': keep "
            "that dim of the observable, or use untrained()"
        )
    return tuple(value.isel(copy=place, drop=True) for place in range(value.sizes["copy"]))


def stated_error(claim: Claim, subject: Subject, values: Any) -> float:
    """Largest change of the body's values when observables move by the errors they state.

    All values of an observable move together, up and down, and then each by a sign of its own:
    what a body takes away from one another may err the same way or not.
    """
    import numpy as np

    known = {n: REGISTRY[n] for n in subject.observations if n in REGISTRY}
    arrays = {
        n: a for n, a in subject.observations.items() if n not in known or not known[n].derived
    }
    stated = {n: known[n].error for n in arrays if n in known and known[n].error > 0}
    if not stated:
        return 0.0
    generator, widest = np.random.default_rng(0), [0.0]
    for draw in range(_DRAWS):
        moved = dict(arrays)
        for name, error in stated.items():
            signs = 1 - 2 * draw if draw < 2 else generator.choice([-1, 1], arrays[name].shape)
            moved[name] = arrays[name] + error * signs
        again = call(claim.body, Observations(moved), claim.observables)
        widest += [
            _difference(np.asarray(a, float), np.asarray(b, float))
            for a, b in zip(_arrays(values), _arrays(again), strict=True)
        ]
    if not np.isfinite(max(widest)):
        raise InstrumentError(
            f"{claim.id}: its values are not finite where {', '.join(stated)} err by what they "
            "state: let the body keep away from there, or state a smaller error"
        )
    return max(widest)


def instrument_error(claim: Claim, subject: Subject, values: Any) -> float:
    """Largest difference of the body's values between the chosen layout and single prompts.

    It is at least the rounding of the dtype, scaled by the size of the values where that is
    above 1.

    Raises
    ------
    InstrumentError
        If a value is finite in one of the two and not in the other, or there are more of them: no
        error covers that.
    """
    import numpy as np

    size = _largest(values)
    floor = _ROUNDING.get(subject.dtype, 1e-6) * max(1.0, size)
    if not claim.predicts.sampled:
        floor = 0.0
    if subject.check is None:
        return floor
    try:
        pair = [call(claim.body, o, claim.observables) for o in subject.check]
    except (ValueError, KeyError, IndexError, RefutableError):
        # A body that needs all families cannot be computed on the few checked prompts.
        return floor
    differences = [
        _difference(np.asarray(a, float), np.asarray(b, float))
        for a, b in zip(_arrays(pair[0]), _arrays(pair[1]), strict=True)
    ]
    worst = max(differences, default=0.0)
    if not np.isfinite(worst):
        raise InstrumentError(
            f"{claim.id}: some values are finite in one layout of the checked prompts and not in "
            "the other: this model cannot be measured reliably for it"
        )
    return max(floor, worst)


def _difference(chosen: Floats, single: Floats) -> float:
    """Largest difference of two arrays; values that are the same, NaN and infinity too, have none.

    Infinite where one is finite and the other is not.
    """
    import numpy as np

    if chosen.shape != single.shape:
        return np.inf
    same = (chosen == single) | (np.isnan(chosen) & np.isnan(single))
    # Of infinity and NaN; both are told apart from finite numbers by what is returned.
    with np.errstate(invalid="ignore"):
        differences = np.abs(chosen - single)[~same]
    return float(np.nan_to_num(differences, nan=np.inf, posinf=np.inf).max(initial=0.0))


def _arrays(values: Any) -> list[xr.DataArray]:
    import xarray as xr

    if isinstance(values, xr.Dataset):
        return [values[name] for name in values.data_vars]
    if isinstance(values, tuple | list):
        return list(values)
    return [values]


def _largest(values: object) -> float:
    import numpy as np

    sizes = [np.abs(np.asarray(a, float)) for a in _arrays(values)]
    finite = [float(s[np.isfinite(s)].max()) for s in sizes if np.isfinite(s).any()]
    return max(finite, default=0.0)


def _replicate(spec: ReplicationSpec, values: Any) -> Replication:
    """Make the study's own statistic of what its body returned."""
    if spec.statistic == "pooled correlation":
        x, y = _arrays(values)
        estimate = est.pooled_correlation(x.values, y.values)
    elif spec.statistic == "prompts as independent":
        estimate = est.prompts_as_independent(values.values)
    else:
        estimate = est.exact(float(values), 0.0)
    return Replication(
        spec.statement, estimate, spec.region, _reading(estimate, spec), spec.published
    )


def _reading(estimate: Estimate, spec: ReplicationSpec) -> str:
    low, high = estimate.low, estimate.high
    if low is None or high is None:
        return "undefined"
    region = spec.region
    inside = (region.low is None or low > region.low) and (
        region.high is None or high < region.high
    )
    outside = (region.low is not None and high < region.low) or (
        region.high is not None and low > region.high
    )
    if inside:
        return "would say: as claimed"
    return "would say: the opposite" if outside else "would say: not significant"
