"""States that the pass recorded serve those who would run the prompts again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refutable.capture import last_states
from refutable.capture.measure import measure
from refutable.measurement.harness import open_harness
from refutable.models.encode import encode
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.models.sites import find_sites
from refutable.observables.similarity import alignment
from refutable.observables.similarity.alignment import last_residuals
from refutable.spec.prompts import PromptLibrary
from refutable.store.store import Store
from refutable.system.paths import fixtures

MODEL, PROMPTS = "tiny-rmsnorm", "five-registers"
NAMES = ("lens_divergence", "representation_alignment")


def observed(tmp_path: Any, *names: str) -> Any:
    harness = open_harness(PromptLibrary([fixtures()]), store=Store(tmp_path))
    harness.ask(MODEL, PROMPTS, "no-bos", names)
    return harness.observations(MODEL, PROMPTS, "no-bos")


def test_what_is_handed_over_gives_what_a_pass_of_ones_own_gives(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = []
    asked = last_states.handed_over

    def counted(model: Any, prompts: Any) -> Any:
        handed = asked(model, prompts)
        served.append(handed is not None)
        return handed

    for module in ("depth", "similarity.alignment"):
        monkeypatch.setattr(f"refutable.observables.{module}.handed_over", counted)
    # With a recorded observable there is a pass, alone there is none.
    beside = observed(tmp_path / "beside", "residual_norm", *NAMES)
    assert served[:2] == [True, True]
    served.clear()
    alone = observed(tmp_path / "alone", *NAMES)
    assert not any(served)
    for name in NAMES:
        np.testing.assert_allclose(beside[name], alone[name], rtol=1e-3, atol=1e-5)
    assert "last_residual" not in set(beside)


def test_states_of_other_prompts_or_after_the_block_are_not_given() -> None:
    loaded = load(resolve(MODEL))
    encoded = encode(PromptLibrary([fixtures()])(PROMPTS), loaded.tokenizer, loaded.facts, "no-bos")
    some, other = encoded.only(range(4)), encoded.only(range(2, 6))
    sites = find_sites(loaded.model)
    states = measure(loaded.model, sites, some, [last_states.LAST_STATES])["last_residual"]
    with last_states.handing_over(loaded.model, some, states):
        vectors = last_states.handed_over(loaded.model, [some.ids[2], some.ids[0]])
        assert vectors is not None
        np.testing.assert_array_equal(vectors, states.values[[2, 0]])
        np.testing.assert_array_equal(last_residuals(loaded, some), states.values)
        assert last_states.handed_over(loaded.model, other.ids) is None
    assert last_states.handed_over(loaded.model, some.ids) is None


@pytest.mark.parametrize(("off", "shares"), [(5e-4, True), (2e-3, False)])
def test_prompts_share_passes_only_where_that_gives_what_single_prompts_give(
    off: float, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States of shared passes are put off by so much of the largest; float32 allows 1e-3."""
    loaded = load(resolve(MODEL))
    prompts = PromptLibrary([fixtures()])(PROMPTS)
    encoded = encode(prompts, loaded.tokenizer, loaded.facts, "no-bos").only(range(6))
    measured = alignment.measure
    layouts = []

    def disturbed(*given: Any, layout: str) -> Any:
        layouts.append(layout)
        states = measured(*given, layout=layout)
        if layout == "single":
            return states
        name = last_states.LAST_STATES.name
        return {name: states[name] + off * float(abs(states[name]).max())}

    monkeypatch.setattr(alignment, "measure", disturbed)
    alone = measured(loaded.model, find_sites(loaded.model), encoded, [last_states.LAST_STATES])
    vectors = last_residuals(loaded, encoded)
    assert (layouts[-1] != "single") == shares
    largest = float(abs(alone["last_residual"]).max())
    np.testing.assert_allclose(vectors, alone["last_residual"], rtol=0, atol=1.5e-3 * largest)


def test_those_of_one_file_follow_each_other_whatever_moves_the_weights(tmp_path: Any) -> None:
    harness = open_harness(PromptLibrary([fixtures()]), store=Store(tmp_path))
    asked = ("induction_attention", "landscape_curve", "off_induction_attention")
    harness.ask(MODEL, PROMPTS, "no-bos", asked)
    harness.measure(MODEL)
    report = harness.report(MODEL)
    assert report is not None
    order = [cost.what for cost in report.costs if cost.what in asked]
    assert order == ["induction_attention", "off_induction_attention", "landscape_curve"]
