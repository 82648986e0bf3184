"""Models of two kinds taken in pairs: what is left out, the interval, the control."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from refutable.errors import ClaimError
from refutable.predictions import Likeness, Measured, NullControl, cross_similarity
from refutable.records import Verdict
from refutable.stats import pairs

SEEDS, FAMILIES, WIDE = 8, 12, 40
HOW: dict[str, Any] = {"error": 0.0, "seed": 0, "unit": "alignment"}


def features(value: Any, without: int | None = None) -> Any:
    """Mean over families of one vector each, scaled to length 1."""
    kept = value.values if without is None else np.delete(value.values, without, axis=0)
    middle = kept.mean(axis=0)
    return middle / np.linalg.norm(middle)


LIKE = Likeness(features, lambda value: int(value.sizes["family"]))


def models(direction: Any, spread: float, seed: int, count: int = SEEDS) -> dict[int, Any]:
    """Models whose families point in a direction, each model with an error of its own."""
    source = np.random.default_rng(seed)
    noise = spread * source.standard_normal((count, 1, WIDE))
    jitter = 0.1 * spread * source.standard_normal((count, FAMILIES, WIDE))
    return {
        i: xr.DataArray(direction + noise[i] + jitter[i], dims=("family", "dim"))
        for i in range(count)
    }


def axes(angle: float) -> tuple[Any, Any]:
    first, second = np.eye(WIDE)[:2]
    return first, np.cos(angle) * first + np.sin(angle) * second


def test_the_value_is_the_mean_over_pairs_of_different_seeds() -> None:
    straight, turned = axes(0.5)
    values = {"a": models(turned, 0.05, 1), "b": models(straight, 0.05, 2)}
    judgement = cross_similarity("a", "b", kernel=LIKE).below(-0.02).judge(Measured(values, **HOW))
    unit = {name: [features(m) for m in members.values()] for name, members in values.items()}
    apart = [(i, j) for i in range(SEEDS) for j in range(SEEDS) if i != j]
    expected = np.mean([unit["a"][i] @ unit["b"][j] for i, j in apart]) - np.mean(
        [unit["b"][i] @ unit["b"][j] for i, j in apart]
    )
    assert judgement.estimate.value == pytest.approx(expected)
    assert judgement.estimate.value == pytest.approx(np.cos(0.5) - 1, abs=0.05)
    assert judgement.decision.verdict is Verdict.CONFIRMED
    assert (judgement.estimate.seeds, judgement.estimate.clusters, judgement.estimate.n) == (
        8,
        12,
        56,
    )


def test_kinds_that_are_the_same_refute_that_they_differ() -> None:
    straight, _ = axes(0.0)
    values = {"a": models(straight, 0.05, 1), "b": models(straight, 0.05, 2)}
    judgement = cross_similarity("a", "b", kernel=LIKE).below(-0.05).judge(Measured(values, **HOW))
    assert judgement.decision.verdict is Verdict.REFUTED
    reduced = cross_similarity("a", "b", kernel=LIKE).below(-0.05).per_family(values)
    assert reduced.names == tuple(f"seed {i}" for i in range(SEEDS))
    assert reduced.means.mean() == pytest.approx(judgement.estimate.value)


def test_models_of_one_seed_do_not_count_as_a_pair() -> None:
    straight, _ = axes(0.0)
    second = models(straight, 0.2, 2)
    values = {"a": dict(second), "b": second}
    # Equal models: the diagonal would add likenesses of exactly 1.
    judgement = cross_similarity("a", "b", kernel=LIKE).below(-0.05).judge(Measured(values, **HOW))
    assert judgement.estimate.value == pytest.approx(0.0, abs=1e-12)


def test_two_seeds_decide_nothing_and_say_why() -> None:
    straight, turned = axes(1.0)
    values = {"a": models(turned, 0.05, 1, 2), "b": models(straight, 0.05, 2)}
    judgement = cross_similarity("a", "b", kernel=LIKE).below(-0.05).judge(Measured(values, **HOW))
    assert judgement.decision.verdict is Verdict.INCONCLUSIVE
    assert "fewer than three seeds" in judgement.estimate.note


def test_a_model_without_a_likeness_is_said() -> None:
    straight, _ = axes(0.0)
    broken = models(straight, 0.05, 1)
    broken[3] = broken[3] * np.nan
    judgement = (
        cross_similarity("a", "b", kernel=LIKE)
        .below(-0.05)
        .judge(Measured({"a": broken, "b": models(straight, 0.05, 2)}, **HOW))
    )
    assert judgement.decision.verdict is Verdict.INCONCLUSIVE
    assert "NaN" in judgement.estimate.note


def test_copies_of_the_control_are_taken_in_pairs_too() -> None:
    straight, turned = axes(0.6)
    values = {"a": models(turned, 0.01, 1), "b": models(straight, 0.01, 2)}
    prediction = cross_similarity("a", "b", kernel=LIKE).below(-0.05)

    def copies(first: Any, second: Any) -> list[dict[str, dict[int, Any]]]:
        a, b = models(first, 0.01, 3, 5), models(second, 0.01, 4, 5)
        return [{"a": {i: a[i]}, "b": {i: b[i]}} for i in range(5)]

    def read(*features):
        control = NullControl("untrained", ("x",), tuple(copies(*features)), 0.05)
        return prediction.read_control(Measured(values, **HOW), control)

    flat = read(straight, straight)
    assert flat.reading == "informative"
    same = read(turned, straight)
    assert same.reading == "uninformative"
    assert same.estimate is not None
    assert same.estimate.seeds == 5


def test_the_word_wants_two_groups_and_words_itself() -> None:
    with pytest.raises(ClaimError, match="two different groups"):
        cross_similarity("a", "a", kernel=LIKE)
    said = cross_similarity("none", "both", kernel=LIKE, exclude_seeds=(0,)).below(-0.05).statement
    assert said == (
        "mean likeness of a none and a both of different seeds, minus that of two both "
        "(seed 0 left out), below -0.05"
    )


def planted_study(source: np.random.Generator) -> tuple[Any, Any]:
    """Likenesses whose expected difference is (.8 - 1) E|m|^2 with m random over families."""
    families = 1.0 + 0.8 * source.standard_normal((FAMILIES, 3))
    of_seeds = 0.1 * source.standard_normal((2, SEEDS, 1, 3))
    cells = 0.2 * source.standard_normal((2, SEEDS, FAMILIES, 3))
    first, second = np.array([0.8, 1.0])[:, None, None, None] * families + of_seeds + cells
    both = [np.einsum("ifd,jfd->fij", a, second) for a in (first, second)]
    whole = [table.mean(axis=0) for table in both]
    return tuple(
        np.stack([w, *((w * FAMILIES - table) / (FAMILIES - 1))])
        for w, table in zip(whole, both, strict=True)
    )


@pytest.mark.slow
def test_the_interval_covers_the_planted_difference_about_as_often_as_it_says() -> None:
    source = np.random.default_rng(11)
    truth = (0.8 - 1.0) * 3 * (1.0 + 0.64)
    limits = [pairs.pair_limits(*planted_study(source)) for _ in range(600)]
    covered = np.mean([one.low < truth < one.high for one in limits])
    # Four standard errors below .95; what both variances hold is counted twice, so it may exceed.
    assert 0.914 < covered < 0.995
    seeds_alone = [pairs.pair_limits(*(t[:1] for t in planted_study(source))) for _ in range(600)]
    assert np.mean([one.low < truth < one.high for one in seeds_alone]) < 0.9
