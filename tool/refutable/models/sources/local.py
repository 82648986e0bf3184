"""Checkpoints in a local folder."""

from __future__ import annotations

from pathlib import Path

from refutable.errors import ModelError
from refutable.models.checkpoint import Checkpoint, read_checkpoint
from refutable.models.spec import ModelSpec


def locate(spec: ModelSpec) -> Checkpoint:
    """Return the checkpoint of a local folder.

    Raises
    ------
    ModelError
        If the folder or one of its files is missing.
    """
    folder = Path(spec.location)
    if not folder.is_dir():
        raise ModelError(f"no folder {folder}: give a folder that holds config.json and weights")
    return read_checkpoint(folder)
