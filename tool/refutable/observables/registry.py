"""The registry of observables: what a claim's arguments may name.

A *recorded* observable is reduced on the device during the packed pass by a recorder
(`refutable.capture.recorder`). A *derived* observable is a pure function of others. Others again
are functions of the loaded model, or of its weights alone: `observable(source=...)` says which.
Nothing here imports torch or xarray: the plugin reads the registry at collection.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, overload

from refutable.errors import ClaimError, near
from refutable.system.discovery import load_parts

if TYPE_CHECKING:
    import xarray as xr

    from refutable.capture.recorder import Recorder
    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel
    from refutable.models.spec import ModelSpec
    from refutable.models.weights.reading import WeightReader

    OfPrompts = Callable[[LoadedModel, Encoded], xr.DataArray]
    OfModel = Callable[[LoadedModel, None], xr.DataArray]

Source = Literal["observables", "recorder", "model", "weights"]
"""What an observable is made from: others, one recorded pass, the model itself, or its tensors."""


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
    function: Callable[..., xr.DataArray] | None = None
    recorder: Callable[[], Recorder] | None = None
    """Factory of the recorder of a recorded observable."""
    per_prompt: bool = True
    """False for facts of the model alone (counts, weights)."""
    weights: Callable[[WeightReader], xr.DataArray] | None = None
    """Function of a weight reader, for observables that need no forward pass."""
    experiment: Callable[..., xr.DataArray] | None = None
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
    compared_with: Callable[[], Iterable[ModelSpec]] | None = None
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


D = TypeVar("D", bound="Callable[..., xr.DataArray]")
R = TypeVar("R", bound="type[Recorder]")
M = TypeVar("M", bound="OfPrompts | OfModel")
W = TypeVar("W", bound="Callable[[WeightReader], xr.DataArray]")


@overload
def observable(
    *,
    dims: tuple[str, ...],
    source: Literal["observables"] = "observables",
    unit: str = "",
    version: int = 1,
    recorded_with: str = "",
) -> Callable[[D], D]: ...


@overload
def observable(
    *,
    dims: tuple[str, ...],
    source: Literal["recorder"],
    unit: str = "",
    version: int = 1,
    recorded_with: str = "",
    per_prompt: bool | None = None,
) -> Callable[[R], R]: ...


@overload
def observable(
    *,
    dims: tuple[str, ...],
    source: Literal["model"],
    unit: str = "",
    version: int = 1,
    recorded_with: str = "",
    per_prompt: bool | None = None,
    of_training: bool = False,
    in_store_only: bool = False,
    compared_with: Callable[[], Iterable[ModelSpec]] | None = None,
) -> Callable[[M], M]: ...


@overload
def observable(
    *,
    dims: tuple[str, ...],
    source: Literal["weights"],
    unit: str = "",
    version: int = 1,
    recorded_with: str = "",
    of_config: bool = False,
) -> Callable[[W], W]: ...


def observable(
    *,
    dims: tuple[str, ...],
    source: Source = "observables",
    unit: str = "",
    version: int = 1,
    recorded_with: str = "",
    per_prompt: bool | None = None,
    of_training: bool = False,
    of_config: bool = False,
    in_store_only: bool = False,
    compared_with: Callable[[], Iterable[ModelSpec]] | None = None,
) -> Callable[[Any], Any]:
    """Register what is decorated as an observable.

    Parameters
    ----------
    dims : tuple of str
        Dimension names of the array; ``prompt`` first where there is one.
    source : str
        What the array is made from. ``observables``: a pure function of others, which its argument
        names say. ``recorder``: a class whose objects record it during the packed pass.
        ``model``: a function ``f(loaded, encoded)`` of a loaded model and the encoded prompts, for
        what one pass cannot give (interventions, gradients, probes, training logs). ``weights``: a
        function of a `WeightReader`, for what needs no pass at all.
    unit : str
        Unit of the values, e.g. ``nats`` or ``log ratio``.
    version : int
        Raise it when the numbers change: stored values of the old version are then not read.
    recorded_with : str
        Name of an observable that this one illustrates: it is kept whenever that one is.
    per_prompt : bool, optional
        Whether it depends on the prompts; by default where `dims` has ``prompt``. A function of a
        model gets ``None`` for the prompts where it does not.
    of_training : bool
        Whether it needs the checkpoints of training.
    of_config : bool
        Whether it follows from the config alone: models of one config then share it.
    in_store_only : bool
        Whether it stays out of the observations that a run leaves.
    compared_with : callable, optional
        Gives the specs of the models that it compares a model with: other weights of theirs are
        another measurement.

    Returns
    -------
    callable
        A decorator that leaves what it decorates as it is. The name of the function, or the
        recorder's attribute ``name``, is the observable's; the first line of the docstring says
        what it is.

    Raises
    ------
    ClaimError
        If there is no such source, or no docstring.
    """
    if source not in get_args(Source):
        raise ClaimError(
            f"no source of observables is called {source!r}: {near(source, get_args(Source))}"
        )

    def register(made_by: Any) -> Any:
        name = made_by.name if source == "recorder" else made_by.__name__
        derived = source == "observables"
        new = Observable(
            name=name,
            description=_first_line(made_by, name),
            dims=dims,
            unit=unit,
            version=version,
            needs=tuple(inspect.signature(made_by).parameters) if derived else (),
            function=made_by if derived else None,
            recorder=made_by if source == "recorder" else None,
            experiment=made_by if source == "model" else None,
            weights=made_by if source == "weights" else None,
            per_prompt="prompt" in dims if per_prompt is None else per_prompt,
            recorded_with=recorded_with,
            of_training=of_training,
            of_config=of_config,
            in_store_only=in_store_only,
            compared_with=compared_with,
        )
        REGISTRY.add(new)
        return made_by

    return register


def _first_line(made_by: object, name: str) -> str:
    lines = (inspect.getdoc(made_by) or "").splitlines()
    if not lines:
        raise ClaimError(f"observable {name!r} has no docstring: say in one line what it is")
    return lines[0]
