"""What was read of a checkpoint before, so that a second reading imports no heavy library."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.models.checkpoint import Checkpoint, combine
from refutable.system import files
from refutable.system.paths import cache_dir

if TYPE_CHECKING:
    from refutable.system.typing import Json

_READING = 1
"""Raised when something is read in another way, so that what is remembered is read again."""
_TEXTS = (".json", ".jinja", ".txt", ".model")


def remembered(
    what: str, checkpoint: Checkpoint, of: Sequence[str], read: Callable[[], Json]
) -> Json:
    """Return what was read of a checkpoint before, or read it and remember it.

    Parameters
    ----------
    what : str
        Names what is read.
    checkpoint : Checkpoint
        Of which it is read: its weights, and the texts that lie beside them.
    of : sequence of str
        What else it depends on.
    read : callable
        Reads it; what it raises is not remembered.

    Returns
    -------
    Json
        As JSON gives it back, remembered or not.
    """
    key = "\n".join(
        (
            what,
            str(_READING),
            checkpoint.weights_digest,
            checkpoint.tokenizer_digest,
            combine(_beside(checkpoint)),
            *(path.name for path in checkpoint.weights),
            *(f"{name} {version(name)}" for name in ("transformers", "tokenizers")),
            *of,
        )
    )
    place = cache_dir() / "facts" / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.json"
    try:
        content: Json = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        text = json.dumps(read())
        files.write(place, text)
        content = json.loads(text)
    return content


def _beside(checkpoint: Checkpoint) -> list[Path]:
    """Config, generation config, tokenizer, templates: what is text and holds no weights."""
    folders = (checkpoint.folder, checkpoint.folder / "additional_chat_templates")
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix in _TEXTS and path.is_file()
    ]
