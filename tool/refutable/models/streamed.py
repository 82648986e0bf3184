"""A model that is never whole in memory: its blocks are filled one after another, and emptied.

The modules lie on the meta device. What lies outside the blocks (embeddings, final norm,
unembedding) is filled for the length of a pass; a block for as long as it runs. Tensors come from a
checkpoint, or from the class's own initialisation drawn part by part, so untrained copies are never
whole in memory either.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from refutable.errors import ModelError
from refutable.models.legacy import is_buffer
from refutable.models.load import DTYPES
from refutable.models.sites import Site, Sites, find_sites
from refutable.models.structure import Structure, find_structure, text_config
from refutable.models.weights.roles import meta_model
from refutable.records import InstrumentCheck

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from refutable.models.weights.reading import WeightReader

_FEWEST = 2
"""Blocks of the part that is looked at whole."""


class StreamedModel:
    """A model whose blocks are in memory one at a time.

    Parameters
    ----------
    reader : WeightReader
        Gives a tensor by its name in the module tree, widened to float32.
    dtype : str
        Type of the weights while they are in memory.
    blocks : int, optional
        Only the first so many blocks; all by default.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        Its class's own modules, without weights but for those that are filled.
    structure : Structure
        Its parts.
    """

    def __init__(self, reader: WeightReader, dtype: str, *, blocks: int | None = None) -> None:
        self._reader = reader
        self._kind = DTYPES[dtype]
        config = copy.deepcopy(reader.config)
        if blocks is not None:
            _cut(config, blocks)
        empty = meta_model(config).to(self._kind)  # type: ignore[arg-type]
        self.model: PreTrainedModel = empty.eval().requires_grad_(False)
        self.model.config.use_cache = False
        self.structure: Structure = find_structure(self.model)
        self._owners: dict[int, list[tuple[nn.Module, str]]] = {}
        for module in self.model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    self._owners.setdefault(id(parameter), []).append((module, name))

    def reading(self, reader: WeightReader) -> StreamedModel:
        """The same modules, filled from elsewhere: the weights of an untrained copy, say."""
        other = copy.copy(self)
        other._reader = reader
        return other

    # -- filling -----------------------------------------------------------------------------

    @contextmanager
    def rest(self) -> Iterator[None]:
        """Fill what lies outside the blocks."""
        inside = f"{self.structure.blocks_path}."
        names = [n for n, _ in self.model.named_parameters() if not n.startswith(inside)]
        self._buffers("", lambda path: not f"{path}.".startswith(inside))
        with self._filled(names):
            yield

    @contextmanager
    def block(self, layer: int) -> Iterator[None]:
        """Fill one block."""
        path = f"{self.structure.blocks_path}.{layer}"
        names = [f"{path}.{name}" for name, _ in self.structure.blocks[layer].named_parameters()]
        self._buffers(path, lambda _: True)
        with self._filled(names):
            yield

    @contextmanager
    def whole(self) -> Iterator[Any]:
        """Fill all of it and give the model; for one of few blocks."""
        with self.rest():
            names = [n for n, p in self.model.named_parameters() if p.is_meta]
            for layer in range(len(self.structure.blocks)):
                self._buffers(f"{self.structure.blocks_path}.{layer}", lambda _: True)
            with self._filled(names):
                yield self.model

    @contextmanager
    def _filled(self, names: list[str]) -> Iterator[None]:
        known = {name: self.model.get_parameter(name) for name in names}
        changed: list[tuple[nn.Module, str, nn.Parameter]] = []
        try:
            for name, empty in known.items():
                values = torch.from_numpy(self._reader.tensor(name))
                filled = nn.Parameter(values.to(self._kind), requires_grad=False)
                if filled.shape != empty.shape:
                    raise ModelError(
                        f"{name} has shape {tuple(filled.shape)} in the checkpoint and "
                        f"{tuple(empty.shape)} by the config: save all weights, or correct it"
                    )
                # Tied modules hold one parameter between them.
                for module, buffer_name in self._owners[id(empty)]:
                    module._parameters[buffer_name] = filled
                    changed.append((module, buffer_name, empty))
            yield
        finally:
            for module, buffer_name, empty in changed:
                module._parameters[buffer_name] = empty

    def _buffers(self, path: str, wanted: Any) -> None:
        """Give buffers their values, by the class's own rule as transformers does when it loads."""
        for below, module in self.model.get_submodule(path).named_modules():
            buffers = {
                name: b for name, b in module._buffers.items() if b is not None and b.is_meta
            }
            if not buffers or not wanted(f"{path}.{below}".strip(".")):
                continue
            for name, buffer in buffers.items():
                module._buffers[name] = torch.empty_like(buffer, device="cpu")
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                self.model._init_weights(module)
            for name in buffers:
                full = f"{path}.{below}.{name}".strip(".")
                if full in self._reader.stored:
                    stored = torch.from_numpy(
                        self._reader.tensors.flat(full, 0, self._reader.stored[full].size)
                    )
                    module._buffers[name] = stored.reshape(buffers[name].shape).to(
                        buffers[name].dtype
                    )

    # -- parts -------------------------------------------------------------------------------

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """What each block is made of: blocks of one kind are wired alike."""
        stated = getattr(text_config(self.model), "layer_types", None) or ()
        return tuple(
            f"{stated[layer] if layer < len(stated) else ''} {block!r}"
            for layer, block in enumerate(self.structure.blocks)
        )

    @property
    def representative(self) -> int:
        """Number of first blocks that hold one of every kind, at least two."""
        first = max(self.kinds.index(kind) for kind in set(self.kinds))
        return min(len(self.kinds), max(_FEWEST, first + 1))

    def sites_like(self, part: Sites) -> Sites:
        """Find the sites of all blocks from those of the first blocks, kind by kind.

        Parameters
        ----------
        part : Sites
            Found by a run of the model's first blocks, one of each kind among them.
        """
        norms = {norm.path: norm for norm in self.structure.norms}
        final = part.structure.final_norm
        structure = replace(self.structure, final_norm=norms.get(final.path) if final else None)
        root = structure.blocks_path
        sites = {n: self._moved(s, n, s.path) for n, s in part._sites.items() if _block(n) is None}
        missing = {n: why for n, why in part._missing.items() if _block(n) is None}
        norm_kinds = {p: k for p, k in part.norm_kinds.items() if not p.startswith(f"{root}.")}
        for layer, kind in enumerate(self.kinds):
            prefix, like = f"blocks.{layer}.", f"blocks.{self.kinds.index(kind)}."
            here, there = f"{root}.{layer}", f"{root}.{self.kinds.index(kind)}"
            for name, site in part._sites.items():
                if name.startswith(like):
                    path = here + site.path.removeprefix(there)
                    sites[prefix + name.removeprefix(like)] = self._moved(
                        site, prefix + name.removeprefix(like), path
                    )
            missing |= {
                prefix + n.removeprefix(like): w
                for n, w in part._missing.items()
                if n.startswith(like)
            }
            norm_kinds |= {
                here + p.removeprefix(there): w
                for p, w in part.norm_kinds.items()
                if p.startswith(f"{there}.")
            }
        return Sites(structure, norm_kinds, sites, missing)

    def _moved(self, site: Site, name: str, path: str) -> Site:
        return replace(site, name=name, path=path, module=self.model.get_submodule(path))


