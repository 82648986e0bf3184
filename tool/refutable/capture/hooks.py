"""One pass over a pack: hooks that feed the recorders and are gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from refutable.capture.attention import SITES as ATTENTION_SITES
from refutable.capture.attention import AttentionPass, Patch, Where
from refutable.capture.batch import Batch, make_batch
from refutable.capture.interface import attending
from refutable.capture.packing import Pack
from refutable.capture.plan import Plan
from refutable.capture.recorder import ALL_LOGITS, LOGITS, PATTERN
from refutable.capture.views import LogitView, TokenView
from refutable.errors import InstrumentError, NotAvailableError
from refutable.models.stream import Entry, pick, put

if TYPE_CHECKING:
    from refutable.capture.recorder import Recorder
    from refutable.models.sites import Site, Sites


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
    patches : mapping of str to callable
        Sites to alter, e.g. ``blocks.3.attn.pattern`` or ``blocks.3.resid_post``. A patch gets the
        value and a `Where` and returns the new value in the same shape: (prompt, position, head,
        d_head) for q, k and v; (prompt, head, query, key) for scores and pattern, over prompts of
        like length, padded; (token, dim), prompt after prompt, for every other site.
    """

    def __init__(
        self,
        model: Any,
        sites: Sites,
        plan: Plan,
        patches: Mapping[str, Patch] | None = None,
    ) -> None:
        self._model = model
        self._sites = sites
        self._plan = plan
        self._patches = dict(patches or {})
        self._batch: Batch | None = None
        self._stack = ExitStack()
        self._headed = False
        inner = [name for name in self._patches if _is_attention(name)]
        self._attention: AttentionPass | None = None
        if plan.attention or inner:
            modules = _attention_modules(sites)
            self._attention = AttentionPass(modules, plan.readers(PATTERN), self._patches)
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
        batch = make_batch(pack, ids, _device(self._model), attention=self._attention is not None)
        self._batch = batch
        self._headed = False
        if self._attention is not None:
            self._attention.begin(batch)
        try:
            out = self._model(**batch.inputs, use_cache=False, return_dict=True)
            if self._attention is not None:
                self._attention.end()
            self._read_logits(out, batch)
        finally:
            self._batch = None
        taken = {r.name: r.take(pack, self.blocks) for r in self._plan.recorders}
        # The only copies to the host: one per observable and pack.
        return {name: value.detach().cpu() for name, value in taken.items()}

    def _install(self) -> None:
        for name, (layer, readers) in self._readers().items():
            patch = self._patches.get(name)
            site = self._sites[name]
            if patch is not None and not site.writable:
                raise NotAvailableError(f"site {name!r} can be read but not altered in this model")
            self._hook(site, layer, readers, patch)
        if self._attention is not None:
            self._stack.enter_context(attending(self._model, self._attention.attend))
            for layer, module in enumerate(_attention_modules(self._sites)):
                self._keep(module.register_forward_hook(self._attention.module_hook(layer)))
        head = self._sites.unembedding
        if head is not None:
            self._keep(head.register_forward_pre_hook(self._select_positions, with_kwargs=True))
        elif self._plan.logits != "none":
            raise NotAvailableError("this model has no unembedding: logits are not available")

    def _readers(self) -> dict[str, tuple[int, list[tuple[str, Recorder]]]]:
        """Sites that are hooked on a module: layer, and recorders with the name they gave it."""
        found: dict[str, tuple[int, list[tuple[str, Recorder]]]] = {}
        for wanted in sorted(self._plan.sites - {PATTERN, LOGITS, ALL_LOGITS}):
            layers = range(self.blocks) if "*" in wanted else (_layer(wanted),)
            for layer in layers:
                name = wanted.replace("*", str(layer))
                readers = [(wanted, recorder) for recorder in self._plan.readers(wanted)]
                found.setdefault(name, (layer, []))[1].extend(readers)
        for name in self._patches:
            if not _is_attention(name):
                found.setdefault(name, (_layer(name), []))
            elif not self._sites[name].writable:
                raise NotAvailableError(f"site {name!r} can be read but not altered in this model")
        return found

    def _keep(self, handle: Any) -> None:
        self._stack.callback(handle.remove)

    def _hook(
        self, site: Site, layer: int, readers: list[tuple[str, Recorder]], patch: Patch | None
    ) -> None:
        turned = site.dims[:1] == ("position",)

        def see(value: torch.Tensor) -> torch.Tensor | None:
            batch = self._batch
            if batch is None:
                return None
            if turned:
                value = value.transpose(0, 1)
            if site.entry is not None and value.shape[:-1] != (batch.pack.rows, batch.pack.width):
                raise InstrumentError(
                    f"{site.name} has shape {tuple(value.shape)} in a pass of {batch.pack.rows} "
                    f"rows of {batch.pack.width} tokens: no stream with a position a token"
                )
            changed = _patch_tokens(value, batch, layer, patch) if patch else None
            view = TokenView(value if changed is None else changed, batch)
            for name, recorder in readers:
                recorder.read(name, layer, view)
            return changed.transpose(0, 1) if turned and changed is not None else changed

        if site.before:
            hook = _before(see, site.entry)
            self._keep(site.module.register_forward_pre_hook(hook, with_kwargs=True))
        else:
            self._keep(site.module.register_forward_hook(_after(see, site.entry)))

    def _select_positions(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Keep only the positions whose logits are needed before the unembedding runs."""
        batch = self._batch
        if batch is None or not args or args[0].shape[:-1] != (batch.pack.rows, batch.pack.width):
            return None
        self._headed = True
        flat = args[0].reshape(-1, args[0].shape[-1])
        return (flat.index_select(0, self._positions(batch))[None], *args[1:]), kwargs

    def _positions(self, batch: Batch) -> torch.Tensor:
        wanted = self._plan.logits
        if wanted == "none":
            return batch.last[:0]
        return batch.last if wanted == "last" else batch.tokens

    def _read_logits(self, out: Any, batch: Batch) -> None:
        if self._plan.logits == "none":
            return
        logits = out.logits
        flat = logits.reshape(-1, logits.shape[-1])
        if not self._headed:
            flat = flat.index_select(0, self._positions(batch))
        view = LogitView(flat, batch, everywhere=self._plan.logits == "all")
        for site in (LOGITS, ALL_LOGITS):
            for recorder in self._plan.readers(site):
                recorder.read(site, -1, view)


def _device(model: Any) -> torch.device:
    device: torch.device = next(model.parameters()).device
    return device


def _is_attention(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 4 and parts[2] == "attn" and parts[3] in ATTENTION_SITES


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


def _patch_tokens(value: torch.Tensor, batch: Batch, layer: int, patch: Patch) -> torch.Tensor:
    segments = batch.pack.segments
    where = Where(layer, batch.pack.prompts, tuple(s.length for s in segments))
    flat = value.reshape(-1, value.shape[-1])
    new = patch(flat.index_select(0, batch.tokens), where)
    return flat.index_copy(0, batch.tokens, new.to(flat.dtype)).view_as(value).contiguous()


def _before(
    see: Callable[[torch.Tensor], torch.Tensor | None], entry: Entry | None
) -> Callable[..., Any]:
    """Return a pre-hook that shows (and replaces) what lies at an entry of a module's input.

    Without an entry it is the module's first tensor argument.
    """

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = (args, kwargs)
        at = _first(given) if entry is None else entry
        if at is None:
            raise InstrumentError(f"{type(module).__name__} was called without a tensor")
        changed = see(pick(given, at))
        return None if changed is None else put(given, at, changed)

    return hook


def _first(given: tuple[tuple[Any, ...], dict[str, Any]]) -> Entry | None:
    """Entry of the first tensor argument."""
    args, kwargs = given
    items: list[tuple[Entry, Any]] = [((0, at), value) for at, value in enumerate(args)]
    items += [((1, name), value) for name, value in kwargs.items()]
    return next((entry for entry, value in items if torch.is_tensor(value)), None)


def _after(
    see: Callable[[torch.Tensor], torch.Tensor | None], entry: Entry | None
) -> Callable[..., Any]:
    """Return a hook that shows (and replaces) what lies at an entry of a module's output.

    Without an entry it is the output, or the first item of it.
    """

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        at: Entry = entry or ()
        if entry is None and isinstance(output, (tuple, list)):
            at = (0,)
        changed = see(pick(output, at))
        return None if changed is None else put(output, at, changed)

    return hook
