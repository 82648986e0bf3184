"""The registry of observables: what a claim's arguments may name.

A *recorded* observable is reduced on the device during the packed pass by a recorder
(`refutable.capture.recorder`). A *derived* observable is a pure function of others.
Nothing here imports torch or xarray: the plugin reads the registry at collection.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from refutable.errors import ClaimError, near
from refutable.system.discovery import load_parts


@dataclass(frozen=True, slots=True)
class Observable:
    """One labelled array that a claim can ask for."""

    name: str
    description: str
    """One line: what is measured."""
    dims: tuple[str, ...]
    """Dimension names; ``prompt`` comes first where there is one."""
    unit: str
    version: int
    """Raised whenever the numbers would change; part of the store's key."""
    needs: tuple[str, ...] = ()
    """Names of the observables that a derived one is computed from."""
    function: Callable[..., Any] | None = None
    recorder: Callable[[], Any] | None = None
    """Factory of the recorder of a recorded observable."""
    per_prompt: bool = True
    """False for facts of the model alone (counts, weights)."""
    weights: Callable[[Any], Any] | None = None
    """Function of a weight reader, for observables that need no forward pass."""
    experiment: Callable[[Any, Any], Any] | None = None
    """Function of a loaded model and the encoded prompts (``None`` when not `per_prompt`), for
    what one recorded pass cannot give: interventions, gradients, probes, training logs."""

    of_training: bool = False
    """Whether it needs the checkpoints of training, which are not shipped: a committed value then
    stands for it."""
    recorded_with: str = ""
    """Name of an observable that this one illustrates: it is recorded whenever that one is."""

    of_config: bool = False
    """Follows from the config alone, such as untrained copies: models of one config share it."""
    in_store_only: bool = False
    """Whether it stays out of a run's observations: large, and of use to claims alone."""
    compared_with: Callable[[], Iterable[Any]] | None = None
    """Gives the specs of other models that the numbers depend on; part of the store's key."""

    @property
    def derived(self) -> bool:
        """Whether this is a pure function of other observables."""
        return self.function is not None


class Registry:
    """Observables by name; refuses two meanings of one name.

    Parameters
    ----------
    fill : callable, optional
        Called once, before the first look-up: imports the modules that register observables.
    """

    def __init__(self, fill: Callable[[], None] = lambda: None) -> None:
        self._known: dict[str, Observable] = {}
        self._fill: Callable[[], None] | None = fill

    def _filled(self) -> dict[str, Observable]:
        if self._fill is not None:
            fill, self._fill = self._fill, None
            fill()
        return self._known

    def __iter__(self) -> Iterator[Observable]:
        return iter(sorted(self._filled().values(), key=lambda o: o.name))

    def __contains__(self, name: object) -> bool:
        return name in self._filled()

    def __getitem__(self, name: str) -> Observable:
        self._filled()
        try:
            return self._known[name]
        except KeyError:
            raise ClaimError(
                f"unknown observable {name!r}: {near(name, self._known)} "
                "(see `refutable list observables`)"
            ) from None

    def add(self, new: Observable) -> Observable:
        """Register an observable; the same definition may be met twice (re-imported modules)."""
        old = self._known.get(new.name)
        if old is not None and _origin(old) != _origin(new):
            raise ClaimError(
                f"observable {new.name!r} is registered twice ({_origin(old)} and {_origin(new)}): "
                "rename one"
            )
        self._known[new.name] = new
        return new

    def recorded(self, names: Iterable[str], *, drawn: bool = True) -> frozenset[str]:
        """Names of the recorded observables that `names` rest on, transitively.

        Parameters
        ----------
        names : iterable of str
            What claims ask for.
        drawn : bool
            Whether to add what illustrates them.
        """
        found: set[str] = set()
        waiting = list(names)
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            item = self[name]
            if item.derived:
                waiting.extend(item.needs)
            else:
                found.add(name)
        if drawn:
            found |= {
                item.name
                for item in self._filled().values()
                if item.recorded_with in found and not item.derived
            }
        return frozenset(found)


def _origin(item: Observable) -> str:
    made_by = item.function or item.recorder or item.weights or item.experiment
    return f"{getattr(made_by, '__module__', '?')}.{getattr(made_by, '__qualname__', '?')}"


