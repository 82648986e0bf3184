"""Tidy rows of what was observed, kept in shards until the run leaves one parquet file."""

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


MOST_ROWS = 30_000
"""Values of an observable above which it stays in the store."""


def shards(session: ClaimSession) -> Path:
    """Folder of this run's shards; workers and the controller share it."""
    return session.options.out / ".shards"


def clear(session: ClaimSession) -> None:
    """Drop the shards of an earlier run."""
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
            frames.append(tidy(array, prompts, {**common, "quantity": quantity, "control": name}))
    _write(session, f"{claim.id}|{case.label}", frames)
    _keep_observables(session, case, case.model, prompts, label)


def keep_member(session: ClaimSession, conclusion: Conclusion, model: str, values: Any) -> None:
    """Keep what the body of a claim about several models returned on one of them."""
    import xarray as xr

    case, claim = conclusion.case, conclusion.claim
    prompts, label = session.prompt_set(case.prompts), session.prompts_label(case.prompts)
    common = {"claim": claim.id, "model": model, "prompts": label, "arm": case.arm}
    frames = [
        tidy(xr.DataArray(array), prompts, {**common, "quantity": quantity, "control": None})
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
            if _path(session, key).exists():
                continue
            common = {
                "claim": None,
                "quantity": quantity,
                "model": model,
                "control": role or None,
                "prompts": label,
                "arm": arm,
            }
            _write(session, key, [tidy(array, prompts, common)])


def tidy(array: Any, prompts: PromptSet, common: dict[str, Any]) -> pd.DataFrame:
    """Return one row per value of an array; dims beside prompt, layer and head go to ``at``."""
    import numpy as np
    import pandas as pd

    flat = array.stack(cell=array.dims) if array.dims else array.expand_dims("cell")
    n = flat.sizes["cell"]
    frame = pd.DataFrame({"value": np.asarray(flat.values, dtype=float).reshape(n)})
    sizes = [array.sizes[d] for d in array.dims]
    index = np.unravel_index(np.arange(n), sizes) if sizes else ()
    at = dict(zip(array.dims, index, strict=True))
    if "prompt" in at:
        ids = np.asarray(array["prompt"].values)[at["prompt"]]
        frame["prompt"] = ids.astype(str)
        family = {p.id: p.family for p in prompts.prompts}
        text = {p.id: p.shown for p in prompts.prompts}
        frame["family"] = frame["prompt"].map(family)
        frame["register"] = frame["family"].map(
            {name: remarks.get("register", "") for name, remarks in prompts.families.items()}
        )
        frame["text"] = frame["prompt"].map(text)
    for dim in ("layer", "head"):
        if dim in at:
            coordinate = array[dim].values if dim in array.coords else np.arange(array.sizes[dim])
            frame[dim] = np.asarray(coordinate)[at[dim]].astype("int64")
    others = [dim for dim in array.dims if dim not in ("prompt", "layer", "head")]
    if others:
        labels = [_labels(array, dim)[at[dim]] for dim in others]
        frame["at"] = [";".join(parts) for parts in zip(*labels, strict=True)]
    for key, value in common.items():
        frame[key] = value
    return _typed(frame.reindex(columns=list(COLUMNS)))


def _labels(array: Any, dim: Any) -> Any:
    import numpy as np

    values = array[dim].values if dim in array.coords else np.arange(array.sizes[dim])
    return np.array([f"{dim}={value}" for value in values])


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    for column in COLUMNS:
        if column in ("layer", "head"):
            frame[column] = frame[column].astype("Int64")
        elif column != "value":
            frame[column] = frame[column].astype("string")
    return frame


def gather(session: ClaimSession) -> pd.DataFrame:
    """Return the rows of all shards in an order that does not depend on who wrote them."""
    import pandas as pd

    files = sorted(shards(session).glob("*.parquet"))
    frames = [pd.read_parquet(path) for path in files]
    if not frames:
        return _typed(pd.DataFrame(columns=list(COLUMNS)))
    keys = ["claim", "model", "prompts", "arm", "quantity", "control", "prompt", "layer", "head"]
    whole = pd.concat(frames, ignore_index=True)
    return whole.sort_values(keys, na_position="first", kind="stable", ignore_index=True)


def _path(session: ClaimSession, key: str) -> Path:
    return shards(session) / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.parquet"


def _write(session: ClaimSession, key: str, frames: list[pd.DataFrame]) -> None:
    import pandas as pd

    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return
    path = _path(session, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    pd.concat(frames, ignore_index=True).to_parquet(part)
    os.replace(part, path)
