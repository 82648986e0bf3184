"""Tidy rows of what was observed: one for each value of an array."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import product
from typing import TYPE_CHECKING

from refutable.evidence.observations import INTEGERS, TEXTS
from refutable.evidence.table import Integers, Table
from refutable.spec.prompts import PromptSet

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def named_arrays(values: object) -> dict[str, xr.DataArray]:
    """Return a body's result as arrays by quantity: ``value``, then ``value2`` and so on."""
    import xarray as xr

    if isinstance(values, xr.Dataset):
        values = [values[name] for name in values.data_vars]
    if not isinstance(values, tuple | list):
        values = [values]
    return {("value" if i == 0 else f"value{i + 1}"): array for i, array in enumerate(values)}


def tidy(
    array: xr.DataArray, prompts: PromptSet | None, common: Mapping[str, str | None]
) -> pd.DataFrame:
    """Return one row per value of an array; dims beside prompt, layer and head go to ``at``."""
    table = Table()
    put_rows(table, "", array, prompts, common)
    frame = table.frame(ordered=False)
    return frame.astype(dict.fromkeys(TEXTS, "string"))


def put_rows(
    table: Table,
    key: str,
    array: xr.DataArray,
    prompts: PromptSet | None,
    common: Mapping[str, str | None],
) -> None:
    """Put the values of an array into a table."""
    import numpy as np

    values = np.asarray(array.values, dtype=float).reshape(-1)
    index = np.unravel_index(np.arange(values.size), array.shape) if array.dims else ()
    at = dict(zip(array.dims, index, strict=True))
    columns: dict[str, object] = {
        name: table.words[name].code([word])[0] for name, word in common.items()
    }
    columns["value"] = values
    if "prompt" in at:
        for name, codes in _codes_of_prompts(table, array, prompts).items():
            columns[name] = codes[at["prompt"]]
    for dim in INTEGERS:
        if dim in at:
            coordinate = array[dim].values if dim in array.coords else np.arange(array.sizes[dim])
            columns[dim] = np.asarray(coordinate)[at[dim]].astype("int64")
    others = [dim for dim in array.dims if dim not in ("prompt", *INTEGERS)]
    if others:
        labels = product(*(_labels(array, dim) for dim in others))
        coordinates = [";".join(parts) for parts in labels]
        sizes = tuple(array.sizes[dim] for dim in others)
        which = np.ravel_multi_index([at[dim] for dim in others], sizes)
        columns["at"] = table.words["at"].code(coordinates)[which]
    table.add(key, values.size, columns)


def _codes_of_prompts(
    table: Table, array: xr.DataArray, prompts: PromptSet | None
) -> dict[str, Integers]:
    """Return what is known of each prompt as codes; thousands of arrays have the same prompts."""
    import numpy as np

    labels = [array.coords.variables[n] for n in ("prompt", "family") if n in array.coords]
    if any(one.dtype.kind == "O" for one in labels):
        codes = _of_prompts(array, prompts)
        return {name: table.words[name].code(words) for name, words in codes.items()}
    about = None if prompts is None else (prompts.name, prompts.content_hash)
    key = (about, *((one.dtype.str, np.asarray(one.values).tobytes()) for one in labels))
    if key not in table.of_prompts:
        codes = _of_prompts(array, prompts)
        table.of_prompts[key] = {n: table.words[n].code(words) for n, words in codes.items()}
    return table.of_prompts[key]


def _of_prompts(array: xr.DataArray, prompts: PromptSet | None) -> dict[str, list[str | None]]:
    """Return what is known of each prompt; a body may return values of other texts instead."""
    import numpy as np

    ids = [str(i) for i in np.asarray(array["prompt"].values)]
    known = {p.id: p for p in prompts.prompts} if prompts is not None else {}
    remarks = prompts.families if prompts is not None else {}
    family: list[str | None] = [known[i].family if i in known else None for i in ids]
    if "family" in array.coords:
        family = [str(name) for name in np.asarray(array["family"].values)]
    return {
        "prompt": list(ids),
        "family": family,
        "register": [
            remarks[f].get("register", "") if f and f in remarks else None for f in family
        ],
        "text": [known[i].shown if i in known else None for i in ids],
    }


def _labels(array: xr.DataArray, dim: Hashable) -> list[str]:
    import numpy as np

    values = array[dim].values if dim in array.coords else np.arange(array.sizes[dim])
    return [f"{dim}={value}" for value in np.asarray(values)]
