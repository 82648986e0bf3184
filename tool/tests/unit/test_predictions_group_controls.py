"""Controls of claims about groups of training seeds, and seeds that do not take part."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from refutable.predictions import Measured, NullControl, contrast, ordered, over_seeds
from refutable.records import Reading


def read(prediction, values, copies):
    """Hold values against copies, with a smallest effect of 0.1."""
    return prediction.read_control(
        Measured(values), NullControl("untrained", (), tuple(copies), 0.1)
    )


def by_seed(numbers):
    return dict(enumerate(numbers))


def copies(**groups):
    """One mapping per copy: group to that copy's number."""
    size = len(next(iter(groups.values())))
    return [{name: {k: rows[k]} for name, rows in groups.items()} for k in range(size)]


@pytest.mark.parametrize(
    ("of_copies", "reading"),
    [
        ([0.01, -0.02, 0.00, 0.02, -0.01], Reading.INFORMATIVE),
        ([1.01, 0.98, 1.00, 1.02, 0.99], Reading.UNINFORMATIVE),
        ([1.01, 0.98, 1.00], Reading.UNDETERMINED),
    ],
    ids=["control at zero", "control as high", "too few copies"],
)
def test_seeds_are_read_against_copies(of_copies, reading):
    of_seeds = [1.00, 1.03, 0.98, 1.01, 0.99]
    measured = read(over_seeds("toy").above(0.5), {"toy": by_seed(of_seeds)}, copies(toy=of_copies))
    assert measured.reading is reading
    assert measured.contrast is not None
    assert measured.contrast.value == pytest.approx(np.mean(of_seeds) - np.mean(of_copies))
    if len(of_copies) == 5:
        welch = stats.ttest_ind(of_seeds, of_copies, equal_var=False).confidence_interval(0.95)
        assert (measured.contrast.low, measured.contrast.high) == pytest.approx(tuple(welch))


def test_numbers_of_two_groups_are_differences_by_copy():
    measured = read(
        contrast("a", "b").above(0.5),
        {"a": by_seed([2.0, 2.1, 1.9, 2.2, 1.8]), "b": by_seed([1.0, 1.0, 1.1, 1.1, 0.9])},
        copies(a=[5.0, 5.1, 5.2, 5.1, 4.9], b=[5.0, 5.0, 5.1, 5.2, 4.9]),
    )
    assert measured.estimate is not None
    assert measured.contrast is not None
    assert measured.estimate.value == pytest.approx(0.02)
    assert measured.contrast.value == pytest.approx(0.98 - 0.02)
    assert measured.reading is Reading.INFORMATIVE


def per_prompt(shift, seed):
    values = shift + np.random.default_rng(seed).normal(0, 0.05, 12)
    families = np.repeat([f"f{i}" for i in range(6)], 2)
    names = [f"{f}/{i}" for i, f in enumerate(families)]
    return xr.DataArray(
        values, dims="prompt", coords={"prompt": names, "family": ("prompt", families)}
    )


def test_prompts_are_paired_by_family_with_each_copy():
    values = {"a": {s: per_prompt(1.0, s) for s in range(5)},
              "b": {s: per_prompt(0.0, 10 + s) for s in range(5)}}  # fmt: skip
    controls = [
        {"a": {k: per_prompt(0.0, 20 + k)}, "b": {k: per_prompt(0.0, 30 + k)}} for k in range(5)
    ]
    measured = read(contrast("a", "b").above(0.5), values, controls)
    assert measured.estimate is not None
    assert measured.contrast is not None
    plain = np.mean([c["a"][k].values - c["b"][k].values for k, c in enumerate(controls)])
    assert measured.estimate.value == pytest.approx(plain)
    assert measured.contrast.clusters == 6
    assert measured.contrast.seeds == 5
    assert measured.reading is Reading.INFORMATIVE


def test_seeds_left_out_are_said():
    assert contrast("a", "b", exclude_seeds=(0,)).below(0.0).statement == (
        "mean over families of a minus b (seed 0 left out) below 0"
    )
    assert "(seeds 0, 1 left out)" in over_seeds("a", exclude_seeds=(0, 1)).above(0.0).statement
    assert ordered("a", "b", over="models", exclude_seeds=(2,)).left_out == (2,)
    assert contrast("a", "b").below(0.0).left_out == ()
