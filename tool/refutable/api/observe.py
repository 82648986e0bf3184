"""`refutable.observe`: labelled observations of a model, in one call."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias

from refutable.api.opening import Model, Prompts, named_prompts, opened
from refutable.errors import ClaimError
from refutable.measurement.state import Settings
from refutable.measurement.subject import Observations, call
from refutable.observables.registry import REGISTRY

if TYPE_CHECKING:
    import xarray as xr

    from refutable.measurement.harness import Harness
    from refutable.store.store import Store

Asked: TypeAlias = "str | Callable[..., xr.DataArray]"
"""Name of an observable, or a function whose arguments are such names."""

Observables: TypeAlias = "Asked | Sequence[Asked]"
"""One of them, or several."""


def observe(
    model: Model,
    prompts: Prompts,
    observables: Observables,
    *,
    arm: str = "no-bos",
    device: str = "cpu",
    dtype: str = "float32",
    check: bool = True,
) -> xr.Dataset:
    """Measure observables of a model, each prompt run once.

    Parameters
    ----------
    model : str, transformers model, or (model, tokenizer)
        A registry name, hub id, folder or file; or a model that is in memory, which is measured
        as it stands (in evaluation mode) and left as it was.
    prompts : str, PromptSet, sequence of str, or sequence of sequences of int
        A prompt set by name or file; texts; or token ids. Texts and ids are families of their own.
    observables : str, callable, or a sequence of them
        Names (see ``refutable list observables``), or functions whose arguments are such names.
    arm : {"no-bos", "bos"}
        Whether the begin-of-sequence token is put first.
    device, dtype : str
        Of a model that is loaded here; one in memory keeps its own.
    check : bool
        Whether the instrument is checked first. Without, prompts run one at a time, nothing is
        stored, and ``attrs["checked"]`` is False.

    Returns
    -------
    xarray.Dataset
        One variable an observable, with the dimensions and units that it states; ``family`` lies
        along ``prompt``. ``attrs`` say which model, with what digests, and every instrument check.

    Raises
    ------
    RefutableError
        In one line, if the model, a prompt or the instrument failed.
    """
    return observed(model, prompts, observables, Settings(device, dtype, check=check), arm)


def observed(
    model: Model,
    prompts: Prompts,
    observables: Observables,
    settings: Settings,
    arm: str,
    *,
    store: Store | None = None,
) -> xr.Dataset:
    """Measure observables of a model, kept in a store of the caller's if there is one."""
    with opened([model], settings, store=store) as (harness, library, names):
        label = named_prompts(library, prompts)
        asked = plan(harness, names[0], label, observables, arm)
        return dataset(harness, names[0], label, asked, arm)


def plan(
    harness: Harness, model: str, prompts: str, observables: Observables, arm: str
) -> list[Asked]:
    """Plan observables of a model on prompts, and return them as a list.

    Raises
    ------
    ClaimError
        If there is none, one is unknown, or two would have one name in the dataset.
    """
    if isinstance(observables, str) or callable(observables):
        observables = [observables]
    asked = list(observables)
    names = [name_of(item) for item in asked]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not asked:
        wrong = f"{twice[0]!r} is asked for twice" if twice else "no observable is asked for"
        raise ClaimError(f"{wrong}: name each once (a function goes by its own name)")
    harness.ask(model, prompts, arm, {name for item in asked for name in _arguments(item)})
    return asked


def dataset(
    harness: Harness, model: str, prompts: str, asked: Sequence[Asked], arm: str
) -> xr.Dataset:
    """Measure what was planned, and return it with its provenance."""
    import xarray as xr

    observed = harness.observations(model, prompts, arm)
    arrays = {name_of(item): _value(item, observed) for item in asked}
    report = harness.report(model)
    assert report is not None  # noqa: S101  (it was measured)
    return xr.Dataset(arrays).assign_attrs(
        model=report.id,
        weights_digest=report.weights_digest,
        device=report.device,
        dtype=report.dtype,
        prompts=prompts,
        arm=arm,
        layout=report.layout,
        checked=harness.sources.settings.check,
        checks=json.dumps([asdict(one) for one in report.checks]),
    )


def name_of(item: Asked) -> str:
    """Return the name of an observable or of a function of some."""
    return item if isinstance(item, str) else item.__name__


def _arguments(item: Asked) -> Sequence[str]:
    if isinstance(item, str):
        REGISTRY[item]
        return [item]
    return list(inspect.signature(item).parameters)


def _value(item: Asked, observations: Observations) -> xr.DataArray:
    if not isinstance(item, str):
        values: xr.DataArray = call(item, observations, _arguments(item))
        return values
    array: xr.DataArray = observations[item]
    return array.assign_attrs(unit=REGISTRY[item].unit)
