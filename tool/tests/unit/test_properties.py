"""Properties that must hold for any numbers and names, searched by hypothesis."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from refutable.evidence.baseline import compare
from refutable.evidence.drift import Recorded
from refutable.plugin.cases import scope_of
from refutable.records import Estimate, Region, Verdict
from refutable.spec.cell import Cell, slug
from refutable.spec.prompts import parse_prompts
from refutable.stats.decide import decide
from refutable.stats.estimate import family_mean
from refutable.store.store import ObservationKey, Store

numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6))
texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)


@given(low=numbers, width=st.floats(0, 100), bound=numbers)
def test_above_and_below_one_bound_never_agree(low: float, width: float, bound: float) -> None:
    """What confirms "above x" refutes "below x", and the other way round."""
    high = low + width
    estimate = Estimate(
        (low + high) / 2, low, high, n=30, clusters=30, check_low=low, check_high=high
    )
    above = decide(estimate, Region(bound, None)).verdict
    below = decide(estimate, Region(None, bound)).verdict
    mirror = {
        Verdict.CONFIRMED: Verdict.REFUTED,
        Verdict.REFUTED: Verdict.CONFIRMED,
        Verdict.INCONCLUSIVE: Verdict.INCONCLUSIVE,
    }
    assert below is mirror[above]


@given(
    values=st.lists(st.floats(-100, 100), min_size=30, max_size=30),
    shift=st.floats(-50, 50),
    error=st.floats(0, 1),
)
def test_the_interval_moves_with_the_data_and_widens_with_the_error(
    values: list[float], shift: float, error: float
) -> None:
    families = [f"f{i // 3}" for i in range(30)]
    # Values that agree are judged by their size, hits and misses as a share.
    assume(np.ptp(np.array(values).reshape(10, 3).mean(axis=1)) > 2.5)
    assume(not {0.0, 1.0} >= {*values} and not {0.0, 1.0} >= {v + shift for v in values})
    plain = family_mean(values, families)
    moved = family_mean(np.array(values) + shift, families)
    wider = family_mean(values, families, error=error)
    assert plain.low is not None
    assert plain.high is not None
    assert moved.low == pytest.approx(plain.low + shift, abs=1e-6)
    assert moved.high == pytest.approx(plain.high + shift, abs=1e-6)
    assert wider.low is not None
    assert wider.high is not None
    assert wider.low <= plain.low + 1e-9
    assert wider.high >= plain.high - 1e-9


@given(order=st.permutations(range(12)), values=st.lists(numbers, min_size=12, max_size=12))
def test_the_order_of_prompts_does_not_matter(order: list[int], values: list[float]) -> None:
    families = [f"f{i % 6}" for i in range(12)]
    first = family_mean(values, families)
    second = family_mean([values[i] for i in order], [families[i] for i in order])
    for a, b in ((first.value, second.value), (first.low, second.low), (first.high, second.high)):
        assert a == pytest.approx(b, rel=1e-6, abs=1e-6)


@given(texts, texts)
def test_a_label_names_its_model_whatever_the_model_is_called(model: str, prompts: str) -> None:
    case = Cell(model, (model,), prompts, "no-bos")
    assert scope_of(f"claims/test_x.py::test_y[{case.label}]") == f"model {slug(model)}"
    assert "\n" not in case.label


@given(st.lists(texts.filter(str.strip), min_size=1, max_size=8))
def test_prompts_are_kept_to_the_letter(prompts: list[str]) -> None:
    unique = list({" ".join(normalize("NFC", p).split()): p for p in prompts}.values())
    raw = {"family": [{"name": "f", "prompts": unique}]}
    made = parse_prompts(raw, origin="x.toml", default_name="x")
    assert [p.text for p in made.prompts] == unique


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(width=32), min_size=1, max_size=12),
    names=st.lists(texts, min_size=12, max_size=12),
)
def test_the_store_gives_back_what_it_was_given(
    tmp_path: Path, values: list[float], names: list[str]
) -> None:
    store = Store(tmp_path)
    array = xr.DataArray(
        np.array(values, np.float32),
        dims="prompt",
        coords={"prompt": [n.replace("\x00", "") for n in names[: len(values)]]},
    )
    key = ObservationKey(
        "w", "t", "p", "no-bos", "x", 1, "float32", "cpu", torch="", transformers=""
    )
    store.put(key, array)
    back = store.get(key)
    assert back is not None
    np.testing.assert_array_equal(back.values, array.values)
    assert back["prompt"].values.tolist() == array["prompt"].values.tolist()


@given(st.sampled_from(Verdict), st.none() | st.sampled_from(Verdict))
def test_strict_never_passes_what_plain_fails(verdict: Verdict, expected: Verdict | None) -> None:
    recorded = None if expected is None else Recorded(expected)
    plain = compare(Recorded(verdict), recorded)
    strict = compare(Recorded(verdict), recorded, strict=True)
    assert plain.passes or not strict.passes
