"""The report of a synthetic run: which files there are, and what is on the page."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from golden import sample_run
from support.pages import Page, page_of, save

from refutable.errors import EvidenceError
from refutable.evidence.json import read, write
from refutable.records import Outcome, Verdict
from refutable.report import build, tables, text
from refutable.report.markdown import LIMIT


def test_build_leaves_every_file(sample_report):
    names = {str(p.relative_to(sample_report)) for p in sample_report.rglob("*") if p.is_file()}
    assert {"report.html", "report.md", "observations.csv", "figures/index.json"} <= names
    figures = {n for n in names if n.endswith((".png", ".svg"))}
    assert len(figures) == 14
    assert not [n for n in names if Path(n).name.startswith(".")]


def test_every_estimate_of_the_evidence_is_on_the_page_exactly(sample_report):
    page = page_of(sample_report)
    evidence = read(sample_report / "evidence.json")
    estimates = [r.estimate for r in evidence.results if r.estimate is not None]
    assert len(estimates) == 9
    for measured in estimates:
        assert measured.value in page.data
    controls = [r.control for r in evidence.results if r.control is not None]
    for control in controls:
        assert control.contrast.value in page.data
        assert control.estimate.value in page.data


def test_matrix_cells_show_verdict_estimate_and_reading(sample_report):
    evidence = read(sample_report / "evidence.json")
    source = (sample_report / "report.html").read_text()
    matrix = "".join(re.findall(r'<table class="matrix.*?</table>', source, re.DOTALL))
    claims = {c.id: c for c in evidence.claims}
    shown = [r for r in evidence.results if r.outcome is not Outcome.SKIPPED]
    for result in shown:
        start = matrix.index(f'href="#{tables.anchor(result)}"')
        cell = matrix[start : matrix.index("</td>", start)]
        claim = claims[result.claim]
        assert tables.word(result, claim) in cell
        value, ends = text.interval(result.estimate, claim.region)
        if result.estimate is not None:
            assert f">{value}</data> {ends}" in cell
        if result.control is not None:
            assert f"control {result.control.reading}" in cell
    moved = sum(r.expected is not None and r.expected is not r.verdict for r in shown)
    assert matrix.count("≠ recorded") == moved > 0


def test_the_first_screen_has_a_mark_for_every_cell_and_counts_claims(sample_report):
    evidence = read(sample_report / "evidence.json")
    source = (sample_report / "report.html").read_text()
    first = source[source.index('<section id="overview"') : source.index('<section class="study"')]
    shown = [r for r in evidence.results if r.outcome is not Outcome.SKIPPED]
    marks = re.findall(r'<a href="#(r-[^"]*)" class="([^"]*)"', first)
    assert sorted(anchor for anchor, _ in marks) == sorted(tables.anchor(r) for r in shown)
    states = {tables.anchor(r): tables.state(r) for r in shown}
    moved = {tables.anchor(r) for r in tables.changed(shown)}
    assert moved
    for anchor, kind in marks:
        assert kind.split()[0] == states[anchor]
        assert ("moved" in kind.split()) is (anchor in moved)
    header = Page(source[source.index("<header>") : source.index("</header>")]).text
    measured = {}
    for result in evidence.results:
        measured.setdefault(result.claim, set()).add(tables.state(result))
    both = sum({"confirmed", "refuted"} <= states for states in measured.values())
    refuted = sum("refuted" in states and "confirmed" not in states for states in measured.values())
    assert f"refuted {refuted}" in header
    assert (f"confirmed here, refuted there {both}" in header) is bool(both)
    # Without scripts nothing is hidden but the filter itself.
    assert re.findall(r"<(\w+)[^>]*\shidden[\s>]", source) == ["form"]


def test_an_open_cell_says_why_in_its_line(sample_report):
    source = (sample_report / "report.html").read_text()
    evidence = read(sample_report / "evidence.json")
    result = next(r for r in evidence.results if r.verdict is Verdict.INCONCLUSIVE)
    start = source.index(f'<details id="{tables.anchor(result)}"')
    summary = Page(source[start : source.index("</summary>", start)]).text
    assert "interval crosses -0.02" in summary
    assert "interval crosses -0.02" in (sample_report / "report.md").read_text()


def test_each_cell_opens_to_all_that_is_behind_it(sample_report):
    source = (sample_report / "report.html").read_text()
    evidence = read(sample_report / "evidence.json")
    result = next(r for r in evidence.results if r.model == "gemma-3-270m" and r.control)
    start = source.index(f'<details id="{tables.anchor(result)}"')
    detail = Page(source[start : source.index("</details>", start)]).text
    assert detail.count("Rerun exactly this cell") == 1
    for expected in (
        "the mean log gain over prompt families lies below 0.02",
        "above 0.02 log ratio",
        "no verdict recorded",
        "40 to 260",
        "undetermined",
        "would say: as claimed",
        "EleutherAI/pythia-6.9b 0.8",
        "3 of 3 checks passed",
        "last minus five before",
        "Lowest prompts",
        "Rerun exactly this cell",
        "refutable verify gain.rmsnorm-expands --model gemma-3-270m --prompts five-registers",
        "depth profile",
    ):
        assert expected in detail, expected


def test_strip_has_every_observation_of_the_claim(sample_report, sample_frame):
    source = (sample_report / "report.html").read_text()
    of_claim = sample_frame[(sample_frame["quantity"] == "value") & sample_frame["control"].isna()]
    clouds = re.findall(r'class="pt" d="([^"]*)"', source)
    # Universal claims have no rows of their own in this run; four gain cells have.
    assert sorted(cloud.count("h0") for cloud in clouds) == sorted(of_claim.groupby("model").size())


def test_the_page_is_short_until_something_is_opened(sample_report):
    source = (sample_report / "report.html").read_text()
    studies = re.findall(r'<section class="study">\n<details id="study-[^"]*"( open)?>', source)
    assert studies == ["", ""]
    assert " open>" not in source
    opening = source.index('<details class="claim card"')
    assert opening < source.index('<details id="r-')
    assert re.search(r'<details class="figures"[^>]*>.*<figure', source, re.DOTALL)


def test_links_inside_the_page_arrive(sample_report):
    page = page_of(sample_report)
    ids = [v for _, k, v in page.attributes if k == "id"]
    assert len(ids) == len(set(ids))
    targets = {v[1:] for _, k, v in page.attributes if k == "href" and v.startswith("#")}
    assert targets - set(ids) == set()
    assert len(targets) > 20


def test_page_asks_for_nothing_from_outside(sample_report):
    page = page_of(sample_report)
    for tag, name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            assert value.startswith(("#", "data:")), (tag, name, value)
        assert not name.startswith("on"), (tag, name)
    assert {"link", "script"} & set(page.tags) == {"link", "script"}
    source = (sample_report / "report.html").read_text()
    assert "http://" not in source
    assert "https://" not in source
    assert "@import" not in source
    assert "default-src 'none'" in source


def test_sizes(sample_report, hostile_report):
    for folder in (sample_report, hostile_report):
        assert (folder / "report.html").stat().st_size < 3_000_000
        assert (folder / "report.md").stat().st_size <= LIMIT


@pytest.mark.parametrize("studies", [1, 2])
def test_a_page_that_grows_too_large_leaves_values_and_figures_to_a_page_a_study(
    studies, monkeypatch, tmp_path, sample_frame
):
    from refutable.report import html

    evidence = sample_run.evidence(sample_frame)
    several = dict.fromkeys(claim.study for claim in evidence.claims)
    assert len(several) == 2
    kept = {claim.id for claim in evidence.claims if claim.study in list(several)[:studies]}
    evidence = replace(
        evidence,
        claims=tuple(c for c in evidence.claims if c.id in kept),
        results=tuple(r for r in evidence.results if r.claim in kept),
    )
    source = save(tmp_path, evidence, sample_frame)
    build(source)
    whole = (tmp_path / "report.html").read_text("utf-8")
    assert "because the page would pass" not in whole
    assert not (tmp_path / "report").exists()
    figures = whole.count("<figure")
    strips = whole.count("<h4><bdi>Observations by family")
    cells = whole.count("Rerun exactly this cell")
    assert figures >= 7
    assert strips == 4
    monkeypatch.setattr(html, "LIMIT", len(whole) - 1)
    build(source)
    short = page_of(tmp_path)
    assert short.text.count("Rerun exactly this cell") == cells
    if studies == 1:
        # The largest figure is enough; it lies in the folder of figures.
        assert "too large for this page" in short.text
        assert short.text.count("Observations by family") == strips
        assert not (tmp_path / "report").exists()
        return
    assert "because the page would pass 3 MB" in short.text
    assert "Observations by family" not in short.text
    pages = [path.read_text("utf-8") for path in (tmp_path / "report").iterdir()]
    assert len(pages) == 2
    assert sum(page.count("<h4><bdi>Observations by family") for page in pages) == strips
    assert sum(page.count("Rerun exactly this cell") for page in pages) == cells
    assert sum(page.count("<figure") for page in pages) == figures
    # Every link to a page of a study arrives at a cell of it.
    links = [v for _, k, v in short.attributes if k == "href" and v.startswith("report/")]
    named = [link.split("#") for link in links if "#" in link]
    assert len(named) == strips
    for page, anchor in named:
        assert f'id="{anchor}"' in (tmp_path / page).read_text("utf-8")
    # They go when they are no longer needed.
    monkeypatch.undo()
    build(source)
    assert list((tmp_path / "report").iterdir()) == []


def test_a_figure_of_very_many_marks_becomes_an_image(monkeypatch, tmp_path, sample_frame):
    from refutable.report import views

    monkeypatch.setattr(views, "FIGURE_LIMIT", 30_000)
    build(save(tmp_path, sample_run.evidence(sample_frame), sample_frame))
    page = page_of(tmp_path)
    images = [v for t, k, v in page.attributes if (t, k) == ("img", "src")]
    drawings = [v for t, k, v in page.attributes if (t, k, v) == ("svg", "class", "figure")]
    assert len(images) + len(drawings) == 7
    assert images
    assert drawings
    for image in images:
        content = base64.b64decode(image.removeprefix("data:image/png;base64,"))
        assert content.startswith(b"\x89PNG")
    whole = [len(p.read_bytes()) for p in (tmp_path / "figures").glob("*.png")]
    assert max(map(len, images)) < max(whole)


def test_markdown_is_cut_with_a_count(tmp_path, sample_frame):
    evidence = sample_run.evidence(sample_frame)
    many = [r for r in evidence.results if r.counterexample is not None]
    results = tuple(replace(r, model=f"{r.model}-{k}") for k in range(200) for r in many)
    write(replace(evidence, results=results), tmp_path / "evidence.json")
    build(tmp_path / "evidence.json", figures=False)
    shown = (tmp_path / "report.md").read_text("utf-8")
    assert len(shown.encode()) <= LIMIT
    match = re.search(r"(\d+) more lines are left out", shown)
    assert match is not None
    assert int(match.group(1)) > 100


def test_without_observations_the_page_says_so(tmp_path, sample_frame):
    write(sample_run.evidence(sample_frame), tmp_path / "evidence.json")
    written = build(tmp_path / "evidence.json", tmp_path / "out")
    assert sorted(p.name for p in written) == ["report.html", "report.md"]
    assert "observations were not beside the evidence" in page_of(tmp_path / "out").text


def test_truncated_evidence_is_one_line(tmp_path):
    (tmp_path / "evidence.json").write_text('{"schema": "refutable.evi')
    with pytest.raises(EvidenceError, match="truncated"):
        build(tmp_path / "evidence.json")
    assert [p.name for p in tmp_path.iterdir()] == ["evidence.json"]


def test_lost_verdicts_count_as_changed(sample_frame):
    evidence = sample_run.evidence(sample_frame)
    known = next(r for r in evidence.results if r.expected is Verdict.REFUTED)
    lost = replace(known, verdict=None, outcome=Outcome.ERROR)
    assert tables.changed([known, lost]) == (lost,)
    assert tables.against_baseline(lost) == "refuted recorded, none made"


def test_rows_follow_the_studys_numbering(sample_frame):
    evidence = sample_run.evidence(sample_frame)
    first = evidence.claims[0]
    refs = ("G10", "G2", "G1a", "G1")
    renamed = tuple(replace(first, id=f"gain.c{k}", ref=ref) for k, ref in enumerate(refs))
    matrix = tables.matrices(replace(evidence, claims=renamed, results=()))[0]
    assert [row.claim.ref for row in matrix.rows] == ["G1", "G1a", "G2", "G10"]


def test_reports_need_neither_torch_nor_pytest(sample_report, tmp_path):
    shutil.copy(sample_report / "evidence.json", tmp_path)
    shutil.copy(sample_report / "observations.parquet", tmp_path)
    program = """
        import sys
        class Blocker:
            blocked = ("torch", "transformers", "pytest", "hypothesis", "xarray")
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in self.blocked:
                    raise ImportError(f"{name} must not be imported by a report")
        sys.meta_path.insert(0, Blocker())
        from refutable.report import build
        print(len(build(sys.argv[1])))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "evidence.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "17"


