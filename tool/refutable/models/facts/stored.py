"""How weights lie in their files: names, types and shards, none of which is computed with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refutable.system.typing import Json


def stored_facts(files: Sequence[Path]) -> dict[str, Json]:
    """Return the weight files' names, their tensors' names and how many are of which type.

    Parameters
    ----------
    files : sequence of Path
        Safetensors files, of which only the headers are read, or others, whose names are all.
    """
    names: list[str] = []
    kinds: Counter[str] = Counter()
    for path in files:
        if path.suffix == ".safetensors":
            for name, entry in _header(path).items():
                if name != "__metadata__":
                    names.append(name)
                    kinds[entry["dtype"]] += 1
    return {"files": [path.name for path in files], "names": sorted(names), "dtypes": dict(kinds)}


def _header(path: Path) -> dict[str, dict[str, str]]:
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header: dict[str, dict[str, str]] = json.loads(stream.read(size))
    return header
