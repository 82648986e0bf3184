"""What a run observed, kept as tidy rows until the run leaves one parquet file.

A run holds them in memory; a worker leaves them as a shard for each item, which the controller
gathers. Texts are kept as codes: a run has a million rows and few different words.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from refutable.evaluation.outcome import CellOutcome
from refutable.evidence.rows import named_arrays, put_rows
from refutable.evidence.table import Table
from refutable.measurement.harness import Harness
from refutable.measurement.needs import copies_of
from refutable.measurement.subject import Observations
from refutable.observables.registry import REGISTRY
from refutable.spec.cell import Cell
from refutable.spec.claim import Claim
from refutable.spec.prompts import PromptLibrary, PromptSet
from refutable.system.files import draft

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


SHARDS = ".shards"
"""Folder beside the evidence in which workers leave rows for the controller."""
LEFT_AFTER = 24 * 3600
"""Seconds after which the shards of another run are taken for those of a killed one."""
MOST_ROWS = 30_000
"""Values of an observable above which it stays in the store."""
MOST_OF_A_MEMBER = 5_000
"""Values above which what a body returned on one of several models is not kept: what models are
compared by, and no quantity of theirs."""

COPIES, REPLICATION = "copies", "replication"
"""Control of rows that speak of all copies of a null at once, and of those that the study's own
statistic rests on."""

Labelled: TypeAlias = "tuple[xr.DataArray, dict[str, str | None]]"
"""An array, and the columns that all of its rows share."""


class ObservationLog:
    """Rows of what claims' bodies returned and of the observables behind them.

    Parameters
    ----------
    harness : Harness
        Holds the observables of the model that a cell is about.
    prompts : PromptLibrary
        Prompt sets by name.
    out : Path
        Folder of the evidence.
    run : str
        Name of the run, the same for its workers and its controller.
    is_worker : bool
        Whether rows are left as shards for another process.
    """

    def __init__(
        self, harness: Harness, prompts: PromptLibrary, out: Path, run: str, *, is_worker: bool
    ) -> None:
        self._harness = harness
        self._prompts = prompts
        self._folder = out / SHARDS
        # Its workers and its controller share it, other runs do not.
        self._shards = self._folder / run
        self._is_worker = is_worker
        self._table = Table()
        self._summed: set[str] = set()

    def keep(self, outcome: CellOutcome) -> None:
        """Keep what a claim's body returned on one model and on its controls."""
        cell, claim, evaluation = outcome.cell, outcome.claim, outcome.evaluation
        if evaluation is None:
            return
        if cell.grouped:
            self._keep_shared(outcome)
            return
        common = self._common(claim, cell, cell.model)
        copies = evaluation.control_values
        names = [None, *names_of(claim, len(copies))]
        arrays = [
            (array, {**common, "quantity": quantity, "control": name})
            for name, values in zip(names, [evaluation.values, *copies], strict=True)
            for quantity, array in named_arrays(values).items()
        ]
        arrays += [
            (array, {**common, "quantity": quantity, "control": COPIES})
            for quantity, array in claim.predicts.rests_on(evaluation.values).items()
        ]
        if evaluation.replicated is not None:
            named = named_arrays(evaluation.replicated).items()
            arrays += [
                (_labelled(array), {**common, "quantity": name, "control": REPLICATION})
                for name, array in ((q.replace("value", REPLICATION), a) for q, a in named)
            ]
        self._write(_key(claim, cell), self._prompts(cell.prompts), arrays)
        self._keep_observables(cell, cell.model)

    def keep_member(self, claim: Claim, cell: Cell, model: str, values: tuple[object, ...]) -> None:
        """Keep what the body of a claim about several models returned on one of them.

        Parameters
        ----------
        claim, cell, model
            Of the values.
        values : tuple
            On the model, then on each copy of its null control.
        """
        common = self._common(claim, cell, model)
        names = [None, *names_of(claim, len(values) - 1)]
        arrays = [
            (_labelled(array), {**common, "quantity": quantity, "control": name})
            for name, one in zip(names, values, strict=True)
            for quantity, array in named_arrays(one).items()
            if getattr(array, "size", 1) <= MOST_OF_A_MEMBER
        ]
        self._write(f"{_key(claim, cell)}|{model}", self._prompts(cell.prompts), arrays)
        self._keep_observables(cell, model)

    def _keep_shared(self, outcome: CellOutcome) -> None:
        """Keep what a claim about several models rests on beside the values of each of them."""
        cell, claim, evaluation = outcome.cell, outcome.claim, outcome.evaluation
        assert evaluation is not None  # noqa: S101
        common = self._common(claim, cell, cell.model)
        sides = {None: evaluation.values, COPIES: evaluation.control_values}
        arrays = [
            (array, {**common, "quantity": quantity, "control": name})
            for name, values in sides.items()
            for quantity, array in claim.predicts.rests_on(values).items()
        ]
        if arrays:
            self._write(f"{_key(claim, cell)}|shared", self._prompts(cell.prompts), arrays)

    def gather(self) -> pd.DataFrame:
        """Return all rows in an order that does not depend on who measured them."""
        import pandas as pd

        for path in sorted(self._shards.glob("*.parquet")):
            self._table.add_frame(pd.read_parquet(path))
        return self._table.frame()

    def clear(self) -> None:
        """Drop the rows of this run, and of runs that were killed long ago."""
        self._table.clear()
        self._summed.clear()
        shutil.rmtree(self._shards, ignore_errors=True)
        for path in self._folder.glob("*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > LEFT_AFTER:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        # Only where no other run has shards.
        with suppress(OSError):
            self._folder.rmdir()

    def _common(self, claim: Claim, cell: Cell, model: str) -> dict[str, str | None]:
        prompts = self._prompts.label(cell.prompts)
        return {"claim": claim.id, "model": model, "prompts": prompts, "arm": cell.arm}

    def _keep_observables(self, cell: Cell, model: str) -> None:
        """Keep the stored observables of a model once; large ones stay in the store."""
        prompts, label = self._prompts(cell.prompts), self._prompts.label(cell.prompts)
        for (name, arm, role), arrays in self._harness.arrays(model).items():
            if name != cell.prompts or arm != cell.arm or role.startswith("check"):
                continue
            common: dict[str, str | None] = {
                "claim": None,
                "model": model,
                "control": role or None,
                "prompts": label,
                "arm": arm,
            }
            key = f"observables|{model}|{cell.prompts}|{cell.arm}|{role}"
            for quantity, array in arrays.items():
                if _is_kept(quantity, array):
                    columns = {**common, "quantity": quantity}
                    self._write(f"{key}|{quantity}", prompts, [(array, columns)])
            if not role and key not in self._summed and not self._has(f"{key}|summaries"):
                self._summed.add(key)
                known = self._harness.derived(model, (name, arm, role))
                of_model = summaries(arrays, known).items()
                rows = [(a, {**common, "quantity": q}) for q, a in of_model]
                self._write(f"{key}|summaries", prompts, rows)

    def _has(self, key: str) -> bool:
        return self._shard(key).exists() if self._is_worker else key in self._table

    def _shard(self, key: str) -> Path:
        return self._shards / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.parquet"

    def _write(self, key: str, prompts: PromptSet, arrays: Sequence[Labelled]) -> None:
        """Keep the rows of arrays under a key, once however often they are asked for."""
        if not self._is_worker:
            if key not in self._table:
                for array, common in arrays:
                    put_rows(self._table, key, array, prompts, common)
            return
        path = self._shard(key)
        if path.exists():
            return
        table = Table()
        for array, common in arrays:
            put_rows(table, key, array, prompts, common)
        if key not in table:
            return
        with draft(path) as part:
            table.frame(ordered=False).to_parquet(part)


def summaries(
    arrays: Mapping[str, xr.DataArray], derived: dict[str, xr.DataArray] | None = None
) -> dict[str, xr.DataArray]:
    """Return the derived observables that sum up recorded ones for figures.

    Parameters
    ----------
    arrays : mapping
        Recorded observables of one model by name; what rests on others is left out.
    derived : dict, optional
        What claims have already derived from the same arrays; it is added to.
    """
    observed = Observations(arrays, derived)
    return {
        item.name: observed[item.name]
        for item in REGISTRY
        if item.derived
        and item.recorded_with in arrays
        and REGISTRY.recorded([item.name], drawn=False) <= arrays.keys()
    }


def _labelled(value: object) -> xr.DataArray:
    """Return what a body returned, which may be a plain number, as an array."""
    import xarray as xr

    return value if isinstance(value, xr.DataArray) else xr.DataArray(value)


def names_of(claim: Claim, count: int) -> list[str]:
    """Names of that many copies of a claim's null; an observable may hold more than is stated."""
    stated = [copy.name for copy in copies_of(claim)]
    kind = claim.control.kind if claim.control is not None else ""
    return stated[:count] + [f"{kind}-{place}" for place in range(len(stated), count)]


def _key(claim: Claim, cell: Cell) -> str:
    """Of one cell: its own names, since labels of different names may be alike."""
    return "|".join((claim.id, cell.model, cell.prompts, cell.arm))


def _is_kept(quantity: str, array: xr.DataArray) -> bool:
    if quantity in REGISTRY and REGISTRY[quantity].in_store_only:
        return False
    per_prompt = "prompt" in array.dims and set(array.dims) - {"prompt", "layer"}
    return not (per_prompt or array.size > MOST_ROWS or array.dtype.kind not in "fiu")
