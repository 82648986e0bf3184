"""Figures draw the table they say, are drawn again only when it changed, and keep to the theme."""

import html
import json
from dataclasses import replace

import numpy as np
import pytest
from golden import sample_run
from PIL import Image
from scipy import stats

from refutable.records import Outcome, Region
from refutable.report.figures import figures_for, style
from refutable.report.figures.forest import depth
from refutable.report.figures.inline import inline
from refutable.report.figures.references import gain_references
from refutable.report.figures.render import render


@pytest.fixture(scope="module")
def frame():
    return sample_run.observations(families=3, each=3)


@pytest.fixture(scope="module")
def evidence(frame):
    return sample_run.evidence(frame)


@pytest.fixture(scope="module")
def specs(evidence, frame):
    drawable, _ = figures_for(evidence, frame)
    return {s.name.split(".")[1]: s for s in drawable if s.study == "last-block-gain"}


def drawn(spec):
    with style.styled():
        return spec.draw(spec.table)


def test_all_figures_of_the_study_can_be_drawn(specs):
    assert next(iter(specs)) == "forest", "verdicts over claims are the first figure"
    assert set(specs) == {
        "forest",
        "gain-histogram",
        "entropy-gain",
        "gain-by-register",
        "gain-means",
        "norm-kinds",
        "depth-profile",
    }


def test_gain_is_the_ratio_of_the_last_two_norms(specs, frame):
    table = specs["gain-histogram"].table
    of_claim = frame[frame["control"].isna() & (frame["quantity"] == "value")]
    expected = of_claim.set_index(["model", "prompt"])["value"]
    measured = table.set_index(["model", "prompt"])["g"]
    assert len(measured) == 4 * 5 * 3 * 3
    np.testing.assert_allclose(np.log(measured), expected.loc[measured.index], rtol=1e-9)


def test_histogram_bars_count_the_prompts(specs):
    spec = specs["gain-histogram"]
    for axis, (_, part) in zip(
        drawn(spec).axes, spec.table.groupby("model", sort=False), strict=True
    ):
        heights = [patch.get_height() for patch in axis.patches]
        assert sum(heights) == len(part)
        lines = {
            round(line.get_xdata()[0], 6) for line in axis.lines if len(set(line.get_xdata())) == 1
        }
        assert {1.0, 0.8} <= lines
        mean = part.groupby("family")["g"].mean().mean()
        assert round(mean, 6) in lines


def test_scatter_marks_are_the_prompts_and_family_means(specs):
    spec = specs["entropy-gain"]
    axis = drawn(spec).axes[0]
    part = spec.table[spec.table["model"] == "gpt2-medium"]
    points = np.concatenate([c.get_offsets() for c in axis.collections if len(c.get_offsets())])
    expected = part[["entropy", "g"]].to_numpy()
    means = part.groupby("family")[["entropy", "g"]].mean().to_numpy()
    for row in (*expected, *means):
        assert np.isclose(points, row).all(axis=1).any()


def test_boxes_hold_the_quartiles(specs):
    spec = specs["gain-by-register"]
    axis = drawn(spec).axes[0]
    part = spec.table[spec.table["model"] == "gpt2-medium"]
    first = part.loc[part["register"] == "factual", "g"]
    box = axis.patches[0].get_path().vertices[:, 1]
    assert box.min() == pytest.approx(first.quantile(0.25))
    assert box.max() == pytest.approx(first.quantile(0.75))


def test_bars_are_the_means_with_family_intervals_and_references(specs):
    spec = specs["gain-means"]
    table = spec.table.set_index("model")
    gains = specs["gain-histogram"].table
    means = gains[gains["model"] == "smollm2-135m"].groupby("family")["g"].mean()
    low, high = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    row = table.loc["smollm2-135m"]
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((means.mean(), low, high))
    assert table.loc["google/gemma-7b", "mean"] == 2.31
    assert table.loc["gpt2-medium", "reported"] == 1.163
    assert np.isnan(table.loc["google/gemma-7b", "low"])
    axis = drawn(spec).axes[0]
    assert [p.get_height() for p in axis.patches] == pytest.approx(spec.table["mean"].tolist())
    hatches = {p.get_hatch() for p in axis.patches}
    assert len(hatches) == 2, "kinds of norm must differ without colour"


