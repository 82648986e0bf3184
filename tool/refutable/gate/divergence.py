"""Two sets of next-token distributions: Kullback-Leibler divergence, top token, loss; by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refutable.evidence.release import Behaviour

if TYPE_CHECKING:
    from refutable.evidence.release import Array

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which tokens of two runs stand at the same place of the same prompt."""

    base: Indices
    """Rows of the base: (pair,)."""
    candidate: Indices
    prompt: Indices
    """Index of the pair's prompt in the base: (pair,)."""
    split: int
    """Prompts whose tokens differ between the two."""
    shared: int
    """Prompts that both have."""


def pair_tokens(base: Behaviour, candidate: Behaviour) -> Pairing:
    """Pair tokens by where their text ends, or one by one where a prompt's tokens are the same.

    A tokenizer that cuts a prompt otherwise still has places in common with the old one: there both
    models have read the same text.
    """
    index_of = {name: i for i, name in enumerate(candidate.prompts)}
    starts = [np.concatenate([[0], np.cumsum(one.lengths)]) for one in (base, candidate)]
    rows: list[tuple[Indices, Indices, Indices]] = []
    split = shared = 0
    for i, name in enumerate(base.prompts):
        j = index_of.get(name)
        if j is None:
            continue
        shared += 1
        base_rows = np.arange(starts[0][i], starts[0][i + 1])
        candidate_rows = np.arange(starts[1][j], starts[1][j + 1])
        if np.array_equal(base.tokens[base_rows], candidate.tokens[candidate_rows]):
            both = (base_rows, candidate_rows)
        else:
            split += 1
            both = _by_text(
                base.ends[base_rows], candidate.ends[candidate_rows], base_rows, candidate_rows
            )
        rows.append((*both, np.full(both[0].size, i)))
    if not rows:
        empty = np.empty(0, dtype=np.intp)
        return Pairing(empty, empty, empty, split, shared)
    columns = [np.concatenate(column).astype(np.intp) for column in zip(*rows, strict=True)]
    return Pairing(columns[0], columns[1], columns[2], split, shared)


def _by_text(
    base_ends: Array, candidate_ends: Array, base_rows: Indices, candidate_rows: Indices
) -> tuple[Indices, Indices]:
    """Pair the last token that ends at each character that both have an end at."""
    first = {int(end): int(row) for end, row in zip(base_ends, base_rows, strict=True) if end >= 0}
    second = {
        int(end): int(row)
        for end, row in zip(candidate_ends, candidate_rows, strict=True)
        if end >= 0
    }
    common = sorted(first.keys() & second.keys())
    return np.array([first[e] for e in common], int), np.array([second[e] for e in common], int)


def divergences(base: Behaviour, candidate: Behaviour, pairing: Pairing) -> Floats:
    """Kullback-Leibler divergence of the candidate's distribution from the base's: (pair,), nats.

    Notes
    -----
    Both distributions are coarsened to the tokens that both keep and one cell for all others, so
    the result is never larger than the divergence of the whole distributions (the log sum
    inequality). ``p ln(p/q) - p + q`` is added up, which is never negative and differs from
    ``p ln(p/q)`` only by what rounding takes from sums that are 1.
    """
    a, b = base.ids[pairing.base], candidate.ids[pairing.candidate]
    p_log, q_log = base.log_probability[pairing.base], candidate.log_probability[pairing.candidate]
    p, q = np.exp(p_log.astype(np.float64)), np.exp(q_log.astype(np.float64))
    rows, left, right = _common(a, b)
    p_rest = base.rest[pairing.base].astype(np.float64) + p.sum(axis=1)
    q_rest = candidate.rest[pairing.candidate].astype(np.float64) + q.sum(axis=1)
    p_shared, q_shared = p[rows, left], q[rows, right]
    logs = p_log[rows, left].astype(np.float64) - q_log[rows, right]
    divergence = np.bincount(rows, p_shared * logs - p_shared + q_shared, minlength=len(a))
    p_rest = np.clip(p_rest - np.bincount(rows, p_shared, minlength=len(a)), _LEAST, None)
    q_rest = np.clip(q_rest - np.bincount(rows, q_shared, minlength=len(a)), _LEAST, None)
    return np.asarray(divergence + p_rest * np.log(p_rest / q_rest) - p_rest + q_rest)


def _common(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[Indices, Indices, Indices]:
    """Find the ids that both rows hold: row, place in the first, place in the second."""
    width = int(max(a.max(initial=0), b.max(initial=0))) + 1
    row = np.arange(len(a))[:, None] * width
    base_keys, candidate_keys = (row + a).reshape(-1), (row + b).reshape(-1)
    _, left, right = np.intersect1d(
        base_keys, candidate_keys, assume_unique=True, return_indices=True
    )
    rows = left // max(a.shape[1], 1)
    return rows, left % max(a.shape[1], 1), right % max(b.shape[1], 1)


def top_differs(base: Behaviour, candidate: Behaviour, pairing: Pairing) -> Floats:
    """Whether the most probable next token is another one: (pair,), 0 or 1.

    Two tokens that are as probable as each other, to 0.001 nats in both runs, are a tie: which of
    them comes first is rounding.
    """
    a, b = base.ids[pairing.base], candidate.ids[pairing.candidate]
    differs = a[:, 0] != b[:, 0]
    for ids, logs, other in (
        (a, base.log_probability[pairing.base], b[:, 0]),
        (b, candidate.log_probability[pairing.candidate], a[:, 0]),
    ):
        near = (ids == other[:, None]) & (logs >= logs[:, :1] - 1e-3)
        differs &= ~near.any(axis=1)
    return np.asarray(differs, dtype=np.float64)


def loss_by_prompt(base: Behaviour, candidate: Behaviour) -> tuple[Floats, Indices]:
    """Difference of the losses on each prompt's own tokens, in nats for each token of the base.

    Returns
    -------
    difference : array, (prompt,)
        Over the prompts that both have and that have two tokens or more.
    prompt : array, (prompt,)
        Their indices in the base.

    Notes
    -----
    Sums are compared, so that a tokenizer that cuts a prompt into more pieces is not rewarded: the
    text is the same, and so should be the nats that it takes.
    """
    index_of = {name: i for i, name in enumerate(candidate.prompts)}
    sums = [
        np.bincount(one.prompt_of, np.nan_to_num(one.loss), minlength=len(one.prompts))
        for one in (base, candidate)
    ]
    shared = [
        (i, index_of[name])
        for i, name in enumerate(base.prompts)
        if name in index_of and base.lengths[i] > 1
    ]
    base_rows, candidate_rows = (
        (np.array(column, dtype=np.intp) for column in zip(*shared, strict=True))
        if shared
        else (np.empty(0, np.intp), np.empty(0, np.intp))
    )
    steps = base.lengths[base_rows] - 1
    return np.asarray(
        (sums[1][candidate_rows] - sums[0][base_rows]) / np.maximum(steps, 1)
    ), base_rows
