"""What would refute a bundled claim states the numbers that its prediction decides by."""

from __future__ import annotations

import math
import re

import pytest

from refutable.studies.catalogue import bundled_claims

_NUMBER = r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)"
_CONDITION = re.compile(
    rf"at {_NUMBER} nats|last {_NUMBER} steps|k >= 1|layer \d|from 2050|to the .*? third"
)
"""Numbers that say where or when something is measured, not what would refute the claim."""


CLAIMS = {claim.id: claim for claim in bundled_claims()}


def _value(token):
    return float(token.replace(",", ""))


def stated(text):
    """Numbers that a sentence states, on the scale of a region; those with a sign keep it."""
    text = _CONDITION.sub(" ", text)
    measured = []
    for centre, margin in re.findall(rf"({_NUMBER}) \+- ({_NUMBER})", text):
        measured += [_value(centre) - _value(margin), _value(centre) + _value(margin)]
    text = re.sub(rf"{_NUMBER} \+- {_NUMBER}", " ", text)
    for token in re.findall(rf"({_NUMBER}) %", text):
        share = _value(token) / 100
        measured += [share, math.log1p(share), math.log1p(-share)]
    measured += [_value(token) / 100 for token in re.findall(rf"({_NUMBER}) points", text)]
    measured += [math.log(_value(token)) for token in re.findall(rf"(?:ln|log) ({_NUMBER})", text)]
    measured += [-math.log(_value(token)) for token in re.findall(rf"1 / ({_NUMBER})", text)]
    measured += [1.02 / (int(k) + 1) for k in re.findall(r"one of (\d+)", text)]
    rest = re.sub(rf"(?:ln|log|1 /) {_NUMBER}|{_NUMBER} (?:%|points)|one of \d+", " ", text)
    measured += [_value(token) for token in re.findall(rf"(?<![\w.])({_NUMBER})(?!\w)", rest)]
    measured += [0.5] * ("half" in text) + [math.log(10)] * ("tenfold" in text)
    return measured


def bounds(claim):
    """Numbers that the prediction decides by; the sign of 0 cannot be misstated."""
    region = claim.predicts.region
    ends = [x for x in (region.low, region.high) if x is not None]
    tolerance = getattr(claim.predicts, "tolerance", None)
    if claim.predicts.universal and tolerance:
        ends = [x + tolerance if x == region.high else x - tolerance for x in ends]
    return [x for x in ends if x != 0]


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_what_refutes_a_claim_is_what_its_prediction_decides_by(name):
    claim = CLAIMS[name]
    numbers = stated(claim.refuted_if)
    if not numbers:
        return
    for bound in bounds(claim):
        near = [x for x in numbers if math.isclose(abs(x), abs(bound), rel_tol=2e-3)]
        assert near, f"{claim.refuted_if!r} does not state {bound:g}"
    signed = re.findall(r"(?<![\w.])([-+][\d.]+)", _CONDITION.sub(" ", claim.refuted_if))
    for token in signed:
        if "+-" not in claim.refuted_if:
            assert any(math.isclose(_value(token), b, rel_tol=2e-3) for b in bounds(claim))


def test_the_reading_of_sentences_knows_each_form():
    assert stated("lies outside .80 +- .15") == pytest.approx([0.65, 0.95])
    ten = [0.1, math.log(1.1), math.log(0.9)]
    assert stated("exceeds by less than 10 %") == pytest.approx(ten)
    assert stated("at 4.95 nats it lies above -0.02") == [-0.02]
    assert stated("lies outside ln 15 to ln 25") == [math.log(15), math.log(25)]
    assert stated("it is another") == []