def test_sorted_bars_start_at_one(specs):
    spec = specs["norm-kinds"]
    bars = drawn(spec).axes[0].patches
    assert spec.table["mean"].is_monotonic_increasing
    ends = [bar.get_x() + bar.get_width() for bar in bars]
    assert ends == pytest.approx(spec.table["mean"].tolist())
    assert {bar.get_x() for bar in bars} == {1.0}


def test_depth_profile_is_the_log_growth_of_every_block(specs, frame):
    table = specs["depth-profile"].table
    part = table[(table["model"] == "gemma-3-270m") & (table["whose"] == "model")]
    assert part["block"].tolist() == list(range(1, 18))
    values = frame[
        (frame["model"] == "gemma-3-270m")
        & frame["control"].isna()
        & (frame["quantity"] == "residual_norm")
        & frame["layer"].isin([8, 9])
    ]
    wide = values.pivot(index=["family", "prompt"], columns="layer", values="value")
    growth = np.log(wide[9] / wide[8]).groupby(level="family").mean()
    low, high = stats.ttest_1samp(growth, 0).confidence_interval(0.95)
    row = part[part["block"] == 9].iloc[0]
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((growth.mean(), low, high))
    controls = table[(table["model"] == "gemma-3-270m") & (table["whose"] == "control")]
    assert (controls["low"] < controls["mean"]).all()
    assert controls["mean"].iloc[-1] == pytest.approx(0.05, abs=0.01)


def test_missing_data_leave_a_figure_out_with_a_reason(evidence, frame):
    only = frame[(frame["quantity"] != "next_token_entropy") & frame["control"].isna()]
    measured, omitted = figures_for(evidence, only.assign(register=None))
    names = {spec.name.split(".")[1] for spec in measured}
    assert "depth-profile" in names
    assert {(o.name.split(".")[1], o.reason) for o in omitted if o.study == "last-block-gain"} == {
        ("entropy-gain", "no next_token_entropy of the models was measured"),
        ("gain-by-register", "these prompts have no registers"),
    }


def test_only_models_that_were_tried_in_the_study_are_drawn(evidence, frame):
    results = tuple(
        replace(r, outcome=Outcome.SKIPPED) if r.model == "gpt2-large" else r
        for r in evidence.results
    )
    measured, _ = figures_for(replace(evidence, results=results), frame)
    assert all("gpt2-large" not in set(spec.table.get("model", ())) or "norm-kinds" in spec.name
               or "gain-means" in spec.name for spec in measured)  # fmt: skip
    means = next(s for s in measured if "gain-means" in s.name).table.set_index("model")
    assert means.loc["gpt2-large", "origin"] == "published"
    assert means.loc["gpt2-large", "mean"] == 1.014


def test_footer_names_models_prompts_arm_and_size(specs):
    assert specs["gain-means"].footer == (
        "gpt2-medium, gpt2-large, smollm2-135m, gemma-3-270m · prompts five-registers "
        "(n = 45 prompts in 15 families) · arm no-bos · float32"
    )


def test_a_figure_is_drawn_again_only_when_its_data_changed(tmp_path, evidence, frame, specs):
    chosen = [specs["gain-means"], specs["depth-profile"]]
    first = render(chosen, tmp_path, "2026-11-22")
    times = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.*g")}
    assert len(times) == 4
    again = render(chosen, tmp_path, "2026-11-23")
    assert [f.redrawn for f in (*first, *again)] == [True, True, False, False]
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.*g")} == times
    assert again[0].footer.endswith("data of 2026-11-22")

    # The norms of one prompt move by one part in a thousand.
    moved = frame.copy()
    last = moved["quantity"].eq("residual_norm") & moved["layer"].eq(17)
    place = moved.index[last & moved["model"].eq("gemma-3-270m") & moved["control"].isna()][0]
    moved.loc[place, "value"] *= 1.001
    now = {s.name: s for s in figures_for(evidence, moved)[0]}
    changed = render([now[s.name] for s in chosen], tmp_path, "2026-11-23")
    assert [f.redrawn for f in changed] == [True, True]
    assert changed[0].footer.endswith("data of 2026-11-23")


