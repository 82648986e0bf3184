"""Small models that this project trained and ships in fixtures/."""

from __future__ import annotations

import importlib
from pathlib import Path

from refutable.errors import ModelError
from refutable.models.checkpoint import Checkpoint, read_checkpoint, read_json
from refutable.models.spec import ModelSpec
from refutable.system.paths import cache_dir, fixtures

TRAINED = "trained"
RECIPES = (TRAINED, "tuned")
"""Recipes whose name ends that of a group; the early one has none."""
"""Recipe whose groups of models are named after it; those of the early recipe are not."""
THOUGHTS = "thoughts"
"""Tag of the twins that think before they answer."""
# Modules of this package that register a model class with transformers when imported. They lie
# above this layer, so they are imported by name and only for a checkpoint that needs them.
REGISTERED_BY = {"refutable-twin": "refutable.models.twin_model"}


def locate(spec: ModelSpec) -> Checkpoint:
    """Return the checkpoint of a model that is shipped, or was trained here.

    Raises
    ------
    ModelError
        If it is neither.
    """
    folder = folder_of(spec)
    if folder is None:
        raise ModelError(
            f"the weights of {spec.id} are not shipped: train it with `{how_to_train(spec)}`, or "
            "reinstall refutable"
        )
    return read_checkpoint(folder)


def measured_when_trained(spec: ModelSpec) -> bool:
    """Whether a shipped model's committed observations stand for a measurement of each run.

    They were measured on these very weights, which their digest says; a slow test repeats it. What
    is asked of the model beyond them is measured.
    """
    return bool({TRAINED, THOUGHTS} & set(spec.tags))


def how_to_train(spec: ModelSpec) -> str:
    """Return the command that trains a twin."""
    if THOUGHTS in spec.tags:
        return f"refutable train thoughts --size {spec.group.split('-')[1]} --seed {spec.seed}"
    variant, _, recipe = (spec.group or "").rpartition("-")
    if recipe not in RECIPES:
        variant, recipe = spec.group or "", ""
    option = f" --recipe {recipe}" if recipe else ""
    return f"refutable train twins{option} --variant {variant} --seed {spec.seed}"


def folder_of(spec: ModelSpec) -> Path | None:
    """Return the folder of a twin that was trained here, or of a model of fixtures/."""
    trained = trained_twins() / f"{spec.group}-{spec.seed}" / "checkpoint"
    # Beside one that was trained here lie the checkpoints of its training.
    for folder in (trained, fixtures() / Path(spec.location)):
        if (folder / "config.json").is_file():
            return folder
    return None


def trained_twins() -> Path:
    """Return the folder that `refutable train twins` trains into, and claims look into first."""
    return cache_dir() / "twins"


def register(folder: Path) -> None:
    """Make transformers know the class of a checkpoint, when it is one of this package."""
    kind = read_json(folder / "config.json").get("model_type")
    if kind in REGISTERED_BY:
        importlib.import_module(REGISTERED_BY[kind])
