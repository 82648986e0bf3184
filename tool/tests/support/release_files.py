"""Reading and changing the files of a saved release."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file


def copy(base: Path, folder: Path) -> Path:
    shutil.copytree(base, folder)
    return folder


def config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    stated = json.loads(path.read_text())
    for name, value in fields.items():
        inner, _, last = name.rpartition("__")
        target = stated[inner] if inner else stated
        target[last] = value
    path.write_text(json.dumps(stated))


def read_config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def put(folder: Path, held: dict[str, torch.Tensor]) -> None:
    held = {name: value.clone().contiguous() for name, value in held.items()}
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})


def edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    held = tensors(folder)
    change(held)
    put(folder, held)


def tokenizer_json(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "tokenizer.json"
    stated = json.loads(path.read_text())
    change(stated)
    path.write_text(json.dumps(stated))
