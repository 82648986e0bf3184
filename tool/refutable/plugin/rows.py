"""Tidy rows of what was observed, kept until the run leaves one parquet file.

A run holds them in memory; a worker leaves them as a shard for each item, which the controller
gathers. Texts are kept as codes: a run has a million rows and few different words.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refutable.prompts import PromptSet
from refutable.report.observations import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from refutable.plugin.cases import Case
    from refutable.plugin.session import ClaimSession, Conclusion


NUMBERS = ("layer", "head", "value")
SORTED_BY = ("claim", "model", "prompts", "arm", "quantity", "control", "prompt", "layer", "head")
MOST_ROWS = 30_000
"""Values of an observable above which it stays in the store."""


def shards(session: ClaimSession) -> Path:
    """Folder of this run's shards; workers and the controller share it."""
    return session.options.out / ".shards"


def clear(session: ClaimSession) -> None:
    """Drop the rows of this run, and the shards of an earlier one."""
    session.rows.clear()
    shutil.rmtree(shards(session), ignore_errors=True)


def keep_values(session: ClaimSession, conclusion: Conclusion) -> None:
    """Keep what the claim's body returned, on the model and on its controls."""
    case, claim, found = conclusion.case, conclusion.claim, conclusion.evaluation
    if found is None:
        return
    prompts = session.prompt_set(case.prompts)
    label = session.prompts_label(case.prompts)
    common = {"claim": claim.id, "model": case.model, "prompts": label, "arm": case.arm}
    frames = []
    names = [None, *(o.name for o in controls_of(claim))]
    for name, values in zip(names, [found.values, *found.control_values], strict=False):
        for quantity, array in named_arrays(values).items():
            frames.append(_coded(array, prompts, {**common, "quantity": quantity, "control": name}))
    _write(session, f"{claim.id}|{case.label}", frames)
    _keep_observables(session, case, case.model, prompts, label)


def keep_member(session: ClaimSession, conclusion: Conclusion, model: str, values: Any) -> None:
    """Keep what the body of a claim about several models returned on one of them."""
    import xarray as xr

    case, claim = conclusion.case, conclusion.claim
    prompts, label = session.prompt_set(case.prompts), session.prompts_label(case.prompts)
    common = {"claim": claim.id, "model": model, "prompts": label, "arm": case.arm}
    frames = [
        _coded(xr.DataArray(array), prompts, {**common, "quantity": quantity, "control": None})
        for quantity, array in named_arrays(values).items()
    ]
    _write(session, f"{claim.id}|{case.label}|{model}", frames)
    _keep_observables(session, case, model, prompts, label)


def controls_of(claim: Any) -> list[Any]:
    """Return the copies of a claim's null control."""
    from refutable.laboratory import Control

    spec = claim.control
    return [Control(spec.kind, seed) for seed in range(spec.seeds)] if spec else []


def named_arrays(values: Any) -> dict[str, Any]:
    """Return a body's result as arrays by quantity: ``value``, then ``value2`` and so on."""
    import xarray as xr

    if isinstance(values, xr.Dataset):
        values = [values[name] for name in values.data_vars]
    if not isinstance(values, tuple | list):
        values = [values]
    return {("value" if i == 0 else f"value{i + 1}"): array for i, array in enumerate(values)}


def _keep_observables(
    session: ClaimSession, case: Case, model: str, prompts: PromptSet, label: str
) -> None:
    """Keep the stored observables of a model once; large ones stay in the store."""
    for (name, arm, role), arrays in session.laboratory.arrays(model).items():
        if name != case.prompts or arm != case.arm or role.startswith("check"):
            continue
        target = f"observables|{model}|{case.prompts}|{case.arm}|{role}"
        for quantity, array in arrays.items():
            per_prompt = "prompt" in array.dims and set(array.dims) - {"prompt", "layer"}
            if per_prompt or array.size > MOST_ROWS or array.dtype.kind not in "fiu":
                continue
            key = f"{target}|{quantity}"
            if _has(session, key):
                continue
            common = {
                "claim": None,
                "quantity": quantity,
                "model": model,
                "control": role or None,
                "prompts": label,
                "arm": arm,
            }
            _write(session, key, [_coded(array, prompts, common)])


def tidy(array: Any, prompts: PromptSet | None, common: dict[str, Any]) -> pd.DataFrame:
    """Return one row per value of an array; dims beside prompt, layer and head go to ``at``."""
    return _typed(_coded(array, prompts, common))