def test_units_are_named_only_where_they_group_something(sample_report, tmp_path):
    evidence = read(sample_report / "evidence.json")
    old = next(r for r in evidence.results if r.control is not None and r.estimate.clusters)
    alone = replace(old.estimate, n=6, clusters=6)
    placebo = replace(old.control, kind="placebo", models=("tiny@placebo",))
    changed = replace(old, estimate=alone, control=placebo)
    models = tuple(replace(m, layout="none", attention="none") for m in evidence.models)
    other = replace(evidence, results=(changed,), models=models)
    write(other, tmp_path / "evidence.json")
    build(tmp_path / "evidence.json")
    source = (tmp_path / "report.html").read_text()
    assert f"in {old.estimate.clusters} families" in (sample_report / "report.html").read_text()
    assert "n = 6" in source
    assert "in 6 families" not in source
    assert "in 6 families" not in (tmp_path / "report.md").read_text()
    # A placebo is another body on the same model: there is no copy to count.
    assert "<h4>Null control: <bdi>placebo</bdi></h4>" in source
    # Weights alone were read: no prompts were packed, no attention was computed.
    assert "prompts none" not in source
    assert "attention by none" not in source


def test_a_model_that_was_not_measured_was_not_measured_live(sample_report, tmp_path):
    evidence = read(sample_report / "evidence.json")
    models = tuple(replace(m, origin="live", error="", checks=()) for m in evidence.models)
    pages = []
    for error in ("", "its folder is empty"):
        gone = tuple(replace(m, error=error) for m in models)
        write(replace(evidence, models=gone), tmp_path / "evidence.json")
        build(tmp_path / "evidence.json")
        source = (tmp_path / "report.html").read_text()
        pages.append(source[source.index('id="models">') : source.index('id="run">')])
    measured, failed = pages
    assert measured.count("live</bdi>") == len(models)
    assert "live</bdi>" not in failed
    assert failed.count("its folder is empty") == len(models)