def missing_tensors(reader: WeightReader, streamed: StreamedModel) -> InstrumentCheck:
    """Check that a checkpoint holds every parameter of a model, and no tensor besides."""
    wanted: set[str] = set()
    missing = []
    for name, parameter in streamed.model.named_parameters():
        try:
            stored = reader.stored[reader.stored_name(name)]
        except ModelError:
            missing.append(name)
            continue
        wanted.add(stored.name)
        if stored.shape != tuple(parameter.shape):
            missing.append(name)
    left = [
        name
        for name, stored in reader.stored.items()
        if name not in wanted and not is_buffer(name, stored.shape) and not _tied(name, streamed)
    ]
    detail = ""
    if missing:
        detail = (
            f"these parameters are not in the checkpoint, or have another shape there "
            f"({', '.join(missing[:3])}): save all weights, or correct the config"
        )
    elif left:
        detail = f"the checkpoint holds tensors that its class has no place for ({left[0]})"
    return InstrumentCheck("weights-complete", not detail, float(len(missing + left)), 0.0, detail)


def _tied(name: str, streamed: StreamedModel) -> bool:
    """Whether a tensor is a second name of one that is filled, such as a tied unembedding."""
    names = {n for n, _ in streamed.model.named_parameters(remove_duplicate=False)}
    return name in names


def sites_of_streamed(streamed: StreamedModel, part: StreamedModel) -> Sites:
    """Find the sites of a streamed model; `part` are its first blocks, filled and run."""
    with part.whole() as model:
        return streamed.sites_like(find_sites(model))


def _block(site: str) -> int | None:
    parts = site.split(".")
    return int(parts[1]) if parts[0] == "blocks" and parts[1].isdigit() else None


def _cut(config: Any, blocks: int) -> None:
    """State fewer blocks, and cut what the config states block by block."""
    text = config.get_text_config()
    count = text.num_hidden_layers
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == count:
            setattr(text, name, value[:blocks])
    text.num_hidden_layers = blocks
