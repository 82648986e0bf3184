"""How alike two kinds of model are along training: the slope of planted alignments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from refutable.errors import ClaimError
from refutable.predictions import Likeness, Measured, cross_similarity
from refutable.records import Verdict

SEEDS, FAMILIES, WIDE = 6, 10, 40
STEPS = [300, 600, 1200, 2400]
TOKENS = [1024.0 * step for step in STEPS]


def features(value: Any, without: int | None = None) -> Any:
    """Mean over families of one vector each, scaled to length 1."""
    kept = value.values if without is None else np.delete(value.values, without, axis=0)
    middle = kept.mean(axis=0)
    return middle / np.linalg.norm(middle)


LIKE = Likeness(features, lambda value: int(value.sizes["family"]))


def models(cosines: list[float], seed: int, tokens: list[float] = TOKENS) -> dict[int, Any]:
    """Models that at each step lie at an angle to the first axis, each with a little noise."""
    source = np.random.default_rng(seed)
    table = np.zeros((SEEDS, len(cosines), FAMILIES, WIDE))
    table[..., 0] = np.array(cosines)[:, None]
    table[..., 1] = np.sqrt(1 - np.array(cosines) ** 2)[:, None]
    # What a run has of its own lasts along its training.
    table += 1e-2 * source.standard_normal((SEEDS, 1, 1, WIDE))
    table += 1e-3 * source.standard_normal(table.shape)
    coords = {"step": STEPS, "tokens": ("step", tokens), "loss": ("step", [5.0, 4.0, 3.0, 2.0])}
    return {i: xr.DataArray(one, coords, ("step", "family", "dim")) for i, one in enumerate(table)}


STRAIGHT = models([1.0] * 4, 1)
PARTING = {"a": models([1.0, 0.9, 0.8, 0.7], 2), "b": STRAIGHT}


def test_the_slope_is_per_doubling_of_the_tokens() -> None:
    prediction = cross_similarity("a", "b", kernel=LIKE, along=True).below(-0.05)
    judged = prediction.judge(Measured(PARTING))
    assert judged.estimate.value == pytest.approx(-0.1, abs=2e-3)
    assert judged.decision.verdict is Verdict.CONFIRMED
    assert (judged.estimate.seeds, judged.estimate.clusters) == (SEEDS, FAMILIES)
    alike = {"a": models([0.8] * 4, 3), "b": STRAIGHT}
    assert prediction.judge(Measured(alike)).decision.verdict is Verdict.REFUTED


def test_it_is_the_slope_of_the_differences_at_each_step() -> None:
    prediction = cross_similarity("a", "b", kernel=LIKE, along=True).below(0.0)
    at_steps = [
        cross_similarity("a", "b", kernel=LIKE)
        .below(0.0)
        .judge(Measured({n: {s: m.isel(step=i) for s, m in g.items()} for n, g in PARTING.items()}))
        .estimate
        for i in range(len(STEPS))
    ]
    slope = np.polyfit(np.log2(TOKENS), [one.value for one in at_steps], 1)[0]
    assert prediction.judge(Measured(PARTING)).estimate.value == pytest.approx(slope)
    path = prediction.rests_on(PARTING)["difference along training"]
    assert list(path["step"].values) == STEPS
    for end in ("value", "low", "high"):
        recorded = path.sel(end=end).values
        assert recorded == pytest.approx([getattr(one, end) for one in at_steps])


def test_two_seeds_decide_nothing_and_other_steps_are_refused() -> None:
    prediction = cross_similarity("a", "b", kernel=LIKE, along=True).below(-0.05)
    few = {"a": {0: PARTING["a"][0], 1: PARTING["a"][1]}, "b": STRAIGHT}
    judged = prediction.judge(Measured(few))
    assert judged.decision.verdict is Verdict.INCONCLUSIVE
    assert "fewer than three seeds" in judged.estimate.note
    assert prediction.rests_on(few) == {}
    other = {"a": models([1.0] * 4, 4, [2 * t for t in TOKENS]), "b": STRAIGHT}
    with pytest.raises(ClaimError, match="equal steps"):
        prediction.judge(Measured(other))
    bare = {n: {s: m.drop_vars("tokens") for s, m in g.items()} for n, g in PARTING.items()}
    with pytest.raises(ClaimError, match="'tokens'"):
        prediction.judge(Measured(bare))


def test_it_words_itself() -> None:
    prediction = cross_similarity("none", "both", kernel=LIKE, along=True).below(-0.01)
    assert prediction.record().kind == "across_along"
    assert prediction.statement == (
        "slope per doubling of the tokens of the likeness of a none and a both of different "
        "seeds, minus that of two both, below -0.01"
    )
