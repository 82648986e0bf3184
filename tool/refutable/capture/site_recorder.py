"""Recorders made of a function of sites: the form in which users record what is new."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from refutable.capture.recorder import (
    ALL_LOGITS,
    LOGITS,
    PATTERN,
    AttentionRecorder,
    BlockRecorder,
    Recorder,
)
from refutable.errors import ClaimError, InstrumentError, NotAvailableError
from refutable.models.site_names import recordable

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from refutable.capture.packing import Pack
    from refutable.capture.recorder import Patterns
    from refutable.capture.views import LogitView, TokenView
    from refutable.models.sites import Sites

LOSS = "loss"
_PARTS = "parts"
_LIKE_LOGITS = (LOGITS, ALL_LOGITS, LOSS)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The model that a pass runs, for functions that take an argument ``parts``."""

    model: PreTrainedModel
    sites: Sites

    def read_off(self, stream: torch.Tensor) -> torch.Tensor:
        """Return the logits that the final norm and the unembedding make of a residual stream.

        What a model does to its logits after the unembedding (a cap, a scale) is not done.

        Parameters
        ----------
        stream : torch.Tensor
            (..., dim), in the model's type.

        Returns
        -------
        torch.Tensor
            (..., vocabulary), in float32.

        Raises
        ------
        NotAvailableError
            If the model has no final norm or no unembedding.
        """
        norm, head = self.sites.final_norm, self.sites.unembedding
        if norm is None or head is None:
            raise NotAvailableError("the model has no final norm or no unembedding to read by")
        # Not called but run: hooks on them belong to the pass.
        logits: torch.Tensor = head.forward(norm.forward(stream))
        return logits.float()


class Losses:
    """Loss on each prompt's own next token, in nats; NaN at its last one."""

    def __init__(self, view: LogitView) -> None:
        import torch

        self._view = view
        self._values = view.own_losses(torch.logsumexp(view.all().float(), dim=-1))

    def all(self) -> torch.Tensor:
        """Losses of all tokens, prompt after prompt in pack order: token."""
        return self._values

    def by_prompt(self) -> torch.Tensor:
        """Losses as (prompt, position), NaN from a prompt's last token on."""
        return self._view.by_prompt(self._values)

    def mean(self) -> torch.Tensor:
        """Mean loss of each prompt: prompt; NaN for prompts of one token."""
        return self.by_prompt().nanmean(-1)


class _Function:
    """What a recorder of a function does with it: calls it, and holds what it gives to its dims."""

    function: ClassVar[Callable[..., Any]]
    dims: ClassVar[tuple[str, ...]]
    takes_parts: ClassVar[bool]
    name: ClassVar[str]
    parts: Parts

    def begin(self, model: PreTrainedModel, sites: Sites) -> None:
        """Take the model of the pass."""
        self.parts = Parts(model, sites)

    def made(self, views: Sequence[object], prompts: int) -> torch.Tensor:
        """Call the function and check what it returned.

        Raises
        ------
        ClaimError
            If that is no tensor with a row a prompt and the stated dimensions.
        """
        import torch

        more = {_PARTS: self.parts} if self.takes_parts else {}
        value = type(self).function(*views, **more)
        rest = [dim for dim in self.dims if dim not in ("prompt", "layer")]
        expected = f"({', '.join(['prompt', *rest])})"
        if not isinstance(value, torch.Tensor):
            raise ClaimError(
                f"observable {self.name} returned {type(value).__name__}: return a tensor "
                f"{expected}"
            )
        if value.ndim != 1 + len(rest) or value.shape[0] != prompts:
            raise ClaimError(
                f"observable {self.name} returned a tensor {tuple(value.shape)} for {prompts} "
                f"prompts: return {expected}"
            )
        return value.float()


class _OfBlocks(_Function, BlockRecorder):
    """Reduces each block, once all of its sites have been read."""

    def __init__(self) -> None:
        super().__init__()
        self._views: dict[int, dict[str, TokenView]] = {}

    def read(self, site: str, layer: int, view: TokenView) -> None:
        """Keep a site until the block's others are there."""
        held = self._views.setdefault(layer, {})
        held[site] = view if len(self.reads) == 1 else view.kept()
        if len(held) == len(self.reads):
            views = [held[name] for name in self.reads]
            del self._views[layer]
            self.keep(layer, self.made(views, len(view.pack.segments)))


