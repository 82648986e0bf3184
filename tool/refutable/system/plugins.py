"""Packages that bring claims, observables, prompt sets and model sources of their own.

A package names itself in its metadata, under the entry points ``refutable.plugins``, and lays its
parts where refutable has its own: modules of ``PACKAGE.claims``, ``PACKAGE.observables``,
``PACKAGE.figures`` and ``PACKAGE.sources``, and the files of ``PACKAGE/data``.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from refutable.errors import RefutableError, one_line
from refutable.system.paths import fixtures

GROUP = "refutable.plugins"


@cache
def plugin_packages() -> tuple[str, ...]:
    """Return the names of the packages that are installed as plugins, in the order of names.

    Raises
    ------
    RefutableError
        If one cannot be imported: what it brings would be missing without a word.
    """
    names = sorted({point.value for point in entry_points(group=GROUP)})
    for name in names:
        _imported(name)
    return tuple(names)


def plugin_part(package: str, part: str) -> ModuleType | None:
    """Return a part of a plugin, such as its ``claims``; ``None`` where it has no such part."""
    name = f"{package}.{part}"
    return _imported(name) if importlib.util.find_spec(name) is not None else None


def plugin_parts(part: str) -> list[ModuleType]:
    """Return one part of all plugins that have it."""
    parts = (plugin_part(package, part) for package in plugin_packages())
    return [module for module in parts if module is not None]


@cache
def plugin_data() -> tuple[Path, ...]:
    """Return the folders ``data`` of the plugins that have one."""
    folders = (
        Path(base) / "data" for name in plugin_packages() for base in _imported(name).__path__
    )
    return tuple(folder for folder in folders if folder.is_dir())


def shared_data() -> list[Path]:
    """Return the folders of data that plugins bring, then refutable's own."""
    return [*plugin_data(), fixtures()]


def _imported(name: str) -> ModuleType:
    try:
        module = importlib.import_module(name)
    # Whatever a foreign package does when it is imported.
    except Exception as problem:
        raise RefutableError(
            f"the plugin {name.partition('.')[0]} cannot be imported ({one_line(problem)}): mend "
            "it, or uninstall it"
        ) from problem
    if "." not in name and not hasattr(module, "__path__"):
        raise RefutableError(
            f"the plugin {name} is a module: its entry point has to name a package"
        )
    return module
