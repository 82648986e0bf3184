"""``observations.parquet``: every measured value of a run in one tidy table; the same as CSV."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.errors import EvidenceError, one_line
from refutable.system import files

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-untyped]

TEXTS = (
    "claim",
    "quantity",
    "model",
    "control",
    "prompts",
    "arm",
    "prompt",
    "family",
    "register",
    "text",
    "at",
)
INTEGERS = ("layer", "head")
LATER = ("at",)
"""Columns that files of the first versions do not have."""

COLUMNS = (*TEXTS, *INTEGERS, "value")
"""``claim`` (null for an observable that no single claim owns), ``quantity`` (observable, or
``value`` for what the claim's body returned), ``model``, ``control`` (null, or e.g.
``untrained-3``), ``prompts``, ``arm``, ``prompt``, ``family``, ``register``, ``text``, ``at``
(other coordinates, e.g. ``query=3;key=2``), ``layer``, ``head`` and ``value``; one row is one
number."""


def write_observations(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write observations as Parquet, whole or not at all.

    Parameters
    ----------
    frame : DataFrame
        Columns of `COLUMNS`; a missing one is written empty, others are refused. NaN and
        infinity in ``value`` become null.
    path : path
        File to write; its folder is made when missing.

    Raises
    ------
    EvidenceError
        If a column is unknown, ``value`` or ``quantity`` is missing, or a type does not fit.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    table = _table(frame)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    files.write(Path(path), sink.getvalue().to_pybytes())


def read_observations(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read observations.

    Returns
    -------
    DataFrame
        The columns of `COLUMNS` in that order: texts as nullable strings, ``layer`` and ``head``
        as ``Int64``, ``value`` as ``float64``.

    Raises
    ------
    EvidenceError
        One line: the file is missing, unreadable, or lacks a column.
    """
    frame: pd.DataFrame = _read(Path(path)).to_pandas()
    for name in TEXTS:
        frame[name] = frame[name].astype("string")
    for name in INTEGERS:
        frame[name] = frame[name].astype("Int64")
    frame["value"] = frame["value"].astype("float64")
    return frame


def write_csv(parquet: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Write what the claims' bodies returned on the models as CSV.

    UTF-8, with a header, empty for null. Raw observables and null controls are left out, and so
    are the texts of prompts, which the ids stand for: with them the file is a hundred times as
    large and no spreadsheet opens it. The Parquet file holds everything.
    """
    import io

    import pyarrow as pa
    import pyarrow.compute as pc  # type: ignore[import-untyped]
    from pyarrow import csv

    whole = _read(Path(parquet))
    of_claims = pc.and_(pc.is_valid(whole["claim"]), pc.is_null(whole["control"]))
    table = whole.filter(of_claims).drop_columns(["text"])
    decoded = table.cast(pa.schema([(field.name, _csv_type(field.type)) for field in table.schema]))
    buffer = io.BytesIO()
    csv.write_csv(decoded, buffer)
    files.write(Path(path), buffer.getvalue())


def _csv_type(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return pa.string() if pa.types.is_dictionary(kind) else kind


def _schema() -> pa.Schema:
    import pyarrow as pa

    words = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [(name, words) for name in TEXTS]
        + [(name, pa.int32()) for name in INTEGERS]
        + [("value", pa.float64())]
    )


def _table(frame: pd.DataFrame) -> pa.Table:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    unknown = [name for name in frame.columns if name not in COLUMNS]
    if unknown:
        raise EvidenceError(f"observations have unknown columns {', '.join(map(str, unknown))}")
    lacking = [name for name in ("quantity", "value") if name not in frame.columns]
    if lacking:
        raise EvidenceError(f"observations lack the columns {', '.join(lacking)}")
    whole = frame.reindex(columns=list(COLUMNS))
    try:
        values = whole["value"].astype("float64")
        whole["value"] = values.where(np.isfinite(values))
        texts = [n for n in TEXTS if not isinstance(whole[n].dtype, pd.CategoricalDtype)]
        whole = whole.astype(dict.fromkeys(INTEGERS, "Int64") | dict.fromkeys(texts, "string"))
        return pa.Table.from_pandas(whole, schema=_schema(), preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as problem:
        raise EvidenceError(f"observations do not fit their columns: {one_line(problem)}") from None


def _read(file: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except FileNotFoundError:
        raise EvidenceError(f"no observations at {file}: keep them beside evidence.json") from None
    except (OSError, pa.ArrowException) as problem:
        raise EvidenceError(f"cannot read {file} as Parquet: {one_line(problem)}") from None
    missing = [name for name in COLUMNS if name not in table.column_names]
    lacking = [name for name in missing if name not in LATER]
    if lacking:
        raise EvidenceError(f"{file} lacks the columns {', '.join(lacking)}: rerun it")
    for name in missing:
        table = table.append_column(name, pa.nulls(len(table), pa.string()))
    return table.select(list(COLUMNS))
