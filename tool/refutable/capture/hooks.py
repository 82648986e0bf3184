"""One pass over a pack: hooks that feed the recorders and are gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from refutable.capture.attention import AttentionPass
from refutable.capture.batch import Batch, make_batch
from refutable.capture.interface import attending
from refutable.capture.packing import Pack
from refutable.capture.plan import Plan
from refutable.capture.recorder import ALL_LOGITS, LOGITS, PATTERN
from refutable.capture.tensors import after, before
from refutable.capture.views import LogitView, TokenView
from refutable.errors import InstrumentError, NotAvailableError, RefutableError, one_line
from refutable.models.placement import input_device

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from refutable.capture.recorder import Recorder
    from refutable.models.sites import Site, Sites

OUTSIDE = -1
"""Stands for what lies outside the blocks, where a block's number is asked for."""


class NoRoomError(InstrumentError):
    """A pass does not fit in memory; a smaller one may."""


class Capture:
    """Hooks on a model for the length of a ``with`` block; nothing remains on the model after it.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In eval mode.
    sites : Sites
        Where its blocks, attention modules and unembedding are.
    plan : Plan
        What to read.
    only : int, optional
        Read one block alone, or with -1 what lies outside the blocks; all by default.
    """

    def __init__(self, model: Any, sites: Sites, plan: Plan, *, only: int | None = None) -> None:
        self._model = model
        self._sites = sites
        self._plan = plan
        self._batch: Batch | None = None
        self._stack = ExitStack()
        self._headed = False
        self._attention: AttentionPass | None = None
        self._only = only
        if plan.attention and only != OUTSIDE:
            modules = dict(enumerate(_attention_modules(sites)))
            if only is not None:
                modules = {only: modules[only]}
            self._attention = AttentionPass(modules, plan.readers(PATTERN))
        self.blocks = len(sites.blocks)

    def __enter__(self) -> Self:
        """Install the hooks."""
        try:
            self._install()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Remove them, whatever happened."""
        self._stack.close()

    @property
    def calls(self) -> dict[int, int]:
        """How often the registered attention function ran for each block in the last pack."""
        return dict(self._attention.calls) if self._attention else {}

    @torch.no_grad()
    def run(self, pack: Pack, ids: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Run one pack and return each observable's reductions, on the host.

        Returns
        -------
        dict of str to torch.Tensor
            By observable name; first dimension prompt in pack order.
        """
        # The only copies to the host: one per observable and pack.
        return {name: value.detach().cpu() for name, value in self.reduce(pack, ids).items()}

    def reduce(self, pack: Pack, ids: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Run one pack and return each observable's reductions where the model is.

        They can be differentiated where the caller lets gradients be recorded.
        """
        batch = make_batch(
            pack, ids, input_device(self._model), attention=self._attention is not None
        )
        self._batch = batch
        self._headed = False
        if self._attention is not None:
            self._attention.begin(batch)
        try:
            logits = self._forward(batch)
            if self._attention is not None:
                self._attention.end()
            self._read_logits(logits, batch)
        finally:
            self._batch = None
        return {r.name: r.take(pack, self.blocks) for r in self._plan.recorders}

    def step(self, batch: Batch, forward: Callable[[], Any]) -> None:
        """Read a part of a pass that the caller runs: one block, or what lies outside them."""
        self._batch = batch
        self._headed = False
        if self._attention is not None:
            self._attention.begin(batch)
        try:
            out = forward()
            if self._attention is not None:
                self._attention.end()
            if self._only == OUTSIDE:
                self._read_logits(out.logits, batch)
        finally:
            self._batch = None

    def _forward(self, batch: Batch) -> torch.Tensor:
        try:
            logits: torch.Tensor = self._model(
                **batch.inputs, use_cache=False, return_dict=True
            ).logits
            return logits
        except RefutableError:
            raise
        # A table of positions that is too short, a kernel that lacks a type: said in one line.
        except (RuntimeError, IndexError, ValueError, TypeError) as problem:
            pack = batch.pack
            if out_of_memory(problem):
                raise NoRoomError(
                    f"{pack.rows} rows of {pack.width} tokens do not fit in memory"
                ) from None
            raise InstrumentError(
                f"{type(self._model).__name__} cannot run {pack.rows} rows of {pack.width} tokens "
                f"({one_line(problem)}): shorten the prompts, or check the config"
            ) from problem

    def _install(self) -> None:
        for recorder in self._plan.recorders:
            recorder.begin(self._model, self._sites)
        for name, (layer, readers) in self._readers().items():
            self._hook(self._sites[name], layer, readers)
        if self._attention is not None:
            self._stack.enter_context(attending(self._model, self._attention.attend))
            for layer, module in self._attention.modules.items():
                self._keep(module.register_forward_hook(self._attention.module_hook(layer)))
        head = self._sites.unembedding
        if self._only not in (None, OUTSIDE):
            return
        if head is not None:
            self._keep(head.register_forward_pre_hook(self._select_positions, with_kwargs=True))
        elif self._plan.logits != "none":
            raise NotAvailableError("this model has no unembedding: logits are not available")

    def _readers(self) -> dict[str, tuple[int, list[tuple[str, Recorder]]]]:
        """Sites that are hooked on a module: layer, and recorders with the name they gave it."""
        by_module: dict[str, tuple[int, list[tuple[str, Recorder]]]] = {}
        for wanted in sorted(self._plan.sites - {PATTERN, LOGITS, ALL_LOGITS}):
            layers = range(self.blocks) if "*" in wanted else (_layer(wanted),)
            readers = [(wanted, recorder) for recorder in self._plan.readers(wanted)]
            some = all(recorder.some_blocks for _, recorder in readers)
            there = [k for k in layers if wanted.replace("*", str(k)) in self._sites]
            for layer in there if some and there else layers:
                name = wanted.replace("*", str(layer))
                if self._only is not None and layer != self._only:
                    continue
                by_module.setdefault(name, (layer, []))[1].extend(readers)
        return by_module

    def _keep(self, handle: RemovableHandle) -> None:
        self._stack.callback(handle.remove)

    def _hook(self, site: Site, layer: int, readers: list[tuple[str, Recorder]]) -> None:
        turned = site.dims[:1] == ("position",)

        def see(value: torch.Tensor) -> None:
            batch = self._batch
            if batch is None:
                return
            if turned:
                value = value.transpose(0, 1)
            # The block may lie on another device than the inputs.
            value = value.to(batch.last.device)
            if site.entry is not None and value.shape[:-1] != (batch.pack.rows, batch.pack.width):
                raise InstrumentError(
                    f"{site.name} has shape {tuple(value.shape)} in a pass of {batch.pack.rows} "
                    f"rows of {batch.pack.width} tokens: no stream with a position a token"
                )
            view = TokenView(value, batch)
            for name, recorder in readers:
                recorder.read(name, layer, view)

        if site.before:
            hook = before(see, site.entry)
            self._keep(site.module.register_forward_pre_hook(hook, with_kwargs=True))
        else:
            self._keep(site.module.register_forward_hook(after(see, site.entry)))

    def _select_positions(
        self, module: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[torch.Tensor, ...], dict[str, object]] | None:
        """Keep only the positions whose logits are needed before the unembedding runs."""
        batch = self._batch
        if batch is None or not args or args[0].shape[:-1] != (batch.pack.rows, batch.pack.width):
            return None
        self._headed = True
        flat = args[0].reshape(-1, args[0].shape[-1])
        wanted = self._positions(batch).to(flat.device)
        return (flat.index_select(0, wanted)[None], *args[1:]), kwargs

    def _positions(self, batch: Batch) -> torch.Tensor:
        wanted = self._plan.logits
        if wanted == "none":
            return batch.last[:0]
        return batch.last if wanted == "last" else batch.tokens

    def _read_logits(self, logits: torch.Tensor, batch: Batch) -> None:
        if self._plan.logits == "none":
            return
        flat = logits.reshape(-1, logits.shape[-1]).to(batch.last.device)
        if not self._headed:
            flat = flat.index_select(0, self._positions(batch))
        view = LogitView(flat, batch, everywhere=self._plan.logits == "all")
        for site in (LOGITS, ALL_LOGITS):
            for recorder in self._plan.readers(site):
                recorder.read(site, -1, view)


def out_of_memory(problem: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    return isinstance(problem, torch.OutOfMemoryError) or "can't allocate memory" in str(problem)


def _attention_modules(sites: Sites) -> list[nn.Module]:
    modules = [module for module in sites.attentions if module is not None]
    if len(modules) != len(sites.blocks):
        raise NotAvailableError(
            f"attention was found in {len(modules)} of {len(sites.blocks)} blocks: attention "
            "observables are not available for this model"
        )
    return modules


def _layer(name: str) -> int:
    """Block of a site, -1 for sites outside the blocks."""
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "blocks" and parts[1].isdigit() else -1
