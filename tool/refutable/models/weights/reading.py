"""Reads the weights of a model tensor by tensor, without building the model.

Memory is what one tensor takes: a checkpoint of any size is read in the room of its largest
matrix as float32. The modules are built on the meta device, which holds no weights.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refutable.errors import ModelError, NotAvailableError
from refutable.models.names import match_names
from refutable.models.sources import locate
from refutable.models.sources.twin import register
from refutable.models.weights.files import (
    SafetensorsFiles,
    StateDict,
    Stored,
    Tensors,
    checkpoint_files,
    chunks,
    pieces,
)
from refutable.models.weights.fresh import FreshTensors
from refutable.models.weights.roles import MATRICES, Layout, layout_of, meta_model
from refutable.models.weights.room import ReusedRoom, Room

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedConfig, PreTrainedModel

    from refutable.models.load import LoadedModel
    from refutable.models.spec import ModelSpec

    Floats = NDArray[np.float32]


class WeightReader:
    """Weights of one model by role, each read when asked for.

    Parameters
    ----------
    tensors : Tensors
        Where tensors come from.
    config : transformers.PretrainedConfig
        The model's config: its modules say what each tensor is for.
    layers : tuple of int, optional
        Blocks to look at; all by default.

    Notes
    -----
    Matrices are given input first, ``(in, out)``, whatever the checkpoint's orientation, so that
    a column is one output feature; a head of W_Q, W_K, W_V is a run of columns, of W_O of rows.
    """

    def __init__(
        self, tensors: Tensors, config: PreTrainedConfig, *, layers: tuple[int, ...] | None = None
    ) -> None:
        self.tensors = tensors
        self.config = config
        self._layers = layers
        self._room = Room()

    def reuse_memory(self) -> None:
        """Take memory that nobody uses any more, for blocks that are read one after another."""
        self._room = ReusedRoom()
        if isinstance(self.tensors, SafetensorsFiles):
            self.tensors.room = self._room

    @classmethod
    def from_folder(cls, folder: str | Path) -> WeightReader:
        """Read the safetensors files (one or shards) and the config of a local folder."""
        from transformers import AutoConfig

        path = Path(folder)
        if not (path / "config.json").is_file():
            raise ModelError(f"no config.json in {path}: give the folder of a model")
        register(path)
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        return cls(SafetensorsFiles(checkpoint_files(path)), config)

    @classmethod
    def from_spec(cls, spec: ModelSpec) -> WeightReader:
        """Read a model of the registry where it lies, without loading it."""
        return cls.from_folder(locate(spec).folder)

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, torch.Tensor], config: PreTrainedConfig
    ) -> WeightReader:
        """Read tensors that are in memory, e.g. of an untrained copy."""
        return cls(StateDict(state), config)

    @classmethod
    def of(cls, loaded: LoadedModel) -> WeightReader:
        """Read a loaded model's weights: from its checkpoint where that is safetensors.

        An untrained copy has no checkpoint, and neither the type nor the device of the run changes
        what a checkpoint holds.
        """
        if not loaded.weights_digest.startswith("untrained-"):
            checkpoint = locate(loaded.spec)
            if checkpoint.safe:
                return cls(SafetensorsFiles(checkpoint.weights), loaded.model.config)
        return cls.from_state_dict(loaded.model.state_dict(), loaded.model.config)

    @functools.cached_property
    def layout(self) -> Layout:
        """Roles of all parameters, found on the meta device when first asked for."""
        return layout_of(self._empty)

    @functools.cached_property
    def _empty(self) -> PreTrainedModel:
        """The modules without weights; untrained copies are drawn in them a part at a time."""
        return meta_model(self.config)

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks that observables go through.

        Blocks of a hybrid differ in their matrices and the sizes of their heads: those of the kind
        with the most matrices, and of these the commonest, are gone through; in nearly all models
        that is every block.
        """
        if self._layers is not None:
            return self._layers
        layout = self.layout
        kinds = [(frozenset(m), s) for m, s in zip(layout.matrices, layout.sizes, strict=True)]
        chosen = max(kinds, key=lambda kind: (len(kind[0]), kinds.count(kind)))
        return tuple(layer for layer, kind in enumerate(kinds) if kind == chosen)

    @property
    def stored(self) -> Mapping[str, Stored]:
        """The tensors there are, by their names in the checkpoint."""
        return self.tensors.stored

    @property
    def matrices(self) -> tuple[str, ...]:
        """Names of the matrices of the blocks of `layers`, in the order of `MATRICES`.

        Raises
        ------
        NotAvailableError
            If no matrix of a block can be told from the others.
        """
        matrices = [self.layout.matrices[layer] for layer in self.layers]
        names = tuple(m for m in MATRICES if all(m in stored for stored in matrices))
        if not names:
            raise NotAvailableError(self.layout.missing[0] or "no matrix of a block is known")
        return names

    def stored_name(self, parameter: str) -> str:
        """Name in the checkpoint of a parameter named as in the module tree.

        Raises
        ------
        ModelError
            If the checkpoint has it under no name.
        """
        # Blocks that share their weights are held once, under the name of one of them.
        every = ((p.name, *p.aliases) for p in self.layout.parameters)
        same = next((names for names in every if parameter in names), ())
        for name in (parameter, *same):
            if name in self._names:
                return self._names[name]
        raise ModelError(f"the checkpoint has no tensor {parameter}: it is not of this config")

    @functools.cached_property
    def _names(self) -> Mapping[str, str]:
        """Name in the checkpoint by name in the module tree."""
        wanted = {n: p.shape for p in self.layout.parameters for n in (p.name, *p.aliases)}
        held = {name: stored.shape for name, stored in self.stored.items()}
        return match_names(held, wanted, self.layout.prefix)

    def tensor(self, name: str) -> Floats:
        """A parameter in its stored shape, as float32."""
        stored = self.stored[self.stored_name(name)]
        tensor = self.tensors.flat(stored.name, 0, stored.size).reshape(stored.shape)
        if not all(np.isfinite(piece).all() for piece in pieces(tensor)):
            raise ModelError(
                f"{stored.name} holds NaN or infinite values: download or save the checkpoint again"
            )
        return tensor

    def chunks(self, name: str) -> Iterator[Floats]:
        """A parameter in flat pieces of bounded size, for what needs no shape."""
        return chunks(self.tensors, self.stored_name(name))

    def matrix(self, layer: int, name: str) -> Floats:
        """One matrix of a block, ``(in, out)``.

        Parameters
        ----------
        layer : int
            Block.
        name : {"q", "k", "v", "o", "in", "gate", "out"}
            Which matrix. W_Q has ``heads * head_dim`` columns, W_K and W_V
            ``key_heads * head_dim``; W_O has ``heads * head_dim`` rows.

        Raises
        ------
        NotAvailableError
            If the block has no such matrix, with the reason.
        """
        place = self.layout.matrices[layer].get(name)
        if place is None:
            reason = self.layout.missing[layer] or f"block {layer} has no matrix {name!r}"
            raise NotAvailableError(reason)
        whole = self.tensor(place.parameter)
        features = whole if place.input_first else whole.T
        if not place.parts:
            return features
        pieces = [features[:, low:high] for low, high in place.parts]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)

    def untrained(self, seed: int) -> WeightReader:
        """A freshly initialised copy of the same config, drawn block by block when read."""
        fresh = FreshTensors(self._empty, seed, self._room)
        copy = WeightReader(fresh, self.config, layers=self.layers)
        copy.layout, copy._empty = self.layout, self._empty
        return copy

    def at(self, layers: tuple[int, ...]) -> WeightReader:
        """The same weights, with only some blocks to look at."""
        part = WeightReader(self.tensors, self.config, layers=layers)
        part.layout, part._empty = self.layout, self._empty
        return part

    def attention_input(self, layer: int) -> Floats:
        """Queries, keys and values of a block side by side, ``(in, q + k + v)``.

        For GPT-2 this is the stored ``c_attn``.
        """
        return np.concatenate([self.matrix(layer, name) for name in "qkv"], axis=1)

    def position_table(self) -> Floats:
        """Learned position embeddings, ``(position, dim)``.

        Raises
        ------
        NotAvailableError
            If the model has none, with the kind of positions it has instead.
        """
        layout = self.layout
        if not layout.position:
            raise NotAvailableError(
                f"positions are {layout.positions}: there is no table of position embeddings"
            )
        table = self.tensor(layout.position)
        # Some tables start with rows that no position uses (an offset for padding).
        extra = table.shape[0] - layout.context if layout.context else 0
        table = table[max(extra, 0) :]
        if not table.any():
            raise NotAvailableError("the table of position embeddings is zero: it says nothing")
        return table