REGISTRY = Registry(partial(load_parts, "observables"))


def observable(
    *, dims: tuple[str, ...], unit: str = "", version: int = 1, recorded_with: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a pure function of observables as an observable of its own.

    Parameters
    ----------
    dims : tuple of str
        Dimension names of the result; ``prompt`` first.
    unit : str
        Unit of the values, e.g. ``nats`` or ``log ratio``.
    version : int
        Raise it when the numbers change.
    recorded_with : str
        Name of a recorded observable that this one sums up for figures: a run keeps it whenever
        it has that one.

    Returns
    -------
    callable
        A decorator that leaves the function as it is. The function's argument names are the
        observables it is computed from, its name is the new observable's.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        lines = (inspect.getdoc(function) or "").splitlines()
        if not lines:
            raise ClaimError(
                f"observable {function.__name__!r} has no docstring: say in one line what it is"
            )
        REGISTRY.add(
            Observable(
                name=function.__name__,
                description=lines[0],
                dims=dims,
                unit=unit,
                version=version,
                needs=tuple(inspect.signature(function).parameters),
                function=function,
                per_prompt="prompt" in dims,
                recorded_with=recorded_with,
            )
        )
        return function

    return register


def recorded(
    *,
    dims: tuple[str, ...],
    unit: str = "",
    version: int = 1,
    per_prompt: bool = True,
    recorded_with: str = "",
) -> Callable[[type], type]:
    """Register a recorder class; its ``name`` attribute names the observable.

    Parameters
    ----------
    dims : tuple of str
        Dimension names of the array it leaves; ``prompt`` first where `per_prompt`.
    unit : str
        Unit of the values.
    version : int
        Raise it when the numbers change: stored values of the old version are then not read.
    per_prompt : bool
        False for facts of the model alone.
    recorded_with : str
        Name of an observable that this one illustrates: it is recorded whenever that one is.

    Returns
    -------
    callable
        A class decorator.
    """

    def register(recorder: type) -> type:
        lines = (inspect.getdoc(recorder) or "").splitlines()
        REGISTRY.add(
            Observable(
                name=recorder.name,  # type: ignore[attr-defined]
                description=lines[0] if lines else "",
                dims=dims,
                unit=unit,
                version=version,
                recorder=recorder,
                per_prompt=per_prompt,
                recorded_with=recorded_with,
            )
        )
        return recorder

    return register


def experiment(
    *,
    dims: tuple[str, ...],
    unit: str = "",
    version: int = 1,
    per_prompt: bool = True,
    recorded_with: str = "",
    of_training: bool = False,
    in_store_only: bool = False,
    compared_with: Callable[[], Iterable[Any]] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function of a loaded model as an observable.

    Parameters
    ----------
    dims : tuple of str
        Dimension names of the array it returns; ``prompt`` first where `per_prompt`.
    unit : str
        Unit of the values.
    version : int
        Raise it when the numbers change.
    per_prompt : bool
        Whether the function gets the encoded prompts; otherwise it gets ``None`` for them and
        its result is a fact of the model alone.
    of_training : bool
        Whether it needs the checkpoints of training.
    recorded_with : str
        Name of an observable that this one illustrates: it is measured whenever that one is.
    in_store_only : bool
        Whether it stays out of the observations that a run leaves.
    compared_with : callable, optional
        Gives the specs of the models that it compares a model with: other weights of theirs are
        another measurement.

    Returns
    -------
    callable
        A decorator that leaves the function ``f(loaded, encoded) -> DataArray`` as it is.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        lines = (inspect.getdoc(function) or "").splitlines()
        if not lines:
            raise ClaimError(
                f"observable {function.__name__!r} has no docstring: say in one line what it is"
            )
        REGISTRY.add(
            Observable(
                name=function.__name__,
                description=lines[0],
                dims=dims,
                unit=unit,
                version=version,
                per_prompt=per_prompt,
                experiment=function,
                of_training=of_training,
                recorded_with=recorded_with,
                in_store_only=in_store_only,
                compared_with=compared_with,
            )
        )
        return function

    return register
