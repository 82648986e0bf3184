"""A small package that brings claims, observables, prompts, models and a model source."""

from __future__ import annotations

from pathlib import Path

CLAIM = '''"""One claim."""

from refutable import Source, claim, mean


@claim(
    id="shelf.stream-is-long",
    statement="The stream is longer than one.",
    refuted_if="its mean norm lies below 1",
    source=Source(study="shelf", ref="S1"),
    predicts=mean.above(1.0),
    prompts="notes",
)
def test_long(shelf_norm):
    """Norm of the stream after the last block."""
    return shelf_norm
'''
OBSERVABLES = '''"""One observable."""

from refutable import observable


@observable(source="sites", reads="blocks.*.hook_resid_post", dims=("prompt", "layer"))
def shelf_norms(stream):
    """Norm of the last token's stream, as the plugin measures it."""
    return stream.last().norm(dim=-1)


@observable(dims=("prompt",), unit="norm")
def shelf_norm(shelf_norms):
    """The same after the last block."""
    return shelf_norms.isel(layer=-1, drop=True)
'''
SOURCE = '''"""Checkpoints below a folder: ``shelf:NAME``."""

import os
from pathlib import Path

from refutable.models.checkpoint import read_checkpoint
from refutable.models.spec import ModelSource, ModelSpec


def recognise(name):
    """Return what a name that begins with ``shelf:`` means."""
    source, colon, folder = name.partition(":")
    return ModelSpec(folder, ModelSource("shelf"), folder) if colon and source == "shelf" else None


def locate(spec):
    """Return the checkpoint."""
    return read_checkpoint(Path(os.environ["SHELF"]) / spec.location)
'''
MODELS = """
[[model]]
id = "shelved"
source = "shelf"
location = "little"
description = "A model of the plugin."
"""


def install(folder: Path, prompts: str, *, name: str = "shelf_plugin") -> Path:
    """Lay the package into a folder as an installer would; return the folder for the path."""
    files = {
        f"{name}/__init__.py": '"""A plugin."""\n',
        f"{name}/claims/__init__.py": "",
        f"{name}/claims/test_shelf.py": CLAIM,
        f"{name}/observables.py": OBSERVABLES,
        f"{name}/sources/__init__.py": "",
        f"{name}/sources/shelf.py": SOURCE,
        f"{name}/data/models.toml": MODELS,
        f"{name}/data/prompts/notes.toml": prompts,
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{name}-1.0.dist-info/entry_points.txt": f"[refutable.plugins]\nshelf = {name}\n",
    }
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder
