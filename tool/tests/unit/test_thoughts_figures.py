"""Figures of the thought-tokens study: their tables are the numbers that were observed."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from refutable.evaluation.observation_log import summaries
from refutable.report.figures import style
from refutable.report.figures.registry import MissingDataError
from refutable.studies.thought_tokens.figures import attention, importance

MODELS = [(group, f"{group}-{seed}") for group in ("large", "small") for seed in range(3)]
RNG = np.random.default_rng(0)


class Sample:
    """What one study measured, made by hand."""

    def __init__(self) -> None:
        self.models = [
            SimpleNamespace(
                id=name,
                facts=SimpleNamespace(
                    group=group, parameters=len(group) if group != "large" else 9
                ),
            )
            for group, name in MODELS
        ]
        self.frames: dict[str, pd.DataFrame] = {}

    def put(self, quantity: str, layers: int | None = None, **coords: list[Any]) -> None:
        rows = [
            {
                "model": name,
                "quantity": quantity,
                "layer": layer,
                "at": ";".join(f"{k}={v}" for k, v in zip(coords, at, strict=True)),
                "prompt": None,
                "value": RNG.uniform(),
            }
            for _, name in MODELS
            for layer in ([None] if layers is None else range(layers))
            for at in product(*coords.values())
        ]
        self.frames[quantity] = pd.DataFrame(rows)

    def observed(self, quantity: str, *, controls: bool = False) -> pd.DataFrame:
        if quantity not in self.frames:
            raise MissingDataError(f"no {quantity}")
        return self.frames[quantity]


@pytest.fixture
def sample() -> Any:
    made = Sample()
    six = list(range(6))
    measures = ["log-probability", "accuracy"]
    made.put("mean_thought_attention", layers=3, thought=six)
    made.put("correlation_over_problems", thought=six)
    made.put(
        "mean_thought_importance", later=["follow from it", "kept"], measure=measures, thought=six
    )
    made.put("mean_answers_by_thoughts", thoughts=list(range(7)), measure=measures)
    outcomes = ["other's answer", "continued", "own answer"]
    made.put("mean_thought_steering", later=["recomputed", "kept"], outcome=outcomes, thought=six)
    return made


def mean_of(frame: pd.DataFrame, group: str, at: str, layer: int | None = None) -> float:
    rows = frame[(frame["at"] == at) & frame["model"].str.startswith(group)]
    if layer is not None:
        rows = rows[rows["layer"] == layer]
    assert len(rows) == 3
    return float(rows["value"].mean())


def test_every_figure_draws_its_table(sample: Any) -> None:
    makers = (
        attention.attention, attention.side_by_side, attention.scatter, attention.correlation,
        importance.importance, importance.accuracy, importance.steering,
    )  # fmt: skip
    for make in makers:
        drawing = make(sample)
        with style.styled():
            figure = drawing.draw(drawing.table)
        assert figure.axes
        first = next(iter(dict.fromkeys(drawing.table["subject"])))
        # The smaller model comes first.
        assert first == "small"


def test_attention_is_in_per_cent_by_block(sample: Any) -> None:
    table = attention.attention(sample).table
    part = table[(table["subject"] == "large") & (table["thought"] == "4") & (table["layer"] == 1)]
    wanted = mean_of(sample.frames["mean_thought_attention"], "large", "thought=4", 1)
    assert part["value"].item() == pytest.approx(100 * wanted)


def test_importance_and_attention_stand_on_one_axis(sample: Any) -> None:
    drawing = attention.side_by_side(sample)
    table = drawing.table
    lost = table[(table["subject"] == "small") & (table["what"] == "accuracy lost")]
    frame = sample.frames["mean_thought_importance"]
    for number, value in zip(lost["thought"], lost["value"], strict=True):
        at = f"later=follow from it;measure=accuracy;thought={number}"
        assert value == pytest.approx(100 * mean_of(frame, "small", at))
    share = table[(table["subject"] == "small") & (table["what"] != "accuracy lost")]
    last = mean_of(sample.frames["mean_thought_attention"], "small", "thought=0", 2)
    assert share["value"].iloc[0] == pytest.approx(100 * last)
    with style.styled():
        figure = drawing.draw(table)
    assert {axis.get_ylabel() for axis in figure.axes} <= {"per cent", ""}
    assert len(figure.axes) == 2


def test_intervals_are_over_training_runs(sample: Any) -> None:
    table = attention.correlation(sample).table
    frame = sample.frames["correlation_over_problems"]
    values = frame[(frame["at"] == "thought=3") & frame["model"].str.startswith("small")]["value"]
    part = table[(table["subject"] == "small") & (table["thought"] == "3")]
    wanted = style.interval(values.to_list())
    assert part[["value", "low", "high"]].to_numpy()[0] == pytest.approx(wanted)
    assert part["runs"].item() == 3


def test_summaries_are_made_of_what_was_recorded_and_of_nothing_else() -> None:
    answers = xr.DataArray(
        RNG.uniform(size=(4, 7, 2)),
        dims=("prompt", "thoughts", "quantity"),
        coords={"quantity": ["log-probability", "accuracy"]},
    )
    summary = summaries({"answers_by_thoughts": answers})
    assert set(summary) == {"mean_answers_by_thoughts"}
    mean = summary["mean_answers_by_thoughts"]
    assert mean.dims == ("thoughts", "measure")
    np.testing.assert_allclose(mean, answers.mean("prompt"))
    # Attention alone gives no correlation with importance.
    assert summaries({}) == {}
