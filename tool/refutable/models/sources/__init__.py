"""Where checkpoints come from: one module per source, found by its name.

Each has ``locate(spec)``, which returns the checkpoint of a model as a folder. It may have
``recognise(name)``, which returns the `ModelSpec` of a name on the command line that is of this
source, and ``None`` for any other.
"""

from __future__ import annotations

import importlib

from refutable.errors import ModelError
from refutable.models.checkpoint import Checkpoint
from refutable.models.sources.twin import folder_of
from refutable.models.spec import ModelSource, ModelSpec, source_modules


def locate(spec: ModelSpec) -> Checkpoint:
    """Return the checkpoint of a model as a folder on disk.

    A hub model that is not in the cache is downloaded, a GGUF file is converted once; a model
    shipped by a package must have been fetched.

    Raises
    ------
    ModelError
        If it cannot be had, in one line that says what to do.
    """
    if spec.lacks:
        raise ModelError(f"{spec.id} cannot be loaded as it is published: {spec.lacks}")
    source = importlib.import_module(source_modules()[spec.source])
    checkpoint: Checkpoint = source.locate(spec)
    return checkpoint


def recognise(name: str) -> ModelSpec | None:
    """Return what a name means to the first source that knows it by itself."""
    for name_of_module in source_modules().values():
        module = importlib.import_module(name_of_module)
        recognised: ModelSpec | None = getattr(module, "recognise", _nothing)(name)
        if recognised is not None:
            return recognised
    return None


def _nothing(name: str) -> None:
    """Stand for a source that recognises no name."""


def weights_available(spec: ModelSpec) -> bool:
    """Whether a shipped model's weights are here; other sources say so when they are located."""
    if spec.source is not ModelSource.TWIN:
        return True

    return folder_of(spec) is not None