class _OfPatterns(_Function, AttentionRecorder):
    """Reduces the patterns of some prompts at a time."""

    def reduce(self, view: Patterns) -> torch.Tensor:
        """Call the function on one group of prompts."""
        return self.made([view], int(view.prompts.numel()))


class _Once(_Function, Recorder):
    """Reduces sites that are read once in a pass."""

    def __init__(self) -> None:
        self._views: dict[str, object] = {}

    def read(self, site: str, layer: int, view: Any) -> None:
        """Keep the site's view until the pass has run."""
        several = len(self.reads) > 1 and hasattr(view, "kept")
        self._views[site] = view.kept() if several else view

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """Call the function on all that was read."""
        views, self._views = self._views, {}
        missing = [site for site in self.reads if site not in views]
        if missing:
            raise InstrumentError(f"{self.name}: {missing[0]} did not run in this pass")
        given = [
            Losses(views[ALL_LOGITS]) if site == LOSS else views[_read_as(site)]  # type: ignore[arg-type]
            for site in self.asked
        ]
        return self.made(given, len(pack.segments))

    asked: ClassVar[tuple[str, ...]]


def _read_as(site: str) -> str:
    return ALL_LOGITS if site == LOSS else site


def recorder_of(
    function: Callable[..., Any], sites: Sequence[str], dims: tuple[str, ...]
) -> type[Recorder]:
    """Return the recorder class that calls a function on views of sites.

    Parameters
    ----------
    function : callable
        Takes a view of each site in their order and, if it likes, ``parts``.
    sites : sequence of str
        All of every block (``blocks.*.resid_post``), or none; patterns stand alone.
    dims : tuple of str
        Of the observable: ``prompt`` first, ``layer`` next for sites of every block.

    Raises
    ------
    ClaimError
        If sites, arguments or dims do not fit together.
    """
    name = getattr(function, "__name__", "?")
    asked = tuple(recordable(site) for site in sites)
    _check(name, asked, dims, function)
    every = asked[0].startswith("blocks.*")
    base: type[Recorder] = _OfPatterns if asked[0] == PATTERN else _OfBlocks if every else _Once
    return type(
        name,
        (base,),
        {
            "name": name,
            "reads": tuple(dict.fromkeys(_read_as(site) for site in asked)),
            "asked": asked,
            "function": staticmethod(function),
            "dims": dims,
            "takes_parts": _PARTS in inspect.signature(function).parameters,
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "__qualname__": function.__qualname__,
        },
    )


def _check(
    name: str, asked: tuple[str, ...], dims: tuple[str, ...], function: Callable[..., Any]
) -> None:
    if not asked:
        raise ClaimError(f"observable {name} reads no site: name one, e.g. 'blocks.*.resid_post'")
    every = [site.startswith("blocks.*") for site in asked]
    if any(every) and not all(every):
        raise ClaimError(
            f"observable {name} reads sites of every block and others: record them apart and put "
            "them together in an observable of both"
        )
    if PATTERN in asked and len(asked) > 1:
        raise ClaimError(f"observable {name} reads patterns and more: record them apart")
    if any(site.endswith("attn.pattern") and site != PATTERN for site in asked):
        raise ClaimError(f"observable {name}: patterns are read in every block: {PATTERN}")
    begin = ("prompt", "layer") if all(every) else ("prompt",)
    if dims[: len(begin)] != begin or ("layer" in dims and not all(every)):
        raise ClaimError(
            f"observable {name} reads {asked[0]}: its dims begin with {', '.join(begin)}"
            f"{'' if all(every) else ' and hold no layer'}, got {dims}"
        )
    given = [one for one in inspect.signature(function).parameters if one != _PARTS]
    if len(given) != len(asked):
        raise ClaimError(
            f"observable {name} reads {len(asked)} sites and takes {len(given)} arguments: one a "
            f"site, and {_PARTS!r} for the model"
        )