def test_lost_and_foreign_files(tmp_path, specs):
    chosen = [specs["gain-means"]]
    render(chosen, tmp_path, "2026-11-22")
    (tmp_path / f"{chosen[0].name}.svg").unlink()
    assert render(chosen, tmp_path, "2026-11-22")[0].redrawn
    (tmp_path / "index.json").write_text("{")
    assert render(chosen, tmp_path, "2026-11-22")[0].redrawn
    (tmp_path / "notes.png").write_bytes(b"mine")
    assert render([], tmp_path, "2026-11-22") == ()
    assert {p.name for p in tmp_path.iterdir()} == {"index.json", "notes.png"}
    assert json.loads((tmp_path / "index.json").read_text())["figures"] == {}


def test_inline_drops_what_is_not_drawing(tmp_path):
    (tmp_path / "x.svg").write_text(
        """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1" onload="bad()" width="9">
        <script>bad()</script><style>* {display: none}</style>
        <a href="http://e.x"><text>gone</text></a>
        <image href="http://e.x/i.png" width="1"/>
        <g id="unused"><path id="p" d="M0.123456 1" style="fill: #1b1f24" onclick="bad()"/></g>
        <use href="#p" x="1" style="fill: url(http://e.x)"/>
        <text style="font: 10px 'A', 'B'">a &lt;b></text>
        </svg>"""
    )
    shown = inline(tmp_path / "x.svg", "f-", "a label")
    for gone in ("script", "display", "http", "bad", "gone", "unused", "onload"):
        assert gone not in shown
    assert 'id="f-p"' in shown
    assert 'href="#f-p"' in shown
    assert 'd="M0.123 1"' in shown
    assert "fill: var(--ink)" in shown
    assert "font: 10px var(--sans)" in shown
    assert "a &lt;b&gt;" in shown
    assert 'aria-label="a label"' in shown


def test_references_are_the_reported_values():
    measured = {r.model: (r.value, r.norm, r.origin) for r in gain_references()}
    assert measured["EleutherAI/pythia-6.9b"] == (0.80, "LayerNorm", "published")
    assert measured["gpt2-xl"] == (1.019, "LayerNorm", "upstream")
    assert measured["google/gemma-7b"] == (2.31, "RMSNorm", "published")
    assert len(measured) == 8


@pytest.mark.parametrize(
    ("low", "high", "value", "expected"),
    [
        (0.02, None, 0.05, 0.03),
        (None, -0.02, 0.05, -0.07),
        (-1.0, 3.0, 0.0, 1.0),
        (-1.0, 3.0, 2.5, 0.5),
        (-1.0, 3.0, 4.0, -1.0),
        (None, None, 4.0, None),
    ],
)
def test_a_forest_measures_from_the_nearest_bound(low, high, value, expected):
    measured = depth(value, Region(low, high))
    assert measured == (None if expected is None else pytest.approx(expected))


def test_a_forest_has_a_row_for_each_verdict_on_the_side_that_it_is_on(specs, evidence):
    table = specs["forest"].table
    decided = [
        r for r in evidence.results
        if r.study == "last-block-gain" and r.verdict is not None and r.estimate is not None
    ]  # fmt: skip
    assert len(table) == len(decided)
    confirmed, refuted = (table[table["state"] == s] for s in ("confirmed", "refuted"))
    assert (confirmed["low"] > 0).all()
    assert (refuted["high"] < 0).all()
    assert len(refuted) > 0


def test_registers_keep_their_colours_whichever_are_shown():
    whole = style.register_looks(style.REGISTERS)
    assert len(set(whole.values())) == len(style.REGISTERS)
    for shown in (["nonsense"], ["novel", "cliche"], ["dialogue", "cliche", "factual"]):
        looks = style.register_looks(shown)
        assert list(looks) == shown
        assert all(looks[name] == whole[name] for name in shown if name in whole)
    assert style.register_looks(["dialogue"])["dialogue"] not in whole.values()


def test_captions_travel_with_the_files(tmp_path, specs):
    spec = specs["gain-means"]
    render([spec], tmp_path, "2026-11-22")
    drawing = (tmp_path / f"{spec.name}.svg").read_text("utf-8")
    # In the metadata whole, and printed in lines.
    assert spec.caption in html.unescape(drawing)
    assert drawing.count(" ".join(spec.caption.split()[:6])) == 2
    with Image.open(tmp_path / f"{spec.name}.png") as picture:
        assert picture.info["Title"] == spec.title
        assert picture.info["Description"].startswith(spec.caption)
