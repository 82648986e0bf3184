"""Which models there are: the registry file, and what else a name can mean."""

from __future__ import annotations

import dataclasses
import functools
import re
import tomllib
from pathlib import Path

from refutable.errors import ModelError, near, one_line
from refutable.models.sources import recognise
from refutable.models.spec import ModelSource, ModelSpec
from refutable.system.paths import fixtures
from refutable.system.plugins import plugin_data

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")


def read(path: Path) -> tuple[ModelSpec, ...]:
    """Read a registry file.

    Parameters
    ----------
    path : pathlib.Path
        TOML file with one ``[[model]]`` table per model; fields are those of `ModelSpec`.

    Returns
    -------
    tuple of ModelSpec
        In the order of the file.

    Raises
    ------
    ModelError
        If the file cannot be read, a field is unknown or of a wrong type, or an id is given twice.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("model", [])
        specs = TypeAdapter(tuple[ModelSpec, ...]).validate_python(tables)
    except (OSError, tomllib.TOMLDecodeError) as problem:
        raise ModelError(f"cannot read the model registry {path}: {one_line(problem)}") from None
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"model registry {path}, entry {where}: {first['msg']}") from None
    ids = [spec.id for spec in specs]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ModelError(f"model registry {path} names {', '.join(twice)} twice: rename one")
    return specs


@functools.cache
def all_specs() -> tuple[ModelSpec, ...]:
    """Return every model of the registry that is shipped with the package, then those of plugins.

    Paths in a plugin's registry start at its folder ``data``; its models are no defaults.

    Raises
    ------
    ModelError
        If two have one id.
    """
    shipped = read(fixtures() / "models.toml")
    more = [
        _placed(spec, folder)
        for folder in plugin_data()
        if (folder / "models.toml").is_file()
        for spec in read(folder / "models.toml")
    ]
    ids = [spec.id for spec in (*shipped, *more)]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ModelError(f"a plugin names a model {twice[0]}, which is there already: rename it")
    return (*shipped, *more)


def _placed(spec: ModelSpec, folder: Path) -> ModelSpec:
    location = spec.location
    if spec.source in (ModelSource.LOCAL, ModelSource.GGUF):
        location = str(folder / location)
    return dataclasses.replace(spec, location=location, default=False)


def defaults() -> tuple[ModelSpec, ...]:
    """Return the models that a run uses when none is named."""
    return tuple(spec for spec in all_specs() if spec.default)


def resolve(name: str, *, revision: str | None = None) -> ModelSpec:
    """Find what a name on the command line means.

    Parameters
    ----------
    name : str
        A registry name, a local folder, a ``.gguf`` file, or a hub id ``org/name``; tried in
        that order.
    revision : str, optional
        Hub revision (branch, tag or commit).

    Returns
    -------
    ModelSpec
        A local folder gets its folder's name as id, a file its stem.

    Raises
    ------
    ModelError
        If nothing of that name is known; near matches are listed.
    """
    spec = _known(name) or recognise(name) or _local(name) or _hub(name)
    if spec is None:
        raise ModelError(f"unknown model {name!r}: {_suggest(name)}")
    if revision:
        if spec.source is not ModelSource.HUB:
            raise ModelError(
                f"revision {revision!r} was given for {spec.id}, a {spec.source} model: "
                "only hub models have revisions, leave it out"
            )
        return dataclasses.replace(spec, revision=revision)
    return spec


def _known(name: str) -> ModelSpec | None:
    return next((spec for spec in all_specs() if spec.id == name), None)


def _local(name: str) -> ModelSpec | None:
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(f"no file {name}: give the path of an existing .gguf file")
        return ModelSpec(path.stem, ModelSource.GGUF, str(path.resolve()))
    if path.is_dir():
        full = path.resolve()
        return ModelSpec(full.name, ModelSource.LOCAL, str(full))
    looks_local = name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1
    if looks_local or path.is_absolute():
        raise ModelError(f"no folder {name}: give a folder that holds config.json and weights")
    return None


def _hub(name: str) -> ModelSpec | None:
    for spec in all_specs():
        if spec.source is ModelSource.HUB and spec.location == name:
            return spec
    if _HUB_ID.match(name):
        return ModelSpec(name, ModelSource.HUB, name)
    return None


def _suggest(name: str) -> str:
    hint = near(name, [spec.id for spec in all_specs()])
    return f"{hint} (or give a hub id org/name, a local folder or a .gguf file)"
