"""What is known of a model before any of its files is read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from refutable.system.discovery import part_modules
from refutable.system.plugins import plugin_parts

if TYPE_CHECKING:
    from pydantic import ConfigDict


class ModelSource(StrEnum):
    """Where the weights come from: the name of a module of `refutable.models.sources`."""

    HUB = "hub"
    LOCAL = "local"
    GGUF = "gguf"
    WHEEL = "wheel"
    TWIN = "twin"

    @classmethod
    def _missing_(cls, value: object) -> ModelSource | None:
        """Know a source that has no name here by its module."""
        if not isinstance(value, str) or value not in source_modules():
            return None
        member = str.__new__(cls, value)
        member._name_, member._value_ = value.upper(), value
        cls._value2member_map_[value] = member
        return member


def source_modules() -> dict[str, str]:
    """Return the modules that locate checkpoints, by the names of the sources.

    Plugins bring more in their ``sources``; they cannot take the place of one that is here.
    """
    packages = [
        *(module.__name__ for module in plugin_parts("sources")),
        "refutable.models.sources",
    ]
    return {name: f"{package}.{name}" for package in packages for name in part_modules(package)}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One entry of the registry, or what the command line named."""

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    id: str
    """The name in evidence, baselines and reports."""
    source: ModelSource
    location: str
    """Hub id, path (relative ones lie in fixtures/), or name of the package that ships it."""
    revision: str = ""
    """Hub revision; empty means the default branch."""
    version: str = ""
    """Exact version of the package of a wheel."""
    file: str = ""
    """Weight file inside a wheel."""
    sha256: str = ""
    """Of `file`; checked before it is used."""
    lacks: str = ""
    """What its files lack for it to be loaded, in one phrase that says what to do; empty for a
    model that loads."""
    size_bytes: int = 0
    """Approximate size of the download."""
    norm: str = ""
    """Stated kind of normalization; the modules are what counts, a difference is an error."""
    license: str = ""
    default: bool = False
    """Whether a run that names no model uses it."""
    group: str = ""
    """Models that differ in the seed alone share a group."""
    seed: int | None = None
    description: str = ""
    tags: tuple[str, ...] = ()
