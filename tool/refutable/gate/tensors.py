"""What became of one tensor, from what each release kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

EQUAL = 5e-5
"""Relative difference of norms and projections up to which two rows are the same row."""
SCALED = 5e-5
"""Smallest distance of a factor from 1 that is called a rescaling."""
_FEW = 16
"""Most rows whose origin is looked for."""
COARSE = 2.0**-6
"""Relative change above which a difference is no rounding to 8 bits or more."""
FINE = 2.0**-8
"""The same of rounding to bfloat16, which leaves about as many different values as there were."""
_SUMS = 1e-6
"""The same of sums in float32 that were made in another order."""
_FEWER = 0.97
"""Share of a row's different values that rounding to 8 bits leaves at most."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Rows or columns of a matrix, or the values of a vector."""

    norm: Floats
    sign: Floats
    """Projection on fixed random signs."""

    @classmethod
    def of(cls, arrays: Mapping[str, Any], name: str, way: str) -> Lines:
        """Take the ``row`` or ``col`` lines of a tensor."""
        if f"{name}|values" in arrays:
            values = arrays[f"{name}|values"].astype(np.float64)
            return cls(np.abs(values), values)
        return cls(
            arrays[f"{name}|{way}_norm"].astype(np.float64),
            arrays[f"{name}|{way}_sign"].astype(np.float64),
        )

    def take(self, which: Any) -> Lines:
        """Keep some of them."""
        return Lines(self.norm[which], self.sign[which])


@dataclass(frozen=True, slots=True)
class TensorChange:
    """What differs in one tensor."""

    name: str
    what: str
    """``zeroed``, ``rescaled``, ``permuted``, ``transposed``, ``constant``, ``copied``, ``part``,
    ``pruned`` or ``values``."""
    change: float
    """Norm of the difference over the norm of the base; where only some rows (columns) differ, over
    the norm of those."""
    way: str = ""
    """``row`` or ``col`` where only some of them differ."""
    lines: tuple[int, ...] = ()
    """Those rows or columns."""
    size: int = 0
    """How many rows or columns there are."""
    scale: float = 1.0
    """The factor of what was rescaled, the value of what is constant."""
    levels: int = 0
    sources: tuple[int, ...] = ()
    """The base's rows (columns) that those of ``copied`` hold."""
    finest: float = 0.0
    """Relative change up to which a difference may be what rounding did."""
    zeros: int = 0
    """How many of its values are 0 that were not."""


