"""How often behaviour alarms on unchanged releases, families resampled; and what it sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.spoken import LENGTH, behaviour, logits, release

from refutable.gate.behaviour import MARGINS, compare_behaviour
from refutable.gate.divergence import divergences, pair_tokens
from refutable.gate.records import Status

RUNS = 200
MOST_ALARMS = 16
"""Of 200 at 5 %: more has a chance of 2.6 %."""
FAMILIES, EACH = 30, 2


def drawn(made, families):
    """Take families with replacement: a new family of its own for each draw."""
    one = made.behaviour["no-bos"]
    prompts = [EACH * f + k for f in families for k in range(EACH)]
    tokens = np.concatenate([np.arange(LENGTH * p, LENGTH * (p + 1)) for p in prompts])
    names = tuple(f"{i}/{k}" for i in range(len(families)) for k in range(EACH))
    part = replace(
        one, prompts=names, families=tuple(n.split("/")[0] for n in names),
        lengths=one.lengths[prompts], tokens=one.tokens[tokens], ends=one.ends[tokens],
        loss=one.loss[tokens], ids=one.ids[tokens], log_probability=one.log_probability[tokens],
        rest=one.rest[tokens],
    )  # fmt: skip
    return replace(made, behaviour={"no-bos": part})


@pytest.mark.slow
def test_rounding_at_the_margin_rarely_alarms_in_resampled_families():
    """Two runs of one release differ by rounding as large as the margin lets pass on average."""
    rng = np.random.default_rng(0)
    tokens = FAMILIES * EACH * LENGTH
    a = logits(0, tokens=tokens)
    noise = rng.normal(size=a.shape) * rng.lognormal(0, 0.5, (tokens, 1))
    base = release(a)
    size = _scale(a, noise, MARGINS["kl"])
    rounded = release(a + size * noise)
    margins = {**MARGINS, "loss": 10.0, "top": 1.0}
    alarms = 0
    for _ in range(RUNS):
        families = rng.integers(0, FAMILIES, FAMILIES)
        pair = (drawn(one, families) for one in (base, rounded))
        changes = compare_behaviour(*pair, margins).changes
        alarms += any(change.status is Status.CHANGED for change in changes)
    assert alarms <= MOST_ALARMS


def _scale(a, noise, target):
    """Find the size of noise that makes the mean divergence the target, by bisection."""
    ours = behaviour(a)
    low, high = 0.0, 2.0
    for _ in range(12):
        middle = (low + high) / 2
        theirs = behaviour(a + middle * noise)
        mean = divergences(ours, theirs, pair_tokens(ours, theirs)).mean()
        low, high = (middle, high) if mean < target else (low, middle)
    return low


def test_the_same_release_never_alarms():
    made = release(logits(1))
    report = compare_behaviour(made, made)
    assert {change.status for change in report.changes} == {Status.SAME}
    assert report.same_function
