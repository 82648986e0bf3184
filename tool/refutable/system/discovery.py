"""Parts of the package that are found by name, so that adding one touches no list."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from refutable.system.plugins import plugin_parts


@cache
def load_parts(part: str) -> None:
    """Import every module of ``refutable.PART``, ``refutable.studies.STUDY.PART`` and of plugins.

    Parameters
    ----------
    part : str
        ``observables`` or ``figures``: what the modules register when they are imported.
    """
    for parent in ("refutable", *_packages("refutable.studies")):
        if (package := _package(f"{parent}.{part}")) is not None:
            load_modules(package)
    for module in plugin_parts(part):
        load_modules(module)


def load_modules(package: ModuleType) -> None:
    """Import every module of a package; one that is a module is imported already."""
    for name in _modules(package) if hasattr(package, "__path__") else ():
        importlib.import_module(name)


@cache
def load_package(name: str) -> None:
    """Import every module of one package, such as ``refutable.predictions``."""
    for module in _modules(importlib.import_module(name)):
        importlib.import_module(module)


@cache
def part_modules(name: str) -> list[str]:
    """Return the names of a package's modules, none of which is imported."""
    spec = importlib.util.find_spec(name)
    folders = spec.submodule_search_locations if spec is not None else None
    return sorted(m.name for m in pkgutil.iter_modules(folders or []))


def part_folders(part: str) -> list[Path]:
    """Return the folders ``studies/STUDY/PART`` that exist."""
    studies = _package("refutable.studies")
    assert studies is not None  # noqa: S101  (it is part of this package)
    folders = (Path(base) for base in studies.__path__)
    return sorted(path for base in folders for path in base.glob(f"*/{part}") if path.is_dir())


def _packages(name: str) -> list[str]:
    package = importlib.import_module(name)
    return [f"{name}.{m.name}" for m in pkgutil.iter_modules(package.__path__) if m.ispkg]


def _package(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name != name:
            raise
        return None


def _modules(package: ModuleType) -> Iterator[str]:
    prefix = f"{package.__name__}."
    return (module.name for module in pkgutil.walk_packages(package.__path__, prefix))