def compare_tensor(
    name: str,
    base: tuple[Mapping[str, Any], Mapping[str, Any]],
    candidate: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> TensorChange:
    """Say what became of a tensor whose values are not those of the base.

    Parameters
    ----------
    name : str
        The parameter, of the same shape in both.
    base, candidate : tuple of (facts, arrays)
        As `refutable.models.facts.tensors` made them.
    """
    (old, base_arrays), (new, candidate_arrays) = base, candidate
    pairs = {
        way: (Lines.of(base_arrays, name, way), Lines.of(candidate_arrays, name, way))
        for way in ("row", "col")
    }
    # Runs of earlier versions kept fewer columns of tensors of three dimensions.
    pairs = {way: pair for way, pair in pairs.items() if pair[0].norm.size == pair[1].norm.size}
    change = relative_change(pairs, float(old["norm"]), float(new["norm"]))
    if new["norm"] == 0.0:
        return TensorChange(name, "zeroed", change)
    ways = sorted(pairs, key=lambda w: int(_changed(*pairs[w]).sum()))
    parts = [part for w in ways if (part := _in_part(name, w, pairs[w], change)) is not None]
    if parts:
        # Rows that stand in another order change every column, and the other way round.
        told = next((part for part in parts if part.what != "part"), parts[0])
        zeros = _pruned(pairs, change, old, new) if told.what == "part" else 0
        what = "pruned" if zeros > 1 else told.what
        return replace(told, what=what, finest=_finest(old, new), zeros=zeros)
    return _throughout(name, pairs, change, (old, new))


def _throughout(
    name: str,
    pairs: Mapping[str, tuple[Lines, Lines]],
    change: float,
    facts: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> TensorChange:
    """Say what became of a tensor most of whose rows and columns are others."""
    old, new = facts
    rows = pairs["row"]
    factor = scale_of(*rows)
    if factor is not None:
        return TensorChange(name, "rescaled", change, scale=factor)
    value = _constant(new, rows[1])
    if value is not None:
        return TensorChange(name, "constant", change, scale=value)
    for way, pair in pairs.items():
        moved = _indices(_changed(*pair))
        if moved and is_permuted(*pair):
            return TensorChange(name, "permuted", change, way, moved, pair[0].norm.size)
    if all(_reordered(a.norm, b.norm) for a, b in pairs.values()):
        return TensorChange(name, "permuted", change, "both")
    if "col" in pairs and _is_transposed(rows[0], pairs["col"][1]):
        return TensorChange(name, "transposed", change)
    zeros = _pruned(pairs, change, old, new)
    return TensorChange(
        name, "pruned" if zeros else "values", change,
        levels=_coarser(old, new), finest=_finest(old, new), zeros=zeros,
    )  # fmt: skip


def relative_change(pairs: Mapping[str, tuple[Lines, Lines]], before: float, after: float) -> float:
    """Estimate the norm of the difference over the norm of the base from the projections."""
    squares = [float(((b.sign - a.sign) ** 2).sum()) for a, b in pairs.values()]
    size = float(np.sqrt(np.mean(squares)))
    if before > 0:
        return size / before
    return float("inf") if after > 0 else 0.0


def _changed(base: Lines, candidate: Lines) -> Flags:
    """Which rows are not the same row."""
    size = np.maximum(base.norm, candidate.norm)
    near = np.abs(base.norm - candidate.norm) <= EQUAL * size
    return ~(
        near & (np.abs(base.sign - candidate.sign) <= EQUAL * np.maximum(size, np.abs(base.sign)))
    )


def _in_part(name: str, way: str, pair: tuple[Lines, Lines], change: float) -> TensorChange | None:
    """Say what became of fewer than half of the rows (columns), when all others are the same."""
    base, candidate = pair
    changed = _changed(base, candidate)
    count, size = int(changed.sum()), changed.size
    if not count or 2 * count >= size:
        # A vector or matrix of few rows can be zeroed in most of them all the same.
        gone = (candidate.norm == 0) & (base.norm > 0)
        if not gone.any() or not np.array_equal(gone, changed):
            return None
        return TensorChange(name, "zeroed", change, way, _indices(gone), size)
    parts = base.take(changed), candidate.take(changed)
    indices = _indices(changed)
    gone = (candidate.norm == 0) & (base.norm > 0)
    if gone.any():
        return TensorChange(name, "zeroed", change, way, _indices(gone), size)
    if is_permuted(*parts):
        return TensorChange(name, "permuted", change, way, indices, size)
    factor = scale_of(*parts)
    if factor is not None:
        return TensorChange(name, "rescaled", change, way, indices, size, scale=factor)
    there = float(np.linalg.norm(parts[0].norm))
    inside = change * float(np.linalg.norm(base.norm)) / there if there > 0 else float("inf")
    sources = _copies(base, parts[1])
    what = "copied" if sources else "part"
    return TensorChange(name, what, inside, way, indices, size, sources=sources)


def _copies(base: Lines, lines: Lines) -> tuple[int, ...]:
    """Find the rows of the base that a few rows hold; empty unless each holds one."""
    if lines.norm.size > _FEW or np.array_equal(base.norm, np.abs(base.sign)):
        # Values of a vector, and columns of one entry, are alike by chance.
        return ()
    copies = []
    for norm, sign in zip(lines.norm, lines.sign, strict=True):
        one = Lines(np.full_like(base.norm, norm), np.full_like(base.sign, sign))
        alike = np.flatnonzero(~_changed(base, one))
        if not alike.size:
            return ()
        copies.append(int(alike[0]))
    return tuple(copies)


def _constant(facts: Mapping[str, Any], rows: Lines) -> float | None:
    """Return the one value that a tensor holds throughout; ``None`` if it holds several."""
    if int(facts["levels"][0]) != 1 or rows.norm.size < 2:
        return None
    first = rows.sign[0] if np.array_equal(rows.norm, np.abs(rows.sign)) else None
    if first is not None:
        return float(first) if (rows.sign == first).all() else None
    alike = np.abs(rows.norm - rows.norm[0]) <= EQUAL * rows.norm[0]
    return float(rows.norm[0] / np.sqrt(int(facts["levels"][1]))) if alike.all() else None


def _indices(flags: Flags) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(flags))


def scale_of(base: Lines, candidate: Lines) -> float | None:
    """Return the one number that rows were multiplied by; ``None`` if it is not one number.

    Rounding after the multiplication is allowed for: what the factor leaves over must be less than
    a quarter of its distance from 1.
    """
    weight = float(base.sign @ base.sign)
    if weight == 0:
        return None
    factor = float(base.sign @ candidate.sign) / weight
    left = float(np.linalg.norm(candidate.sign - factor * base.sign)) / np.sqrt(weight)
    norms = np.linalg.norm(candidate.norm - abs(factor) * base.norm)
    left = max(left, float(norms) / max(float(np.linalg.norm(base.norm)), 1e-300))
    far = abs(factor - 1.0)
    # One row alone always has a factor; its norm and its projection must agree on it.
    return factor if far > SCALED and left < far / 4 and left < 0.01 else None


def is_permuted(base: Lines, candidate: Lines) -> bool:
    """Whether the candidate's rows are the base's in another order."""
    if base.norm.size < 2:
        return False
    base_order, candidate_order = (
        np.lexsort((base.sign, base.norm)),
        np.lexsort((candidate.sign, candidate.norm)),
    )
    return not _changed(base.take(base_order), candidate.take(candidate_order)).any()


def _reordered(a: Floats, b: Floats) -> bool:
    """Whether the same sizes stand in another order, not in their old places."""
    if a.size < 2:
        return False
    first, second = np.sort(a), np.sort(b)
    return bool(_near(first, second).all()) and not bool(_near(a, b).all())


def _near(a: Floats, b: Floats) -> Flags:
    return np.asarray(np.abs(a - b) <= EQUAL * np.maximum(a, b))


def _is_transposed(rows: Lines, columns: Lines) -> bool:
    return rows.norm.size == columns.norm.size and not _changed(rows, columns).any()


def _pruned(
    pairs: Mapping[str, tuple[Lines, Lines]],
    change: float,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
) -> int:
    """How many values were set to 0, if that is all that happened; earlier runs did not count.

    No row or column is then longer than it was, and what is taken from the squared norm is the
    squared norm of the difference; rounding to 0 and to other values gives neither.
    """
    zeros = int(new.get("zeros", 0)) - int(old.get("zeros", 0))
    if zeros <= 0 or "zeros" not in old or not old["norm"]:
        return 0
    shorter = all((b.norm <= a.norm * (1 + _SUMS)).all() for a, b in pairs.values())
    taken = 1.0 - (float(new["norm"]) / float(old["norm"])) ** 2
    return zeros if shorter and abs(change**2 - taken) <= taken / 2 else 0


def _coarser(old: Mapping[str, Any], new: Mapping[str, Any]) -> int:
    """Most distinct values in a row where these are far fewer than before; else 0."""
    before, after = int(old["levels"][0]), int(new["levels"][0])
    return after if after <= 256 and 2 * after <= before else 0


def _finest(old: Mapping[str, Any], new: Mapping[str, Any]) -> float:
    """Largest relative change that rounding would leave, by what the values look like now.

    Rounding to few values leaves fewer different ones in a row, rounding to 16 bits values that a
    type of 16 bits holds. What does neither is no rounding, however small it is.
    """
    if int(new["levels"][0]) <= _FEWER * int(old["levels"][0]):
        return COARSE
    known = "exact" in old and "exact" in new
    return _SUMS if known and not set(new["exact"]) - set(old["exact"]) else FINE
