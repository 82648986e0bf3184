"""Means of which most families agree, and readings of orders and of controls with few prompts."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from refutable.predictions import Measured, correlation, ordered
from refutable.predictions.base import NullControl
from refutable.records import Reading, Region, Verdict
from refutable.stats import decide, discrete
from refutable.stats import estimate as est
from refutable.stats.paired import paired_change

NAMES = [str(i) for i in range(20)]


def zeros(*others: float) -> np.ndarray:
    return np.array([*others, *np.zeros(20 - len(others))])


def test_few_that_differ_reach_as_far_as_their_share_and_distance_may() -> None:
    tied = discrete.mostly_tied(zeros(0.4))
    assert tied is not None
    assert (tied.value, tied.others, tied.units) == (0.0, 1, 20)
    assert tied.reach == pytest.approx(1.2)
    share = stats.binomtest(1, 20).proportion_ci(0.995, method="exact").high
    assert tied.ends(0.995) == pytest.approx((-1.2 * share, 1.2 * share))
    two = discrete.mostly_tied(zeros(0.4, 0.1))
    assert two is not None
    assert two.reach == pytest.approx(0.6)
    whole = discrete.mostly_tied(zeros(1, 1, 1) * 1.0)
    assert whole is not None
    assert whole.reach == 1.0


@pytest.mark.parametrize(
    "values", [zeros(), zeros(1, 2, 3, 4, 5), zeros(0.1)[:2], np.arange(20.0), np.ones(20)]
)
def test_where_all_agree_or_enough_differ_it_says_nothing(values: np.ndarray) -> None:
    assert discrete.mostly_tied(values) is None


def test_a_verdict_needs_the_wider_guard_and_p_says_where() -> None:
    values = zeros(0.4, 0.3) + 0.01
    tied = discrete.mostly_tied(values)
    assert tied is not None
    end = tied.ends(0.995)[1]
    for bound, verdict in ((end + 0.01, Verdict.CONFIRMED), (end - 0.01, Verdict.INCONCLUSIVE)):
        region = Region(None, bound)
        made = est.family_mean(values, NAMES, region=region)
        assert made.check_high == pytest.approx(end, abs=1e-5)
        assert decide.decide(made, region).verdict is verdict
        assert made.p is not None
        assert (made.p < 0.05) == (verdict is Verdict.CONFIRMED)


def test_the_gate_does_not_call_same_what_few_families_show() -> None:
    changed = paired_change(zeros(0.02, 0.015), margin=0.012)
    assert not changed.same
    assert paired_change(zeros(0.02, 0.015), margin=0.02).same
    assert not paired_change(zeros(0.02, 0.015), margin=0.0001).changed


def array(values: np.ndarray, size: int, register: list[str] | None = None) -> xr.DataArray:
    families = np.repeat(NAMES[: values.size // size], size)
    coords: dict[str, object] = {
        "prompt": [f"{f}-{i % size}" for i, f in enumerate(families)],
        "family": ("prompt", families),
    }
    if register is not None:
        coords["register"] = ("prompt", np.repeat(register, size))
    return xr.DataArray(values, dims="prompt", coords=coords)


@pytest.mark.parametrize(
    ("step", "reading"), [(2.0, Reading.INFORMATIVE), (0.0, Reading.UNDETERMINED)]
)
def test_an_order_is_read_step_by_step_against_its_copies(step: float, reading: Reading) -> None:
    rng = np.random.default_rng(1)
    marks = ["a"] * 10 + ["b"] * 10
    rise = np.repeat([0.0, 1.0], 10)
    copies = tuple(array(0.1 * rng.standard_normal(20), 1, marks) for _ in range(5))
    measured = Measured(array(step * rise + 0.1 * rng.standard_normal(20), 1, marks), error=1e-6)
    control = NullControl("shuffled", tuple("12345"), copies, 0.5)
    read = ordered("a", "b", by=0.5).read_control(measured, control)
    assert read.reading is reading
    assert read.reason.startswith("b - a: model minus control")
    assert read.contrast is not None
    assert read.contrast.value == pytest.approx(step, abs=0.15)
    assert (read.contrast.seeds, read.contrast.clusters) == (5, 10)


def test_a_correlation_is_read_over_one_prompt_a_family_where_its_copies_have_no_more() -> None:
    rng = np.random.default_rng(2)
    x, noise = rng.standard_normal((2, 40))
    model = (array(x, 2), array(x + 0.2 * noise, 2))
    copies = []
    for _ in range(19):
        one = (array(x, 2)[::2], array(rng.standard_normal(40), 2)[::2])
        copies.append(one)
    control = NullControl("untrained", tuple(map(str, range(19))), tuple(copies), 0.2)
    read = correlation.above(0.2).read_control(Measured(model), control)
    assert read.reading is Reading.INFORMATIVE
    assert read.reason.startswith("over one prompt a family (Fisher z): ")
    assert read.contrast is not None
    z = np.arctanh(np.corrcoef(x[::2], (x + 0.2 * noise)[::2])[0, 1])
    assert read.contrast.value == pytest.approx(z, abs=0.6)


@pytest.mark.parametrize(("copies", "said"), [(5, "19 can"), (19, "1 of them go at least as far")])
def test_what_a_rank_leaves_open_says_why(copies: int, said: str) -> None:
    from refutable.stats.readings import reading_by_rank

    numbers = [2.0, *np.linspace(-1, 0, copies - 1)]
    reading, reason = reading_by_rank(1.0, numbers, Region(0.5, None))
    assert reading is Reading.UNDETERMINED
    assert said in reason
