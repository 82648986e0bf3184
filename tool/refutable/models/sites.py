"""Sites: where in a model a quantity lives, under TransformerLens's names.

====================================  =====================================================
name                                  what
====================================  =====================================================
``embed``, ``pos_embed``              token and position embedding
``blocks.{l}.resid_pre``              residual stream before block l
``blocks.{l}.resid_mid``              between attention and feed-forward
``blocks.{l}.resid_post``             after block l
``blocks.{l}.attn_out``, ``mlp_out``  what each sublayer adds to the stream
``blocks.{l}.ln1``, ``ln2``           output of the norm before attention and feed-forward
``blocks.{l}.ln1_post``, ``ln2_post`` output of the norm after them (Gemma 2 and 3)
``blocks.{l}.attn.z``                 output of the heads, before they are mixed
``blocks.{l}.attn.{q,k,v,...}``       read by the attention function, see ``Site.at``
``blocks.{l}.mlp.pre``, ``post``      feed-forward before and after its nonlinearity
``blocks.{l}.router``                 a logit an expert, in a mixture of experts
``ln_final``, ``unembed``             final norm's output, logits
====================================  =====================================================

Names tell nothing about an architecture. How the parts of a block are wired is read from one run
of a few tokens, and a site counts only where the numbers add up; the residual stream is what one
block makes, the next one gets and the modules after the last one read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from torch import nn

from refutable.errors import NotAvailableError, near
from refutable.models.norms import NormModule
from refutable.models.site_names import canonical
from refutable.models.stream import Entry
from refutable.models.structure import Structure, expert_count, find_structure, text_config
from refutable.models.trace import Trace, same, trace
from refutable.models.wiring import Wiring, wire

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION_QUANTITIES = ("q", "k", "v", "scores", "pattern")


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One place of a model that can be read."""

    name: str
    module: nn.Module
    """The module to hook; for ``at="attention"`` the attention module."""
    path: str
    """Dotted path of `module` in the model."""
    at: Literal["input", "output", "attention"]
    """``input``: the module's first tensor argument. ``output``: its result, or the first
    tensor of a tuple. ``attention``: handed to the attention function, not to a module."""
    dims: tuple[str, ...] = ("batch", "position", "dim")
    writable: bool = True
    """Whether replacing the value here changes all that is computed from it."""
    entry: Entry | None = None
    """Where the value lies in what the module gets or makes; ``None``: the first tensor."""

    @property
    def before(self) -> bool:
        """Whether it is read before the module runs (a forward pre-hook)."""
        return self.at == "input"


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """All sites of a model, and the parts they were found from."""

    structure: Structure
    norm_kinds: dict[str, str]
    """Path of each stream norm to its place: ``pre`` (the sublayer reads the normalized stream),
    ``post`` (what a sublayer adds is normalized), ``stream`` (the stream itself is), ``final``,
    ``embedding``, or ``head`` (another one after the last block)."""
    _sites: dict[str, Site] = field(repr=False)
    _missing: dict[str, str] = field(repr=False)

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The blocks, first to last."""
        return self.structure.blocks

    @property
    def attentions(self) -> tuple[nn.Module | None, ...]:
        """The attention module of each block, ``None`` where there is none."""
        return self.structure.attentions

    @property
    def norms(self) -> tuple[NormModule, ...]:
        """All normalization modules."""
        return self.structure.norms

    @property
    def final_norm(self) -> nn.Module | None:
        """The norm before the unembedding."""
        return self.structure.final_norm.module if self.structure.final_norm else None

    @property
    def embedding(self) -> nn.Module:
        """The token embedding."""
        return self.structure.embedding

    @property
    def unembedding(self) -> nn.Module | None:
        """The module that makes logits."""
        return self.structure.unembedding

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical(name) in self._sites

    def __getitem__(self, name: str) -> Site:
        """Return a site by its name, which may be TransformerLens's with ``hook_``.

        Raises
        ------
        NotAvailableError
            If this model does not have it, with the reason; near names for an unknown one.
        """
        site = self._sites.get(canonical(name))
        if site is None:
            raise NotAvailableError(f"site {name!r} is not available: {self.reason(name)}")
        return site

    def reason(self, name: str) -> str:
        """Why a site is not available; empty when it is."""
        name = canonical(name)
        if name in self._sites:
            return ""
        known = [*self._sites, *self._missing]
        return self._missing.get(name) or f"no such site, {near(name, known)}"


def find_sites(model: PreTrainedModel) -> Sites:
    """Find every site of a model.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model with weights.

    Returns
    -------
    Sites
        With a reason for every site that this model does not have.

    Raises
    ------
    ModelError
        If no blocks are found.

    Notes
    -----
    ``attn_out`` and ``mlp_out`` are accepted only where ``resid_pre + attn_out + mlp_out`` equals
    ``resid_post`` on a run of a few tokens; ``resid_mid`` only where it equals
    ``resid_pre + attn_out``.
    """
    structure = find_structure(model)
    run = trace(model, structure)
    structure = replace(structure, final_norm=_final_norm(structure, run))
    collector = _Collector(structure)
    collector.embeddings()
    norm_kinds: dict[str, str] = {}
    experts = expert_count(text_config(model))
    for layer in range(len(structure.blocks)):
        wiring = wire(structure, run, layer, experts)
        collector.block(layer, wiring, run)
        norm_kinds |= wiring.norm_kinds
    collector.ends(run)
    for norm in structure.norms:
        if norm.stream and norm.layer is None:
            late = "head" if norm.path in {call.path for call in run.after} else "embedding"
            norm_kinds[norm.path] = "final" if norm is structure.final_norm else late
    return Sites(structure, norm_kinds, collector.sites, collector.missing)


class _Collector:
    """Gathers sites and the reasons for missing ones."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.sites: dict[str, Site] = {}
        self.missing: dict[str, str] = {}

    def add(
        self,
        name: str,
        module: nn.Module | None,
        path: str,
        at: Literal["input", "output", "attention"],
        *,
        dims: tuple[str, ...] = ("batch", "position", "dim"),
        writable: bool = True,
        entry: Entry | None = None,
        without: str = "",
    ) -> None:
        if module is None:
            self.missing[name] = without
        else:
            self.sites[name] = Site(name, module, path, at, dims, writable, entry)

    def embeddings(self) -> None:
        s = self.structure
        self.add("embed", s.embedding, s.embedding_path, "output")
        reason = f"positions are {s.positions}, not a learned table"
        self.add("pos_embed", s.position_embedding, s.position_path, "output", without=reason)

    def block(self, layer: int, wiring: Wiring, run: Trace) -> None:
        s = self.structure
        name, path, block = f"blocks.{layer}", f"{s.blocks_path}.{layer}", s.blocks[layer]
        stream = run.stream
        self._resid(f"{name}.resid_pre", block, path, stream.given, run)
        self._resid(f"{name}.resid_post", block, path, stream.made, run)
        for site, part in wiring.parts.items():
            missing = part if isinstance(part, str) else "" if stream.dims else stream.problem
            if isinstance(part, str) or missing:
                self.missing[f"{name}.{site}"] = missing
                continue
            full = f"{path}.{part.path}"
            self.add(
                f"{name}.{site}",
                part.module,
                full,
                part.at,
                dims=part.dims,
                writable=part.writable,
            )
        self._attention(layer)

    def _resid(self, name: str, block: nn.Module, path: str, entry: Entry, run: Trace) -> None:
        # Of a stream that is broken anywhere no block is measured: norms of different blocks
        # would be compared in different scales.
        stream = run.stream
        self.add(
            name,
            None if stream.problem else block,
            path,
            "input" if name.endswith("pre") else "output",
            dims=stream.dims,
            entry=entry,
            without=stream.problem,
        )

    def _attention(self, layer: int) -> None:
        s = self.structure
        module, path = s.attentions[layer], s.attention_paths[layer]
        rotary = s.positions == "rotary"
        reason = "" if module is not None else f"block {layer} has no attention module"
        if not reason and not s.attention_interface:
            reason = "this model's attention does not go through transformers' attention interface"
        for quantity in (*ATTENTION_QUANTITIES, "rot_q", "rot_k"):
            name = f"blocks.{layer}.attn.{quantity}"
            why = reason
            if quantity in ("q", "k") and rotary and not why:
                why = f"queries and keys arrive rotated: use rot_{quantity}"
            if quantity.startswith("rot_") and not rotary:
                why = f"positions are {s.positions}, nothing is rotated"
            last = "key" if quantity in ("scores", "pattern") else "head_dim"
            # Every model hands its pattern out, by the interface or by its own eager attention.
            own_pattern = quantity == "pattern" and module is not None
            self.add(
                name,
                module if not why or own_pattern else None,
                path,
                "attention",
                dims=("batch", "head", "query" if last == "key" else "position", last),
                writable=not why,
                without=why,
            )

    def ends(self, run: Trace) -> None:
        s = self.structure
        final = s.final_norm
        self.add(
            "ln_final",
            final.module if final else None,
            final.path if final else "",
            "output",
            without="no norm between the last block and the unembedding",
        )
        self.add(
            "unembed",
            s.unembedding,
            s.unembedding_path,
            "output",
            dims=("batch", "position", "vocabulary"),
            without="the model has no unembedding",
        )


def _final_norm(structure: Structure, run: Trace) -> NormModule | None:
    """Find the norm that reads what the last block made, from a run.

    Where several streams are merged first, it is the last norm before the unembedding.
    """
    norms = {norm.path: norm for norm in structure.norms if norm.layer is None and norm.stream}
    head = f"{structure.unembedding_path}." if structure.unembedding_path else "/"
    called = [call for call in run.after if call.path in norms and not call.path.startswith(head)]
    last = run.made[-1]
    reads = [call for call in called if same(call.given, last, run.tolerance)]
    merged = called[-1:] if not run.stream.dims else []
    chosen = reads[:1] or merged
    return norms[chosen[0].path] if chosen else None
