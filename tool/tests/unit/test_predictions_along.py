"""Contrasts along training: slopes, stated tokens and stated losses, on planted paths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from refutable.errors import ClaimError
from refutable.predictions import Measured, contrast_along
from refutable.records import Verdict

STEPS = [300, 600, 1200, 2400]
TOKENS = [1024.0 * step for step in STEPS]
FAMILIES = [f"family-{i}" for i in range(6)]


def path(values: Any, losses: list[float]) -> xr.DataArray:
    """A path of one model, ``(step, prompt)``."""
    coords = {"step": STEPS, "tokens": ("step", TOKENS), "loss": ("step", losses)}
    table = np.broadcast_to(np.asarray(values, float)[:, None], (4, len(FAMILIES)))
    noise = 1e-3 * np.random.default_rng(int(1e4 * float(np.sum(values)))).normal(size=table.shape)
    coordinates = {"prompt": FAMILIES, "family": ("prompt", FAMILIES)}
    return xr.DataArray(table + noise, dims=("step", "prompt"), coords={**coords, **coordinates})


def groups(first: list[float], second: list[float]) -> dict[str, dict[int, xr.DataArray]]:
    """Two groups of six seeds."""
    return {
        "a": {s: path(np.array(first) + 1e-3 * s, [5, 4, 3, 2]) for s in range(6)},
        "b": {s: path(np.array(second) + 1e-3 * s, [6, 5, 4, 3]) for s in range(6)},
    }


def estimate(prediction: Any, values: Any) -> float:
    return float(prediction.judge(Measured(values)).estimate.value)


def test_slope_is_per_doubling_of_the_tokens() -> None:
    values = groups([1, 2, 3, 4], [1, 1.5, 2, 2.5])
    prediction = contrast_along("a", "b").above(0.4)
    judged = prediction.judge(Measured(values))
    assert judged.estimate.value == pytest.approx(0.5, abs=2e-3)
    assert judged.decision.verdict is Verdict.CONFIRMED
    opposite = contrast_along("b", "a").above(0.4).judge(Measured(values))
    assert opposite.decision.verdict is Verdict.REFUTED


def test_tokens_between_two_checkpoints_are_interpolated_in_their_log() -> None:
    values = groups([1, 2, 3, 4], [0, 0, 0, 0])
    at = 1024 * 600 * 2**0.25
    assert estimate(contrast_along("a", "b", tokens=at).above(0), values) == pytest.approx(
        2.25, abs=2e-3
    )
    assert estimate(contrast_along("a", "b", tokens=TOKENS[0]).above(0), values) == pytest.approx(
        1.0, abs=2e-3
    )


def test_equal_loss_reads_each_model_where_it_passed_it() -> None:
    values = groups([1, 2, 3, 4], [10, 20, 30, 40])
    # 3.5 nats lie between steps 2 and 3 of the first, 3 and 4 of the second.
    measured = estimate(contrast_along("a", "b", loss=3.5).above(0), values)
    assert measured == pytest.approx(2.5 - 35, abs=2e-3)


@pytest.mark.parametrize("point", [{"loss": 2.5}, {"tokens": 1.0}, {"tokens": 1e12}])
def test_a_point_that_a_run_never_reached_decides_nothing(point: dict[str, float]) -> None:
    values = groups([1, 2, 3, 4], [0, 0, 0, 0])
    judged = contrast_along("a", "b", **point).above(0).judge(Measured(values))
    assert judged.decision.verdict is Verdict.INCONCLUSIVE


def test_what_it_refuses() -> None:
    with pytest.raises(ClaimError, match="tokens or loss, got both"):
        contrast_along("a", "b", tokens=1.0, loss=1.0)
    with pytest.raises(ClaimError, match="above 0"):
        contrast_along("a", "b", loss=0.0)
    bare = {n: {s: v.drop_vars("loss") for s, v in g.items()} for n, g in
            groups([1, 2, 3, 4], [0, 0, 0, 0]).items()}  # fmt: skip
    with pytest.raises(ClaimError, match="coordinates"):
        contrast_along("a", "b").above(0).judge(Measured(bare))


def test_numbers_of_a_model_have_seeds_as_units() -> None:
    values = {
        name: {s: one.isel(prompt=0, drop=True).drop_vars("family", errors="ignore")
               for s, one in group.items()}
        for name, group in groups([1, 2, 3, 4], [1, 1.5, 2, 2.5]).items()
    }  # fmt: skip
    judged = contrast_along("a", "b").above(0.4).judge(Measured(values))
    assert judged.estimate.seeds == 6
    assert judged.estimate.value == pytest.approx(0.5, abs=2e-3)


def test_record_names_the_point() -> None:
    record = contrast_along("a", "b", loss=3.5).below(0).record()
    assert record.kind == "contrast_along"
    assert record.parameters["where"] == "loss"
    assert record.parameters["level"] == 3.5
