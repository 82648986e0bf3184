"""A checkpoint on disk: its files and what identifies their content. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refutable.errors import ModelError, one_line
from refutable.models.digests import file_sha256

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "tekken.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
_VOCABULARIES = TOKENIZER_FILES[:7]
_POINTER = 1024
_LFS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_SHARD = re.compile(r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)$")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that transformers can load."""

    folder: Path
    weights: tuple[Path, ...]
    """Weight files, in order of their names."""
    weights_digest: str
    """Covers config and weights; for a converted file, that file."""
    tokenizer_digest: str
    """Covers the tokenizer's files; empty without one."""

    @property
    def safe(self) -> bool:
        """Whether all weights are safetensors."""
        return all(path.suffix == ".safetensors" for path in self.weights)

    @property
    def has_tokenizer(self) -> bool:
        """Whether the folder holds a vocabulary."""
        return any((self.folder / name).is_file() for name in _VOCABULARIES)


def read_checkpoint(
    folder: Path, *, safe_only: bool = False, weights_digest: str | None = None
) -> Checkpoint:
    """Find the files of a checkpoint and their digests.

    Parameters
    ----------
    folder : pathlib.Path
        Holds config.json and the weights.
    safe_only : bool
        Whether to refuse weights that are not safetensors.
    weights_digest : str, optional
        Identity of the file that the weights were converted from, instead of their own.

    Returns
    -------
    Checkpoint
        Digests are of what the files hold (see `refutable.models.digests`).

    Raises
    ------
    ModelError
        If the folder lacks a config or weights, an index names files that are not there, or files
        are git-lfs pointers.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder} has no config.json: {_instead(folder)}")
    refuse_pointers(sorted(path for path in folder.iterdir() if path.is_file()))
    read_json(config)
    weights = weight_files(folder, safe_only=safe_only)
    _refuse_pages(weights)
    if weights_digest is None:
        weights_digest = combine([config, *weights])
    tokenizer = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return Checkpoint(folder, weights, weights_digest, combine(tokenizer) if tokenizer else "")


def refuse_pointers(paths: Sequence[Path]) -> None:
    """Refuse files that were checked out without git-lfs: each says only where its content lies.

    Raises
    ------
    ModelError
        One line that names them and what fetches them.
    """
    pointers = [path for path in paths if _is_pointer(path)]
    if pointers:
        more = f" and {len(pointers) - 1} more" if len(pointers) > 1 else ""
        folder = pointers[0].parent
        raise ModelError(
            f"{pointers[0]}{more}: a git-lfs pointer, not the file itself; run `git lfs pull` in "
            f"{folder}, or download the model again"
        )


def _is_pointer(path: Path) -> bool:
    # Format: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md (always below 1024 bytes).
    if path.stat().st_size >= _POINTER:
        return False
    with path.open("rb") as handle:
        return handle.read(_POINTER).startswith(_LFS)


def _refuse_pages(weights: Sequence[Path]) -> None:
    """Refuse the page that a server sent in place of a file."""
    for path in weights:
        with path.open("rb") as handle:
            start = handle.read(64).lstrip().lower()
        if start.startswith((b"<!doctype", b"<html")):
            raise ModelError(f"{path} is a web page and no weights: download the model again")


def _instead(folder: Path) -> str:
    """Say what a folder without a config is."""
    if any(folder.glob("adapter_*")):
        return "it holds an adapter only; merge it into its base model and save that"
    if (folder / "snapshots").is_dir():
        return (
            "it is a repository of the hub's cache; give the hub id, or one of the folders in "
            f"{folder / 'snapshots'}"
        )
    return "give a folder as save_pretrained writes it"


def weight_files(folder: Path, *, safe_only: bool = False) -> tuple[Path, ...]:
    """List the weight files that transformers would load from a folder."""
    for stem in ("model.safetensors", "pytorch_model.bin"):
        if safe_only and stem.endswith(".bin"):
            continue
        index = folder / f"{stem}.index.json"
        if (folder / stem).is_file():
            _refuse_second(folder, stem, index)
            return (folder / stem,)
        if index.is_file():
            return _shards(index)
    names = sorted(path.name for path in folder.iterdir())
    if any(name.startswith("adapter_model") for name in names):
        raise ModelError(f"{folder} holds an adapter only: merge it into its base model and save")
    for name in names:
        if (folder / name).is_symlink() and not (folder / name).exists():
            raise ModelError(
                f"{folder / name} leads to a file that is not there: download the model again"
            )
    shards = [name for name in names if _SHARD.match(name)]
    if shards:
        raise ModelError(
            f"{folder} holds shards ({shards[0]}, ...) and no index that says what lies in which: "
            "download the model again, or save it with save_pretrained"
        )
    pickled = any(name.endswith((".bin", ".pt", ".pth")) for name in names)
    if "snapshots" in folder.parts and not pickled:
        raise ModelError(
            f"of this model only {', '.join(names[:3])} lie in the hub's cache ({folder}), and no "
            "weights: fetch it again where there is a network"
        )
    wanted = "model.safetensors" if safe_only else "model.safetensors or pytorch_model.bin"
    hint = ""
    if safe_only and pickled:
        hint = " (pickled weights are there; only safetensors are read from the hub)"
    raise ModelError(f"{folder} has no {wanted}{hint}: save the model with save_pretrained")


def _refuse_second(folder: Path, stem: str, index: Path) -> None:
    """Refuse a folder that holds two sets of weights: which one is meant cannot be told."""
    if index.is_file():
        named = set(read_json(index).get("weight_map", {}).values()) - {stem}
        there = sorted(str(name) for name in named if (folder / str(name)).is_file())
        if there:
            raise ModelError(
                f"{folder} holds {stem} and the shards of {index.name} ({there[0]}, ...): one of "
                "the two is left over; remove it"
            )
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder} holds an adapter beside whole weights: whether it is applied hangs on what "
            "is installed; merge it or move it away"
        )


def _shards(index: Path) -> tuple[Path, ...]:
    names = sorted(set(read_json(index).get("weight_map", {}).values()))
    # A shard is a file beside its index; a path that leads elsewhere is not followed.
    strange = [name for name in names if Path(name).name != name]
    if strange or not names:
        raise ModelError(f"{index} names {strange or 'no files'}: download the checkpoint again")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise ModelError(
            f"{index.parent} lacks {len(missing)} of {len(names)} weight files "
            f"({missing[0]}, ...): download the checkpoint again"
        )
    return tuple(index.parent / name for name in names)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; anything else is an error of one line."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelError(f"cannot read {path}: {one_line(problem)}") from None
    if not isinstance(content, dict):
        raise ModelError(f"cannot read {path}: expected a JSON object")
    return content


def combine(files: list[Path]) -> str:
    """Digest of several files: SHA-256 over names and file digests, in the order given."""
    lines = "".join(f"{path.name} {file_sha256(path)}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()
