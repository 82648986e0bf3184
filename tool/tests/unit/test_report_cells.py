"""What a page shows of one result, from tables small enough to compute by hand."""

import re
from dataclasses import replace

import pandas as pd

from refutable.predictions import correlation, mean
from refutable.records import ClaimReport, Environment, Estimate, Evidence, Outcome, Result
from refutable.report.cells import by_result, make_cell

CLAIM = ClaimReport(
    "gain.a", "s", "G1", "observational", "says", "refuted", "q", "predicted",
    mean.above(0.5).record(),
)  # fmt: skip
EVIDENCE = Evidence(Environment("3", "l", {}, "cpu", "float32"), (CLAIM,), (), (), ())


def rows(model, quantity, values, **more):
    """Two families of two prompts."""
    prompts = ["a/0", "a/1", "b/0", "b/1"]
    return pd.DataFrame(
        {
            "claim": "gain.a",
            "quantity": quantity,
            "model": model,
            "control": None,
            "prompts": "p",
            "arm": "bos",
            "prompt": prompts,
            "family": ["a", "a", "b", "b"],
            "text": [f"text of {p}" for p in prompts],
            "at": None,
            "layer": pd.array([None] * 4, "Int64"),
            "head": pd.array([None] * 4, "Int64"),
            "value": values,
        }
    ).assign(**more)


def cell(frame, value, models=("m",), model="m", claim=CLAIM):
    result = Result(
        "gain.a", "s", "G1", "observational", model, "p", "bos", Outcome.PASSED,
        estimate=Estimate(value, value - 1, value + 1), models=models,
    )  # fmt: skip
    return make_cell(result, claim, EVIDENCE, observed=by_result(frame))


def names(strip):
    return re.findall(r"<li><bdi>([^<]*)</bdi><i>([^<]*)</i>", str(strip.chart))


def test_families_are_sorted_by_mean_and_the_region_is_drawn_for_a_mean():
    shown = cell(rows("m", "value", [3.0, 5.0, 1.0, 2.0]), 2.75).strips
    assert len(shown) == 1
    assert names(shown[0]) == [("b", "1.50"), ("a", "4.00")]
    assert 'class="rg"' in shown[0].chart
    assert [(e.value, e.text) for e in shown[0].lowest] == [
        ("1", "text of b/0"),
        ("2", "text of b/1"),
    ]
    assert [e.value for e in shown[0].highest] == ["5", "3"]


def test_the_region_of_a_correlation_is_not_drawn_among_its_variables():
    frame = pd.concat(
        [rows("m", "value", [3.0, 5.0, 1.0, 2.0]), rows("m", "value2", [0.1, 0.2, 0.3, 0.4])]
    )
    about = replace(CLAIM, prediction=correlation.above(0.5).record())
    # By chance the estimate is also the mean of the first of its variables.
    shown = cell(frame, 2.75, claim=about).strips
    assert [s.title for s in shown] == ["First quantity by family", "Second quantity by family"]
    assert all('class="rg"' not in s.chart for s in shown)


def test_layers_are_averaged_and_the_title_says_so():
    low = rows("m", "value", [3.0, 5.0, 1.0, 2.0], layer=pd.array([0] * 4, "Int64"))
    high = rows("m", "value", [5.0, 7.0, 3.0, 4.0], layer=pd.array([1] * 4, "Int64"))
    shown = cell(pd.concat([low, high]), 0.0).strips[0]
    assert shown.title == "Observations by family (each prompt's mean over layer)"
    assert names(shown) == [("b", "2.50"), ("a", "5.00")]


def test_a_claim_over_several_models_has_a_row_for_each():
    frame = pd.concat(
        [rows("x", "value", [3.0, 5.0, 1.0, 2.0]), rows("y", "value", [0.0, 1.0, 0.0, 2.0])]
    )
    shown = cell(frame, 2.0, models=("x", "y"), model="x - y").strips[0]
    assert (shown.title, shown.dot) == ("Observations by model", "family")
    assert names(shown) == [("y", "0.75"), ("x", "2.75")]
    dots = re.search(r'class="pt" d="([^"]*)"', str(shown.chart))
    assert dots is not None
    assert dots.group(1).count("h0") == 4


def test_other_claims_prompts_and_arms_are_left_alone():
    here = rows("m", "value", [3.0, 5.0, 1.0, 2.0])
    others = [here.assign(**{k: "other"}, value=99.0) for k in ("claim", "prompts", "arm", "model")]
    shown = cell(pd.concat([here, *others]), 2.75).strips
    assert len(shown) == 1
    assert names(shown[0]) == [("b", "1.50"), ("a", "4.00")]


def test_controls_are_rings_not_rows():
    null = rows("m", "value", [0.0, 0.0, 4.0, 4.0], control="untrained-0")
    shown = cell(pd.concat([rows("m", "value", [3.0, 5.0, 1.0, 2.0]), null]), 2.75).strips[0]
    assert [n for n, _ in names(shown)] == ["b", "a"]
    rings = re.search(r'class="ro" d="([^"]*)"', str(shown.chart))
    assert rings is not None
    assert rings.group(1).count("h0") == 2
