"""Tensors of a block that were rescaled line by line against each other: the function stays.

A norm's gain that was folded into the matrices behind it, neurons that were rescaled between two
matrices: what one tensor was multiplied by, another was divided by, line for line. Norm and
projection of every row and column show both, so no rounding of what the model says comes in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refutable.gate.facts import block_of
from refutable.gate.tensors import EQUAL, Lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Arrays = Mapping[str, NDArray[np.float32]]

_PRODUCT = 1e-4
"""Largest distance from 1 of what the factors of one line multiply to."""
_LEAST = 1e-3
"""Largest distance of a factor from 1 without which nothing was rescaled."""
_OFFSETS = (0.0, 1.0)
"""A norm multiplies by its gain, or by 1 plus what is stored (Gemma)."""
_FEED_FORWARD = ("mlp", "ffn", "feed_forward", "experts", ".fc")
_LINEAR = ("up_proj", ".w3", "linear_v", "wi_1")
"""Matrices into a gated feed-forward that no activation follows."""
_HOMOGENEOUS = ("relu", "leaky_relu")
"""Activations that a positive factor passes through."""


@dataclass(frozen=True, slots=True)
class _Scaling:
    """What each line of a tensor was multiplied by."""

    name: str
    way: str
    """``gain``, ``row`` or ``col``."""
    factors: Floats


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors that were rescaled against each other."""

    names: tuple[str, ...]
    by_gain: bool
    """Whether a norm's gain is one of them: what it was divided by follows it without rounding."""


def rescaled_against(
    names: Sequence[str], base: Arrays, candidate: Arrays, activation: str = ""
) -> tuple[Group, ...]:
    """Find groups of tensors whose lines were rescaled by factors that multiply to 1.

    Parameters
    ----------
    names : sequence of str
        Tensors of the same shape in both releases whose values differ.
    base, candidate : mapping of str to array
        What is kept of them (`refutable.models.facts.tensors`).
    activation : str
        The model's: most do not let the factor of a neuron's input through.

    Returns
    -------
    tuple of Group
        Each with two tensors or more, of one block or of none.
    """
    by_block: dict[int | None, list[_Scaling]] = defaultdict(list)
    for name in names:
        by_block[block_of(name)] += _scalings(name, base, candidate)
    groups: list[set[str]] = []
    for scalings in by_block.values():
        for first in (s for s in scalings if s.way != "col"):
            partners = {
                s.name
                for s in scalings
                if s.name != first.name and _passes(first, s, activation) and _undoes(first, s)
            }
            if partners:
                _join(groups, {first.name, *partners})
    gains = {s.name for scalings in by_block.values() for s in scalings if s.way == "gain"}
    return tuple(
        Group(tuple(sorted(group)), any("norm" in n or ".ln" in n for n in group & gains))
        for group in groups
    )


def _passes(first: _Scaling, second: _Scaling, activation: str) -> bool:
    """Whether the factors of one tensor's lines reach the other: not through an activation."""
    inside = all(any(word in s.name for word in _FEED_FORWARD) for s in (first, second))
    if not inside or any(word in first.name for word in _LINEAR):
        return True
    if first.way == "gain" and not first.name.endswith("bias"):
        return True
    return activation in _HOMOGENEOUS and bool((first.factors > 0).all())


def _scalings(name: str, base: Arrays, candidate: Arrays) -> list[_Scaling]:
    if f"{name}|values" in base:
        pair = [side[f"{name}|values"].astype(np.float64) for side in (base, candidate)]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = [(offset + pair[1]) / (offset + pair[0]) for offset in _OFFSETS]
        return [_Scaling(name, "gain", ratio) for ratio in ratios if _is_scaling(ratio)]
    scalings = []
    for way in ("row", "col"):
        sides = Lines.of(base, name, way), Lines.of(candidate, name, way)
        if sides[0].norm.size != sides[1].norm.size:
            continue
        factors = _factors(*sides)
        if factors is not None and _is_scaling(factors):
            scalings.append(_Scaling(name, way, factors))
    return scalings


def _factors(base: Lines, candidate: Lines) -> Floats | None:
    """One factor a line, on which its norm and its projection agree; ``None`` if they do not."""
    gone = base.norm == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(gone & (candidate.norm == 0), 1.0, candidate.norm / base.norm)
    signed = np.where(np.abs(candidate.sign + size * base.sign)
                      < np.abs(candidate.sign - size * base.sign), -size, size)  # fmt: skip
    apart = np.abs(candidate.sign - signed * base.sign)
    return signed if bool((apart <= EQUAL * np.maximum(candidate.norm, 1e-30)).all()) else None


def _is_scaling(factors: Floats) -> bool:
    known = bool(np.isfinite(factors).all() and (factors != 0).all())
    return known and bool(np.abs(factors - 1).max(initial=0.0) > _LEAST)


def _undoes(first: _Scaling, second: _Scaling) -> bool:
    """Whether what one was multiplied by the other was divided by; two norms undo nothing."""
    if first.factors.size != second.factors.size or (first.way, second.way) == ("gain", "gain"):
        return False
    return bool((np.abs(first.factors * second.factors - 1) <= _PRODUCT).all())


def _join(groups: list[set[str]], new: set[str]) -> None:
    for group in [group for group in groups if group & new]:
        new |= group
        groups.remove(group)
    groups.append(new)
