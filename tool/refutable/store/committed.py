"""Observations that are committed beside the code: of models whose weights are not shipped.

One safetensors file holds the arrays of many models, packed (`refutable.store.compact`), with the
digests of the weights they were measured on, so that anyone can train those again and compare. It
is read only; a run's own measurements lie in `refutable.store.store`. Reading needs neither torch
nor transformers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refutable.errors import ModelError, RefutableError, one_line
from refutable.records import ModelFacts
from refutable.store.alike import Templates
from refutable.store.compact import Array, pack, rounded, unpack
from refutable.store.store import ObservationKey, from_tensor, labels, library_versions, to_tensor
from refutable.system import files

if TYPE_CHECKING:
    import xarray as xr

    from refutable.system.typing import Json

FORMAT = "refutable.committed/2"
DTYPE = "float32"
"""Committed values were measured in float32; a run in another type does not use them."""
_HEADER = "header"
"""Tensor that says what the others hold: JSON, packed like them."""
SMALL = 1000
"""Numbers of an array up to which each is kept to the last bit, even where others are rounded."""
# What a committed value shares with the key of a run's own measurement. Device and versions are
# left out: that they may differ is what the label "committed" says.
_FIELDS = ("weights", "tokenizer", "prompts", "arm", "observable", "version", "role")


@dataclass(frozen=True, slots=True)
class CommittedModel:
    """What is known of a model without its files."""

    facts: ModelFacts
    weights_digest: str
    tokenizer_digest: str
    config_digest: str


class Committed:
    """The committed observations; nothing where there is no such file.

    Parameters
    ----------
    path : path
        A file that `CommittedWriter` wrote.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._coordinates: dict[int, tuple[Any, Any]] = {}
        self._templates = Templates()

    def model(self, name: str) -> CommittedModel | None:
        """Return what is known of a model, or ``None`` if it is not among them."""
        raw = self._header["models"].get(name)
        if raw is None:
            return None
        facts = ModelFacts(**{**raw["facts"], "tags": tuple(raw["facts"]["tags"])})
        return CommittedModel(facts, raw["weights"], raw["tokenizer"], raw["config"])

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models whose observations it holds."""
        return tuple(self._header["models"])

    def __contains__(self, key: ObservationKey) -> bool:
        return key.dtype == DTYPE and digest_of(key) in self._header["arrays"]

    def get(self, key: ObservationKey) -> xr.DataArray | None:
        """Read an array, ``None`` if it was not committed."""
        identity = digest_of(key)
        known = key.dtype == DTYPE and identity in self._header["arrays"]
        return self._array(identity) if known else None

    def arrays(self) -> Iterator[tuple[str, xr.DataArray]]:
        """Read all arrays, each under the digest of its key."""
        for identity in self._header["arrays"]:
            yield identity, self._array(identity)

    def notes(self) -> dict[str, Any]:
        """Return how the instrument was checked, each under the digest of its key."""
        return dict(self._header["notes"])

    def _array(self, identity: str) -> xr.DataArray:
        entry = self._header["arrays"][identity]
        packed = self._file.get_tensor(str(entry["tensor"]))
        values = unpack(packed, entry["stored"], tuple(entry["stored_shape"]))
        array = from_tensor(values, entry["kind"]).reshape(entry["shape"])
        key = (tuple(entry["dims"]), *sorted(entry["coords"].items()))
        return self._templates.filled(
            key, lambda: self._labelled(array, entry), array, entry["name"], entry["attrs"]
        )

    def _labelled(self, array: Array, entry: Mapping[str, Any]) -> xr.DataArray:
        """Return an array with its coordinates, whose indexes are made here."""
        import xarray as xr

        coordinates = {name: self._coordinate(place) for name, place in entry["coords"].items()}
        return xr.DataArray(array, dims=entry["dims"], coords=coordinates)

    def get_json(self, key: ObservationKey) -> dict[str, Json] | None:
        """Read how an instrument was checked."""
        notes = self._header["notes"].get(digest_of(key)) if key.dtype == DTYPE else None
        return None if notes is None else dict(notes)

    def _coordinate(self, place: int) -> tuple[Any, Any]:
        if place not in self._coordinates:
            content = self._header["coords"][str(place)]
            labels = np.asarray(content["values"], dtype=content["dtype"])
            self._coordinates[place] = (content["dims"], labels)
        return self._coordinates[place]

    @cached_property
    def _file(self) -> Any:
        # Kept open: opening it reads the whole header.
        from safetensors import SafetensorError, safe_open

        try:
            return safe_open(self.path, framework="numpy")
        except (OSError, SafetensorError) as problem:
            raise self._unreadable(problem) from None

    @cached_property
    def _header(self) -> dict[str, Any]:
        if not self.path.is_file():
            return {"models": {}, "arrays": {}, "coords": {}, "notes": {}}
        from safetensors import SafetensorError

        try:
            about = json.loads((self._file.metadata() or {})["refutable"])
            if about["format"] != FORMAT:
                raise ValueError(f"its format is {about['format']}, not {FORMAT}")
            text = unpack(self._file.get_tensor(_HEADER), "u1", (int(about["header"]),))
            header = json.loads(text.tobytes())
        except (KeyError, ValueError, RefutableError, SafetensorError) as problem:
            raise self._unreadable(problem) from None
        return dict(header)

    def _unreadable(self, problem: Exception) -> ModelError:
        return ModelError(
            f"cannot read the committed observations in {self.path.name} ({one_line(problem)}): "
            "install refutable again, or restore the file"
        )


class CommittedFiles(Committed):
    """The committed observations of several files, each of other models.

    Parameters
    ----------
    paths : iterable of path
        Files that `CommittedWriter` wrote; one that does not exist holds nothing.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        self.files = tuple(Committed(path) for path in paths)

    def model(self, name: str) -> CommittedModel | None:
        """Return what is known of a model, or ``None`` if it is in no file."""
        return next((known for file in self.files if (known := file.model(name))), None)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models of all files."""
        return tuple(name for file in self.files for name in file.models)

    def __contains__(self, key: ObservationKey) -> bool:
        return any(key in file for file in self.files)

    def get(self, key: ObservationKey) -> xr.DataArray | None:
        """Read an array, ``None`` if no file holds it."""
        arrays = (file.get(key) for file in self.files)
        return next((array for array in arrays if array is not None), None)

    def get_json(self, key: ObservationKey) -> dict[str, Json] | None:
        """Read how an instrument was checked."""
        notes = (file.get_json(key) for file in self.files)
        return next((stored for stored in notes if stored is not None), None)


def committed_in(fixtures: Path) -> CommittedFiles:
    """Return what is committed in every folder of fixtures/."""
    return CommittedFiles(sorted(fixtures.glob("*/observations.safetensors")))


@dataclass(slots=True)
class CommittedWriter:
    """Collects arrays and writes them as one file.

    Parameters
    ----------
    bits : int, optional
        Binary digits behind the leading one to which numbers are rounded in arrays of more than
        `SMALL` of them, where a claim rests on means; all digits unless given.
    """

    bits: int | None = None
    models: dict[str, CommittedModel] = field(default_factory=dict)
    _arrays: dict[str, dict[str, Any]] = field(default_factory=dict)
    _tensors: dict[str, Array] = field(default_factory=dict)
    _coords: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    _notes: dict[str, Any] = field(default_factory=dict)

    def put(self, key: ObservationKey, array: xr.DataArray) -> None:
        """Take up an array; wide floats are kept as float32."""
        self._put(digest_of(key), array)

    def take(self, known: Committed, renamed: Mapping[str, str | None] | None = None) -> None:
        """Take up all that a file holds, as it is but for what `bits` says.

        Parameters
        ----------
        known : Committed
            The file.
        renamed : mapping of str to str, optional
            Digests of keys (`digest_of`) under which arrays are kept from now on, by those that
            they had: the version of an observable was raised for models that these are not of.
            ``None`` leaves an array out.
        """
        self.models |= {name: model for name in known.models if (model := known.model(name))}
        for old, array in known.arrays():
            new = (renamed or {}).get(old, old)
            if new is not None:
                self._put(new, array)
        self._notes |= known.notes()

    def _put(self, identity: str, array: xr.DataArray) -> None:
        values = np.asarray(array.values)
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        if self.bits is not None and values.dtype == np.float32 and values.size > SMALL:
            values = rounded(values, self.bits)
        tensor, kind = to_tensor(values)
        place = self._arrays.get(identity, {}).get("tensor", len(self._arrays))
        self._tensors[str(place)] = pack(tensor)
        self._arrays[identity] = {
            "tensor": place,
            "kind": kind,
            "stored": tensor.dtype.str,
            "stored_shape": list(tensor.shape),
            "name": array.name,
            "dims": list(array.dims),
            "shape": list(array.shape),
            "coords": {str(n): self._shared(c) for n, c in array.coords.items()},
            "attrs": array.attrs,
        }

    def put_json(self, key: ObservationKey, value: Mapping[str, Json]) -> None:
        """Take up how an instrument was checked."""
        self._notes[digest_of(key)] = dict(value)

    def _shared(self, coordinate: Any) -> int:
        """Number a coordinate; prompts and families are the same for every model."""
        content = {"dims": list(coordinate.dims), **labels(coordinate.values)}
        text = json.dumps(content, sort_keys=True)
        return self._coords.setdefault(text, (len(self._coords), content))[0]

    def write(self, path: Path) -> None:
        """Write the file; a reader sees the old one or the new one."""
        from safetensors.numpy import save

        versions = library_versions()
        header = {
            "made_with": {"torch": versions[0], "transformers": versions[1]},
            "models": {
                name: {
                    "facts": dataclasses.asdict(model.facts),
                    "weights": model.weights_digest,
                    "tokenizer": model.tokenizer_digest,
                    "config": model.config_digest,
                }
                for name, model in sorted(self.models.items())
            },
            "coords": {str(place): content for place, content in self._coords.values()},
            "arrays": self._arrays,
            "notes": self._notes,
        }
        text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
        about = json.dumps({"format": FORMAT, "header": len(text)})
        tensors = {_HEADER: pack(np.frombuffer(text, dtype=np.uint8)), **self._tensors}
        files.write(path, save(tensors, metadata={"refutable": about}))


def digest_of(key: ObservationKey) -> str:
    """Digest of what a committed array shares with the key of a run's own measurement."""
    content = json.dumps({name: getattr(key, name) for name in _FIELDS}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:24]
