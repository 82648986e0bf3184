"""Small models that this project trained and ships in fixtures/."""

from __future__ import annotations

import importlib
from pathlib import Path

from refutable.errors import ModelError
from refutable.models.checkpoint import Checkpoint, read_checkpoint, read_json
from refutable.models.spec import ModelSpec
from refutable.paths import fixtures

# Modules of this package that register a model class with transformers when imported. They lie
# above this layer, so they are imported by name and only for a checkpoint that needs them.
REGISTERED_BY = {"refutable-twin": "refutable.twins.model"}


def locate(spec: ModelSpec) -> Checkpoint:
    """Return the checkpoint of a shipped model; its location is relative to fixtures/.

    Raises
    ------
    ModelError
        If it is not there.
    """
    folder = fixtures() / Path(spec.location)
    if not folder.is_dir():
        raise ModelError(f"{spec.id} is not in {folder}: reinstall refutable, or train it")
    return read_checkpoint(folder)


def register(folder: Path) -> None:
    """Make transformers know the class of a checkpoint, when it is one of this package."""
    kind = read_json(folder / "config.json").get("model_type")
    if kind in REGISTERED_BY:
        importlib.import_module(REGISTERED_BY[kind])
