"""Tidy rows of what was observed, kept until the run leaves one parquet file.

A run holds them in memory; a worker leaves them as a shard for each item, which the controller
gathers. Texts are kept as codes: a run has a million rows and few different words.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refutable.evidence.observations import INTEGERS, TEXTS
from refutable.evidence.table import Table
from refutable.observables.registry import REGISTRY
from refutable.spec.prompts import PromptSet

if TYPE_CHECKING:
    import pandas as pd

    from refutable.evaluation.outcome import Conclusion
    from refutable.plugin.session import ClaimSession
    from refutable.spec.cell import Case
    from refutable.spec.claim import Claim


SHARDS = ".shards"
"""Folder beside the evidence in which workers leave rows for the controller."""
LEFT_AFTER = 24 * 3600
"""Seconds after which the shards of another run are taken for those of a killed one."""
MOST_ROWS = 30_000
"""Values of an observable above which it stays in the store."""
MOST_OF_A_MEMBER = 5_000
"""Values above which what a body returned on one of several models is not kept: what models are
compared by, and no quantity of theirs."""


def shards(session: ClaimSession) -> Path:
    """Folder of this run's shards; its workers and its controller share it, other runs do not."""
    return session.options.out / SHARDS / session.run


def clear(session: ClaimSession) -> None:
    """Drop the rows of this run."""
    session.rows.clear()
    shutil.rmtree(shards(session), ignore_errors=True)


def drop_leftovers(session: ClaimSession) -> None:
    """Drop the shards of runs that were killed, long enough ago that they cannot still be at it."""
    for path in (session.options.out / SHARDS).glob("*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT_AFTER:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    # Only where no other run has shards.
    with suppress(OSError):
        (session.options.out / SHARDS).rmdir()


def keep_values(session: ClaimSession, conclusion: Conclusion) -> None:
    """Keep what the claim's body returned, on the model and on its controls."""
    case, claim, found = conclusion.case, conclusion.claim, conclusion.evaluation
    if found is None:
        return
    prompts = session.prompt_set(case.prompts)
    label = session.prompts_label(case.prompts)
    common = {"claim": claim.id, "model": case.model, "prompts": label, "arm": case.arm}
    found_arrays = []
    names = [None, *(o.name for o in controls_of(claim))]
    for name, values in zip(names, [found.values, *found.control_values], strict=False):
        for quantity, array in named_arrays(values).items():
            found_arrays.append((array, {**common, "quantity": quantity, "control": name}))
    _write(session, _key(claim, case), prompts, found_arrays)
    _keep_observables(session, case, case.model, prompts, label)


def _key(claim: Claim, case: Case) -> str:
    """Of one cell: its own names, since labels of different names may be alike."""
    return "|".join((claim.id, case.model, case.prompts, case.arm))


def keep_member(session: ClaimSession, conclusion: Conclusion, model: str, values: Any) -> None:
    """Keep what the body of a claim about several models returned on one of them."""
    import xarray as xr

    case, claim = conclusion.case, conclusion.claim
    prompts, label = session.prompt_set(case.prompts), session.prompts_label(case.prompts)
    common = {"claim": claim.id, "model": model, "prompts": label, "arm": case.arm}
    arrays = [
        (xr.DataArray(array), {**common, "quantity": quantity, "control": None})
        for quantity, array in named_arrays(values).items()
        if getattr(array, "size", 1) <= MOST_OF_A_MEMBER
    ]
    _write(session, f"{_key(claim, case)}|{model}", prompts, arrays)
    _keep_observables(session, case, model, prompts, label)


def controls_of(claim: Any) -> list[Any]:
    """Return the copies of a claim's null control."""
    from refutable.measurement.harness import Control

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
            if quantity in REGISTRY and REGISTRY[quantity].in_store_only:
                continue
            per_prompt = "prompt" in array.dims and set(array.dims) - {"prompt", "layer"}
            if per_prompt or array.size > MOST_ROWS or array.dtype.kind not in "fiu":
                continue
            key = f"{target}|{quantity}"
            common = {
                "claim": None,
                "quantity": quantity,
                "model": model,
                "control": role or None,
                "prompts": label,
                "arm": arm,
            }
            _write(session, key, prompts, [(array, common)])


def tidy(array: Any, prompts: PromptSet | None, common: dict[str, Any]) -> pd.DataFrame:
    """Return one row per value of an array; dims beside prompt, layer and head go to ``at``."""
    table = Table()
    _put(table, "", array, prompts, common)
    found = table.frame(ordered=False)
    return found.astype(dict.fromkeys(TEXTS, "string"))


def _put(
    table: Table, key: str, array: Any, prompts: PromptSet | None, common: dict[str, Any]
) -> None:
    """Put the values of an array into a table."""
    import numpy as np

    values = np.asarray(array.values, dtype=float).reshape(-1)
    index = np.unravel_index(np.arange(values.size), array.shape) if array.dims else ()
    at = dict(zip(array.dims, index, strict=True))
    columns: dict[str, Any] = {
        name: table.words[name].code([word])[0] for name, word in common.items()
    }
    columns["value"] = values
    if "prompt" in at:
        for name, words in _of_prompts(array, prompts).items():
            columns[name] = table.words[name].code(words)[at["prompt"]]
    for dim in INTEGERS:
        if dim in at:
            coordinate = array[dim].values if dim in array.coords else np.arange(array.sizes[dim])
            columns[dim] = np.asarray(coordinate)[at[dim]].astype("int64")
    others = [dim for dim in array.dims if dim not in ("prompt", *INTEGERS)]
    if others:
        places = [";".join(parts) for parts in product(*(_labels(array, dim) for dim in others))]
        sizes = tuple(array.sizes[dim] for dim in others)
        which = np.ravel_multi_index([at[dim] for dim in others], sizes)
        columns["at"] = table.words["at"].code(places)[which]
    table.add(key, values.size, columns)


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


def _labels(array: Any, dim: Any) -> Any:
    import numpy as np

    values = array[dim].values if dim in array.coords else np.arange(array.sizes[dim])
    return [f"{dim}={value}" for value in np.asarray(values)]


def gather(session: ClaimSession) -> pd.DataFrame:
    """Return all rows in an order that does not depend on who measured them."""
    import pandas as pd

    for path in sorted(shards(session).glob("*.parquet")):
        session.rows.add_frame(pd.read_parquet(path))
    return session.rows.frame()


def _path(session: ClaimSession, key: str) -> Path:
    return shards(session) / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.parquet"


def _write(
    session: ClaimSession, key: str, prompts: PromptSet, arrays: list[tuple[Any, dict[str, Any]]]
) -> None:
    """Keep the rows of arrays under a key, once however often they are asked for."""
    if not session.is_worker:
        if key not in session.rows:
            for array, common in arrays:
                _put(session.rows, key, array, prompts, common)
        return
    path = _path(session, key)
    if path.exists():
        return
    table = Table()
    for array, common in arrays:
        _put(table, key, array, prompts, common)
    if key not in table:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    table.frame(ordered=False).to_parquet(part)
    os.replace(part, path)
