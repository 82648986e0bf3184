"""Null controls of claims about one model: whether they tell the model from its copies."""

from __future__ import annotations

import pytest
from support.labels import labelled, noise

from refutable.predictions import Measured, NullControl, correlation, every, mean
from refutable.records import Reading

JUDGE = {"error": 1e-6, "seed": 1, "unit": "log ratio"}


def _read(prediction, values, controls, sesoi=0.02):
    names = tuple(f"untrained-{i}" for i in range(len(controls)))
    control = NullControl("untrained", names, tuple(controls), sesoi)
    return prediction.read_control(Measured(values, **JUDGE), control)


def test_control_that_expands_as_well_is_uninformative():
    shared = 0.2 * noise(8, 40)
    model = labelled(0.5 + shared, 8, 5)
    same = [labelled(0.5 + shared + 0.005 * noise(i, 40), 8, 5) for i in range(5)]
    none = [labelled(0.02 * noise(i, 40), 8, 5) for i in range(5)]
    assert _read(mean.above(0.02), model, same).reading is Reading.UNINFORMATIVE
    read = _read(mean.above(0.02), model, none)
    assert read.reading is Reading.INFORMATIVE
    assert read.contrast.value == pytest.approx(0.5, abs=0.1)
    assert read.contrast.seeds == 5
    assert _read(mean.above(0.02), model, none[:4]).reading is Reading.UNDETERMINED


def test_control_of_a_correlation_compares_within_families():
    x = labelled(noise(9, 80), 8, 10)
    y = labelled(x.values + 0.3 * noise(10, 80), 8, 10)
    controls = [(labelled(noise(20 + i, 80), 8, 10), y) for i in range(5)]
    read = _read(correlation.above(0.2), (x, y), controls, sesoi=None)
    assert read.reading is Reading.INFORMATIVE
    assert read.reason.startswith("within families")


def test_control_of_a_universal_claim_counts_counterexamples():
    clean, broken = labelled([0.1, 0.2], 2, 1), labelled([0.1, -0.2], 2, 1)
    assert _read(every.above(0.0), clean, [clean] * 5).reading is Reading.UNINFORMATIVE
    assert _read(every.above(0.0), clean, [broken] * 19).reading is Reading.INFORMATIVE
    assert _read(every.above(0.0), clean, [broken] * 5).reading is Reading.UNDETERMINED
    assert "5 of 5" in _read(every.above(0.0), clean, [broken] * 5).reason


@pytest.mark.parametrize("families", [5, 12, 44])
def test_a_placebo_that_agrees_is_no_fact(families):
    """None of so many families had a hit, so as many may as none of them can show."""
    hits = labelled([0.0] * families, families, 1)
    control = NullControl("placebo", ("m@placebo",), (hits,), 0.1)
    read = mean.below(0.5).read_control(Measured(hits, 1e-6), control)
    assert read.estimate is not None
    assert read.contrast is not None
    unseen = 1 - 0.025 ** (1 / families)
    assert read.estimate.high == pytest.approx(unseen, abs=1e-5)
    assert read.contrast.high == pytest.approx(unseen, abs=1e-5)
    expected = Reading.UNINFORMATIVE if unseen < 0.1 else Reading.UNDETERMINED
    assert read.reading is expected
