"""`refutable.observe`: labelled observations of a model, in one call."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias

from refutable.api.opening import Model, Prompts, named_prompts, opened
from refutable.measurement.state import Settings
from refutable.measurement.subject import Observations, call
from refutable.observables.registry import REGISTRY

if TYPE_CHECKING:
    import xarray as xr

Asked: TypeAlias = "str | Callable[..., xr.DataArray]"
"""Name of an observable, or a function whose arguments are such names."""


def observe(
    model: Model,
    prompts: Prompts,
    observables: Asked | Sequence[Asked],
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
    import xarray as xr

    asked = [observables] if isinstance(observables, str) or callable(observables) else observables
    settings = Settings(device, dtype, check=check)
    with opened([model], settings) as (harness, library, names):
        label = named_prompts(library, prompts)
        recorded = {name for item in asked for name in _arguments(item)}
        harness.ask(names[0], label, arm, recorded)
        found = harness.observations(names[0], label, arm)
        arrays = {
            item if isinstance(item, str) else item.__name__: _value(item, found) for item in asked
        }
        report = harness.report(names[0])
    assert report is not None  # noqa: S101  (it was measured)
    return xr.Dataset(arrays).assign_attrs(
        model=report.id,
        weights_digest=report.weights_digest,
        device=report.device,
        dtype=report.dtype,
        prompts=label,
        arm=arm,
        layout=report.layout,
        checked=check,
        checks=json.dumps([asdict(one) for one in report.checks]),
    )


def _arguments(item: Asked) -> Sequence[str]:
    if isinstance(item, str):
        REGISTRY[item]
        return [item]
    return list(inspect.signature(item).parameters)


def _value(item: Asked, found: Observations) -> xr.DataArray:
    if not isinstance(item, str):
        values: xr.DataArray = call(item, found, _arguments(item))
        return values
    array: xr.DataArray = found[item]
    return array.assign_attrs(unit=REGISTRY[item].unit)
