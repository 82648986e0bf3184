"""What a recorder is: the part of an observable that runs inside the packed pass.

A recorder names the sites it reads in TransformerLens's vocabulary (``blocks.*.resid_post``), gets
a view of each site once per block and pack, reduces it on the device, and hands the reductions of
a pack over when the pack has run. Only those are copied to the host.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from refutable.errors import InstrumentError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from refutable.capture.packing import Pack
    from refutable.models.sites import Sites

RESID_PRE = "blocks.*.resid_pre"
RESID_POST = "blocks.*.resid_post"
ATTN_OUT = "blocks.*.attn_out"
MLP_OUT = "blocks.*.mlp_out"
ROUTER = "blocks.*.router"
EMBED = "blocks.0.resid_pre"
PATTERN = "blocks.*.attn.pattern"
LOGITS = "logits"
ALL_LOGITS = "logits:all"
"""Logits at every token; `LOGITS` are those at each prompt's last token."""


class Recordable(Protocol):
    """What a pass must know of an observable (`refutable.observables.registry.Observable`)."""

    @property
    def name(self) -> str:
        """Name of the observable."""

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimension names, ``prompt`` first where there is one."""

    @property
    def unit(self) -> str:
        """Unit of the values."""

    @property
    def per_prompt(self) -> bool:
        """False for facts of the model alone."""

    @property
    def recorder(self) -> Callable[[], Recorder] | None:
        """Factory of the recorder; ``None`` for a derived observable."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the engine records for a use of its own: `Recordable`, and no observable."""

    name: str
    dims: tuple[str, ...]
    recorder: Callable[[], Recorder]
    unit: str = ""
    per_prompt: bool = True


class Tokens(Protocol):
    """One site's vectors in one pack."""

    pack: Pack
    value: torch.Tensor
    """As the model gave it: row, position, dim (padding included)."""

    def last(self) -> torch.Tensor:
        """Vectors of each prompt's last token: prompt, dim."""

    def all(self) -> torch.Tensor:
        """Vectors of all tokens, prompt after prompt in pack order: token, dim."""

    def norms(self) -> torch.Tensor:
        """Euclidean norms of `all` in float32: token."""

    def by_prompt(self, per_token: torch.Tensor) -> torch.Tensor:
        """Spread numbers per token out: (..., token) to (..., prompt, position), NaN beyond."""


class Patterns(Protocol):
    """Attention patterns of prompts of like length in one block of one pack."""

    prompts: torch.Tensor
    """Which prompts of the pack these are: indices into its segments."""
    lengths: torch.Tensor
    pattern: torch.Tensor
    """prompt, head, query, key; float32; 0 in columns beyond a prompt's end."""

    def row_mean(self, rows: torch.Tensor) -> torch.Tensor:
        """Mean over the rows t >= 1 of each prompt: (prompt, head, query) to (prompt, head)."""


class Recorder(ABC):
    """Base of the recorders; one instance serves one pass over a prompt set."""

    name: ClassVar[str]
    """Name of the observable."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Sites to read; ``*`` stands for every block."""
    finite: ClassVar[bool] = False
    """Whether a sound model gives finite numbers for every prompt (and every token of it)."""
    some_blocks: ClassVar[bool] = False
    """Whether it is measured in the blocks that have what it reads, if any has."""

    def begin(self, model: PreTrainedModel, sites: Sites) -> None:  # noqa: B027  (few need it)
        """Take the model of the pass; called before it runs."""

    def read(self, site: str, layer: int, view: Any) -> None:  # noqa: B027  (a recorder may read none)
        """Reduce one site of one block; called while the pack runs.

        Parameters
        ----------
        site : str
            The entry of `reads` that this is.
        layer : int
            The block; -1 for logits.
        view : Tokens, Patterns or torch.Tensor
            `Tokens` for sites of the residual stream, `Patterns` (once per group of prompts of
            like length) for attention, `LogitView` for logits.
        """

    @abstractmethod
    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """Hand over the reductions of the pack that has just run and forget them.

        Returns
        -------
        torch.Tensor
            First dimension prompt, in pack order, then the observable's other dimensions.
        """


class BlockRecorder(Recorder):
    """A recorder that keeps one reduction per block: ``(prompt, layer, ...)``.

    One whose `some_blocks` is true gives NaN for blocks that lack what it reads.
    """

    def __init__(self) -> None:
        self._kept: dict[int, torch.Tensor] = {}

    def keep(self, layer: int, value: torch.Tensor) -> None:
        """Remember a block's reduction (prompt first)."""
        if layer in self._kept:
            raise InstrumentError(
                f"{self.name}: block {layer} ran twice in one pass; models that reuse a block "
                "are not supported"
            )
        self._kept[layer] = value

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """Stack the blocks along dimension 1 (layer)."""
        import torch

        kept, self._kept = self._kept, {}
        if self.some_blocks and kept:
            none = torch.full_like(next(iter(kept.values())), float("nan"))
            kept = {layer: kept.get(layer, none) for layer in range(blocks)}
        if sorted(kept) != list(range(blocks)):
            raise InstrumentError(f"{self.name}: captured {len(kept)} of {blocks} blocks")
        return torch.stack([kept[layer] for layer in range(blocks)], dim=1)


class AttentionRecorder(Recorder):
    """A recorder that reduces each block's patterns to one number per head."""

    reads = (PATTERN,)

    def __init__(self) -> None:
        self._kept: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    @abstractmethod
    def reduce(self, view: Patterns) -> torch.Tensor:
        """Reduce the patterns of some prompts to (prompt, head)."""

    def read(self, site: str, layer: int, view: Patterns) -> None:
        """Reduce one group of prompts and drop the patterns."""
        self._kept.setdefault(layer, []).append((view.prompts, self.reduce(view)))

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """Put the groups back into pack order: prompt, layer, head."""
        import torch

        kept, self._kept = self._kept, {}
        if sorted(kept) != list(range(blocks)):
            raise InstrumentError(f"{self.name}: captured {len(kept)} of {blocks} blocks")
        shapes = {part.shape[1:] for parts in kept.values() for _, part in parts}
        if len(shapes) != 1:
            raise InstrumentError(f"{self.name}: blocks differ in their number of heads")
        order = torch.cat([prompts for prompts, _ in kept[0]])
        if order.numel() != len(pack.segments):
            raise InstrumentError(
                f"{self.name}: captured {order.numel()} of {len(pack.segments)} prompts"
            )
        layers = [torch.cat([part for _, part in kept[layer]]) for layer in range(blocks)]
        return torch.stack(layers, dim=1)[torch.argsort(order)]