def _coded(array: Any, prompts: PromptSet | None, common: dict[str, Any]) -> pd.DataFrame:
    """Return the rows of an array with texts as categories."""
    import numpy as np
    import pandas as pd

    values = np.asarray(array.values, dtype=float).reshape(-1)
    index = np.unravel_index(np.arange(values.size), array.shape) if array.dims else ()
    at = dict(zip(array.dims, index, strict=True))
    columns: dict[str, Any] = {
        name: _same(common.get(name), values.size) for name in COLUMNS if name not in NUMBERS
    }
    if "prompt" in at:
        for name, words in _of_prompts(array, prompts).items():
            columns[name] = _words(words).take(at["prompt"])
    for dim in ("layer", "head"):
        columns[dim] = pd.array([pd.NA], dtype="Int64").take(np.zeros(values.size, int))
        if dim in at:
            coordinate = array[dim].values if dim in array.coords else np.arange(array.sizes[dim])
            columns[dim] = pd.array(np.asarray(coordinate)[at[dim]].astype("int64"), dtype="Int64")
    others = [dim for dim in array.dims if dim not in ("prompt", "layer", "head")]
    if others:
        columns["at"] = _places(array, others, at)
    columns["value"] = values
    return pd.DataFrame({name: columns[name] for name in COLUMNS}, copy=False)


def _of_prompts(array: Any, prompts: PromptSet | None) -> dict[str, list[str | None]]:
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


def _same(word: Any, size: int) -> Any:
    import numpy as np

    return _words([word]).take(np.zeros(size, int))


def _words(words: Any) -> Any:
    """Return texts as codes; empty where there is none."""
    import pandas as pd

    held: Any = pd.Series(list(words), dtype=object)
    codes, known = pd.factorize(held)
    return pd.Categorical.from_codes(codes, pd.Index(known, dtype=object))


def _places(array: Any, dims: list[Any], at: dict[Any, Any]) -> Any:
    """Name the other coordinates of each row, e.g. ``query=3;key=2``."""
    from itertools import product

    import numpy as np

    words = [";".join(parts) for parts in product(*(_labels(array, dim) for dim in dims))]
    sizes = tuple(array.sizes[dim] for dim in dims)
    return _words(words).take(np.ravel_multi_index([at[dim] for dim in dims], sizes))


def _labels(array: Any, dim: Any) -> Any:
    import numpy as np

    values = array[dim].values if dim in array.coords else np.arange(array.sizes[dim])
    return [f"{dim}={value}" for value in np.asarray(values)]


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    for column in COLUMNS:
        if column in ("layer", "head"):
            frame[column] = frame[column].astype("Int64")
        elif column != "value":
            frame[column] = frame[column].astype("string")
    return frame


def gather(session: ClaimSession) -> pd.DataFrame:
    """Return all rows in an order that does not depend on who measured them."""
    import numpy as np
    import pandas as pd
    from pandas.api.types import union_categoricals

    files = sorted(shards(session).glob("*.parquet"))
    frames = [*session.rows.values(), *(pd.read_parquet(path) for path in files)]
    if not frames:
        return _typed(pd.DataFrame(columns=list(COLUMNS)))
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        if name in NUMBERS:
            columns[name] = pd.concat([frame[name] for frame in frames], ignore_index=True).array
        else:
            # Files give back their words in another type than they were given.
            parts = [_same_type(frame[name].array) for frame in frames]
            columns[name] = union_categoricals(parts, sort_categories=True)
    # Categories are sorted, so their codes are ranks; what is missing comes first.
    ranks = [
        columns[name].fillna(-1).astype("int64") if name in NUMBERS else columns[name].codes
        for name in SORTED_BY
    ]
    order = np.lexsort([np.asarray(rank) for rank in reversed(ranks)])
    return pd.DataFrame({name: column.take(order) for name, column in columns.items()})


def _same_type(part: Any) -> Any:
    import pandas as pd

    if not isinstance(part, pd.Categorical):
        return _words(part)
    return part.rename_categories(pd.Index(part.categories, dtype=object))


def _path(session: ClaimSession, key: str) -> Path:
    return shards(session) / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.parquet"


def _has(session: ClaimSession, key: str) -> bool:
    return key in session.rows or _path(session, key).exists()


def _write(session: ClaimSession, key: str, frames: list[pd.DataFrame]) -> None:
    """Keep rows under a key, which have them once however often they are asked for."""
    import pandas as pd
    from pandas.api.types import union_categoricals

    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return
    if not session.is_worker:
        for place, frame in enumerate(frames):
            session.rows[f"{key}|{place}" if place else key] = frame
        return
    path = _path(session, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    whole = {
        name: pd.concat([f[name] for f in frames], ignore_index=True)
        if name in NUMBERS
        else union_categoricals([f[name].array for f in frames])
        for name in COLUMNS
    }
    pd.DataFrame(whole).to_parquet(part)
    os.replace(part, path)
