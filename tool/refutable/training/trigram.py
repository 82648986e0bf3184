"""An interpolated trigram model: what counting alone reaches on the same training tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from refutable.system import files
from refutable.system.paths import cache_dir
from refutable.training.data import TwinData, held_out_rows, rows_of_one_pass, training_rows
from refutable.training.recipe import TwinRecipe

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_ITERATIONS = 40


@dataclass(frozen=True, slots=True)
class _Table:
    """Counts of packed n-grams, sorted by key."""

    keys: Integers
    counts: Integers

    def of(self, keys: Integers) -> Integers:
        """Return the count of each key, 0 where it was never seen."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.counts[at], 0)


def _table(keys: Integers) -> _Table:
    unique, counts = np.unique(keys, return_counts=True)
    return _Table(unique, counts.astype(np.int64))


@dataclass(frozen=True, slots=True)
class Trigram:
    """Jelinek-Mercer model: ``p(c | a, b) = l3 f(c | a, b) + l2 f(c | b) + l1 f(c) + l0 / V``.

    The weights ``l`` depend on how often the context ``(a, b)`` was seen (buckets of powers of
    two), and are fitted by deleted interpolation: EM in which each training trigram is scored by
    the counts of all the others.

    References
    ----------
    F. Jelinek and R. L. Mercer, Interpolated estimation of Markov source parameters from sparse
    data, 1980.
    """

    vocabulary: int
    trigrams: _Table
    contexts: _Table
    """Bigrams (a, b) that a token follows in its row."""
    bigrams: _Table
    """Bigrams (b, c)."""
    histories: _Table
    """Tokens b that a token follows."""
    unigrams: _Table
    total: int
    weights: Floats
    """``(bucket, 4)``: of the trigram, bigram, unigram and uniform parts; rows sum to 1."""

    def log_probability(self, rows: Integers) -> Floats:
        """Natural log probability of each row's second and later tokens, ``(row, position - 1)``.

        The second token of a row has a context of one token.
        """
        a, b, c = _triples(rows)
        parts, buckets = _parts(self, a, b, c, deleted=False)
        probability = (self.weights[buckets] * parts).sum(1)
        logs: Floats = np.log(probability).reshape(rows.shape[0], -1)
        return logs

    def loss(self, rows: Integers) -> float:
        """Mean loss in nats over the predictions of rows."""
        return float(-self.log_probability(rows).mean())


def _triples(rows: Integers) -> tuple[Integers, Integers, Integers]:
    """Split rows into (a, b, c); a is -1 where the row has only one token before c."""
    before = np.concatenate([np.full((rows.shape[0], 1), -1, rows.dtype), rows[:, :-2]], axis=1)
    return before.ravel(), rows[:, :-1].ravel(), rows[:, 1:].ravel()


def _ratio(numerator: Integers, denominator: Integers) -> Floats:
    """Quotient, 0 where the denominator is 0 or less."""
    safe = np.maximum(denominator, 1)
    quotient: Floats = np.where(denominator > 0, numerator / safe, 0.0)
    return quotient


def _parts(
    model: Trigram, a: Integers, b: Integers, c: Integers, *, deleted: bool
) -> tuple[Floats, Integers]:
    """Relative frequencies of each order, ``(n, 4)``, and the bucket of each context.

    With ``deleted``, the occurrence itself is taken out of every count.
    """
    size, less = model.vocabulary, int(deleted)
    known = a >= 0
    context = np.where(known, (a * size + b), -1)
    seen = np.where(known, model.contexts.of(context) - less, 0)
    triple = np.where(known, model.trigrams.of(context * size + c) - less, 0)
    parts = np.stack(
        [
            _ratio(triple, seen),
            _ratio(model.bigrams.of(b * size + c) - less, model.histories.of(b) - less),
            _ratio(model.unigrams.of(c) - less, np.full(len(c), model.total - less)),
            np.full(len(c), 1.0 / size),
        ],
        axis=1,
    )
    buckets = np.ceil(np.log2(np.maximum(seen, 0) + 1)).astype(np.int64)
    return parts, np.minimum(buckets, len(model.weights) - 1)


def fit_trigram(rows: Integers, vocabulary: int, buckets: int = 16) -> Trigram:
    """Count and fit the weights.

    Parameters
    ----------
    rows
        Training rows of token ids, ``(row, position)``; n-grams do not cross rows.
    vocabulary
        Number of tokens V.
    buckets
        Number of buckets of context counts; the last one takes all larger counts.

    Returns
    -------
    Trigram
    """
    a, b, c = _triples(rows.astype(np.int64))
    known = a >= 0
    pairs = a[known] * vocabulary + b[known]
    model = Trigram(
        vocabulary=vocabulary,
        trigrams=_table(pairs * vocabulary + c[known]),
        contexts=_table(pairs),
        bigrams=_table(b * vocabulary + c),
        histories=_table(b),
        unigrams=_table(c),
        total=len(c),
        weights=np.full((buckets, 4), 0.25),
    )
    parts, bucket = _parts(model, a, b, c, deleted=True)
    for _ in range(_ITERATIONS):
        shares = model.weights[bucket] * parts
        shares /= shares.sum(1, keepdims=True)
        for part in range(4):
            summed = np.bincount(bucket, shares[:, part], minlength=buckets)
            count = np.bincount(bucket, minlength=buckets)
            used = count > 0
            model.weights[used, part] = summed[used] / count[used]
    return model


def trigram_loss(data: TwinData, recipe: TwinRecipe, seed: int) -> float:
    """Held-out loss of the trigram model of a run's training rows, each read once.

    It is the same for every variant of a seed, and kept in the cache.
    """
    rows_read = min(recipe.steps * recipe.batch, rows_of_one_pass(data.train, recipe, seed))
    held_out = held_out_rows(data.held_out, recipe.final_rows, recipe.context)
    text = hashlib.sha256(data.train.tobytes() + held_out.tobytes()).hexdigest()[:16]
    name = f"{text}-{seed}-{rows_read}-{recipe.context}"
    kept = cache_dir() / "twins" / "trigrams" / f"{name}.txt"
    if kept.exists():
        return float(kept.read_text())
    # A row seen twice would stand in the counts that each of its occurrences is left out of.
    rows = training_rows(data.train, recipe, seed)[:rows_read]
    loss = float(f"{fit_trigram(rows, recipe.vocabulary).loss(held_out):.6g}")
    files.write(kept, f"{loss}\n")
    return loss
