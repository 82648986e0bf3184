"""The power stated where the rule is not t on units is that of the records that decide."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from refutable.records import Region, Verdict
from refutable.stats import controls, correlation, decide
from refutable.stats import estimate as est
from refutable.stats import power_of_kinds as kinds


def _confirmed(estimates, region: Region) -> bool:
    return all(decide.decide(e, region).verdict is Verdict.CONFIRMED for e in estimates)


@pytest.mark.parametrize("families", [8, 44])
@pytest.mark.parametrize("bound", [0.2, 0.5])
@pytest.mark.parametrize("above", [True, False])
def test_shares(families, bound, above):
    """Families of one mind: the count of hits says all."""
    region = Region(bound, None) if above else Region(None, bound)
    labels = [str(i) for i in range(families)]
    sure = np.array([
        _confirmed([est.share(np.arange(families) < k, labels, region=region)], region)
        for k in range(families + 1)
    ])  # fmt: skip
    rng = np.random.default_rng([1, families])
    for power in (0.5, 0.8):
        truth = kinds.share_decided(bound, families, above=above, power=power)
        if truth is None:
            assert not sure.any()
            continue
        hits = rng.binomial(families, truth, 20_000)
        assert sure[hits].mean() == pytest.approx(power, abs=0.03)


@pytest.mark.parametrize("sizes", [(6, 6, 6), (5, 8, 12, 20)])
def test_orders(sizes):
    rng = np.random.default_rng([2, *sizes])
    step = kinds.step_decided(sizes)
    region = Region(0.0, None)
    confirmed = []
    for _ in range(1200):
        groups = [rng.standard_normal(n) + i * step for i, n in enumerate(sizes)]
        parts = [
            est.difference_of_groups(a, b, n=sum(sizes), region=region) for a, b in pairwise(groups)
        ]
        confirmed.append(_confirmed(parts, region))
    assert np.mean(confirmed) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("draws", "copies"), [(1, 5), (1, 19), (8, 19)])
def test_a_model_beside_its_copies(draws, copies):
    rng = np.random.default_rng([3, draws, copies])
    apart, region = kinds.draws_decided(draws, copies), Region(0.0, None)
    confirmed = [
        _confirmed(
            [controls.numbers_contrast(rng.standard_normal(draws) + apart, copy, region=region)],
            region,
        )
        for copy in rng.standard_normal((1500, copies))
    ]
    assert np.mean(confirmed) == pytest.approx(0.8, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("families", [12, 24])
def test_correlations(families):
    planted = kinds.Correlated((8,) * families, 0.2)
    r, region = kinds.correlation_decided(planted), Region(0.2, None)
    rng = np.random.default_rng([4, families])
    index = np.repeat(np.arange(families), 8)
    confirmed = []
    for _ in range(1000):
        both = rng.standard_normal((2, families))[:, index] + rng.standard_normal((2, index.size))
        y = r * both[0] + np.sqrt(1 - r**2) * both[1]
        parts = correlation.correlation_parts(both[0], y, [str(i) for i in index], region=region)
        confirmed.append(_confirmed(parts, region))
    assert np.mean(confirmed) == pytest.approx(0.8, abs=0.03)
