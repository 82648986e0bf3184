"""The registry of observables: what a claim's arguments may name.

A *recorded* observable is reduced on the device during the packed pass by a recorder
(`refutable.capture.recorder`). A *derived* observable is a pure function of others. Others again
are functions of the loaded model, or of its weights alone: `observable(source=...)` says which.
Nothing here imports torch or xarray: the plugin reads the registry at collection.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, overload

from refutable.capture.site_recorder import recorder_of
from refutable.errors import ClaimError, near
from refutable.observables.record import Observable as Observable
from refutable.observables.record import Source
from refutable.system.discovery import load_parts

if TYPE_CHECKING:
    import torch
    import xarray as xr

    from refutable.capture.recorder import Recorder
    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel
    from refutable.models.spec import ModelSpec
    from refutable.models.weights.reading import WeightReader

    OfPrompts = Callable[[LoadedModel, Encoded], xr.DataArray]
    OfModel = Callable[[LoadedModel, None], xr.DataArray]


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
        self._rests_on: dict[tuple[frozenset[str], bool], frozenset[str]] = {}

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
        self._rests_on.clear()
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
        known = self._filled()
        asked = (frozenset(names), drawn)
        if asked in self._rests_on:
            return self._rests_on[asked]
        waiting, seen = list(asked[0]), set(asked[0])
        while waiting:
            item = self[waiting.pop()]
            new = set(item.needs) - seen if item.derived else set()
            seen |= new
            waiting.extend(new)
        recorded = {name for name in seen if not self[name].derived}
        if drawn:
            recorded |= {
                item.name
                for item in known.values()
                if item.recorded_with in recorded and not item.derived
            }
        self._rests_on[asked] = frozenset(recorded)
        return self._rests_on[asked]


def _origin(item: Observable) -> str:
    made_by = item.function or item.recorder or item.weights or item.experiment
    return f"{getattr(made_by, '__module__', '?')}.{getattr(made_by, '__qualname__', '?')}"


REGISTRY = Registry(partial(load_parts, "observables"))


D = TypeVar("D", bound="Callable[..., xr.DataArray]")
R = TypeVar("R", bound="type[Recorder]")
M = TypeVar("M", bound="OfPrompts | OfModel")
S = TypeVar("S", bound="Callable[..., torch.Tensor]")
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
    source: Literal["sites"],
    reads: str | tuple[str, ...],
    unit: str = "",
    version: int = 1,
    recorded_with: str = "",
    error: float = 0.0,
) -> Callable[[S], S]: ...


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
    long: bool = False,
    in_store_only: bool = False,
    economical: bool = False,
    last_states: bool = False,
    by_prompt: bool = False,
    compared_with: Callable[[], Iterable[ModelSpec]] | None = None,
    error: float = 0.0,
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
    long: bool = False,
    of_config: bool = False,
    in_store_only: bool = False,
    economical: bool = False,
    last_states: bool = False,
    by_prompt: bool = False,
    compared_with: Callable[[], Iterable[ModelSpec]] | None = None,
    reads: str | tuple[str, ...] = (),
    error: float = 0.0,
) -> Callable[[Any], Any]:
    """Register what is decorated as an observable.

    Parameters
    ----------
    dims : tuple of str
        Dimension names of the array; ``prompt`` first where there is one.
    source : str
        What the array is made from. ``observables``: a pure function of others, which its argument
        names say. ``sites``: a function of views of the sites that `reads` names, run inside the
        packed pass. ``recorder``: a class whose objects record it during the packed pass.
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
        Whether it needs the checkpoints of training, or the model before it: a committed value
        then stands for it.
    long : bool
        Whether it takes longer than all else that is asked of a model, such as a training run.
    of_config : bool
        Whether it follows from the config alone: models of one config then share it.
    in_store_only : bool
        Whether it stays out of the observations that a run leaves.
    economical : bool
        Whether it reads less of a large model; `refutable.models.large.ECONOMY` is then part of
        the store's key.
    last_states : bool
        Whether it reads the residual stream at the last tokens of its prompts
        (`refutable.capture.last_states`), which the pass before it then records.
    by_prompt : bool
        Of a function of a model: whether a prompt's value follows from its token ids and the model
        alone. The text, the family and the other prompts have no part in it, so that a search may
        ask about other prompts.
    compared_with : callable, optional
        Gives the specs of the models that it compares a model with: other weights of theirs are
        another measurement.
    reads : str or tuple of str
        Sites in TransformerLens's names, with or without ``hook_``: ``blocks.*.resid_post`` for
        every block, ``blocks.3.mlp_out`` for one, ``blocks.*.attn.pattern``, ``logits`` (after
        each prompt's last token), ``logits:all``, ``loss`` (on each prompt's own next token). The
        function takes a view of each, in their order, and the model as ``parts`` if it has such
        an argument; it returns a tensor with a row a prompt, of one block where there is one for
        every block (see `refutable.capture.recorder.Tokens` and `Patterns`,
        `refutable.capture.views.LogitView`, `refutable.capture.site_recorder.Losses`).
    error : float
        Error of each value in its unit, where more than the instrument's own is known of it. That
        of recorded observables is measured: the largest difference between prompts run together
        and alone.

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
        recorder = made_by if source == "recorder" else None
        if source == "sites":
            recorder = recorder_of(made_by, (reads,) if isinstance(reads, str) else reads, dims)
        new = Observable(
            name=name,
            description=_first_line(made_by, name),
            dims=dims,
            unit=unit,
            version=version,
            needs=tuple(inspect.signature(made_by).parameters) if derived else (),
            function=made_by if derived else None,
            recorder=recorder,
            experiment=made_by if source == "model" else None,
            weights=made_by if source == "weights" else None,
            per_prompt="prompt" in dims if per_prompt is None else per_prompt,
            recorded_with=recorded_with,
            of_training=of_training,
            long=long,
            of_config=of_config,
            in_store_only=in_store_only,
            economical=economical,
            last_states=last_states,
            by_prompt=by_prompt,
            compared_with=compared_with,
            error=error,
            code=_code_of(made_by),
        )
        REGISTRY.add(new)
        return made_by

    return register


def _code_of(made_by: Any) -> str:
    """Return a digest of what a user wrote; empty for what the package brings: it has versions."""
    if made_by.__module__.partition(".")[0] == "refutable":
        return ""
    try:
        text = inspect.getsource(made_by)
    except (OSError, TypeError):
        # Typed where no source is kept: constants and names tell functions apart, too.
        code = getattr(made_by, "__code__", None)
        text = repr((code.co_code, code.co_consts, code.co_names)) if code else ""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _first_line(made_by: object, name: str) -> str:
    lines = (inspect.getdoc(made_by) or "").splitlines()
    if not lines:
        raise ClaimError(f"observable {name!r} has no docstring: say in one line what it is")
    return lines[0]
