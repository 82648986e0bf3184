"""Config and generation config of a checkpoint, as flat fields in one spelling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.models.checkpoint import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from refutable.system.typing import Json

UNSAID = ("transformers_version", "auto_map")
"""Fields that say where and by what a checkpoint was written."""


def config_facts(config: PreTrainedConfig) -> dict[str, Json]:
    """Return what a config states, defaults of its class included.

    An old spelling and a new one of the same field, such as ``rope_theta`` on top and inside
    ``rope_parameters``, give the same facts, and so do a default that is written and one that is
    not: transformers has read them.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
        As transformers read it.
    """
    return dict(flat(config.to_dict()))


def unknown_fields(config: PreTrainedConfig) -> list[str]:
    """Return the fields that the config's class does not know: its modules do not read them."""
    try:
        known = set(type(config)().to_dict())
    # Some classes cannot be made without arguments.
    except Exception:
        return []
    return sorted(set(config.to_dict()) - known)


def generation_facts(folder: Path) -> dict[str, Json]:
    """Return what ``generation_config.json`` states; nothing where there is none."""
    file = folder / "generation_config.json"
    return dict(flat(read_json(file))) if file.is_file() else {}


def flat(stated: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Yield the fields of nested tables by their dotted names; where it was saved is left out."""
    for name, value in sorted(stated.items(), key=lambda item: str(item[0])):
        if str(name) in UNSAID or str(name).startswith("_"):
            continue
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _plain(value)


def _plain(value: object) -> Json:
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    return str(value)
