"""The reports of a synthetic run: what is on the page, and what may never be."""

import base64
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from refutable.errors import EvidenceError
from refutable.records import Counterexample, Outcome, Verdict
from refutable.report import build, tables, text
from refutable.report.json import read, write
from refutable.report.markdown import LIMIT
from refutable.report.observations import write_observations

GOLDEN = Path(__file__).parents[1] / "golden"
SAMPLE = runpy.run_path(str(GOLDEN / "sample_run.py"))

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)> ‮desrever‬ \x07 `|` $x$ {{ 7*7 }}'
POLICY = "\"default-src 'none'\""
TOKEN = "Q" * 10_240


def save(folder, evidence, frame):
    write(evidence, folder / "evidence.json")
    write_observations(frame, folder / "observations.parquet")
    return folder / "evidence.json"


@pytest.fixture(scope="module")
def frame():
    return SAMPLE["observations"](families=2, each=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory, frame):
    """A built report."""
    folder = tmp_path_factory.mktemp("run")
    build(save(folder, SAMPLE["evidence"](frame), frame))
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, frame):
    """A built report of a run whose model name, prompts and reasons attack the page."""
    folder = tmp_path_factory.mktemp("hostile")
    evidence = SAMPLE["evidence"](frame)

    def rename(name):
        return EVIL if name == "gpt2-medium" else name

    results = tuple(
        replace(
            r,
            model=rename(r.model),
            models=tuple(map(rename, r.models)),
            reason=EVIL,
            command=f"refutable verify --model '{EVIL}'",
            counterexample=r.counterexample and Counterexample(EVIL + TOKEN, -1.0, EVIL),
        )
        for r in evidence.results
    )
    models = tuple(
        replace(m, id=rename(m.id), facts=m.facts and replace(m.facts, id=rename(m.id)))
        for m in evidence.models
    )
    claims = (replace(evidence.claims[0], says=EVIL, refuted_if=TOKEN), *evidence.claims[1:])
    evil = frame.assign(
        model=frame["model"].map(rename),
        text=EVIL + TOKEN,
        family=frame["family"].str.replace("factual", "</script><b>factual"),
    )
    build(
        save(folder, replace(evidence, results=results, models=models, claims=claims), evil),
    )
    return folder


class Page(HTMLParser):
    """Elements, attributes and the text outside of style and script."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.texts, self.data = [], [], [], []
        self._open = []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v) for k, v in attrs]
        self._open.append(tag)
        if tag == "data":
            self.data.append(float(dict(attrs)["value"]))

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"style", "script"} & set(self._open):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())


def page_of(folder):
    return Page((folder / "report.html").read_text("utf-8"))


def test_build_leaves_every_file(run):
    names = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    assert {"report.html", "report.md", "observations.csv", "figures/index.json"} <= names
    figures = {n for n in names if n.endswith((".png", ".svg"))}
    assert len(figures) == 12
    assert not [n for n in names if Path(n).name.startswith(".")]


def test_every_estimate_of_the_evidence_is_on_the_page_exactly(run):
    page = page_of(run)
    evidence = read(run / "evidence.json")
    estimates = [r.estimate for r in evidence.results if r.estimate is not None]
    assert len(estimates) == 9
    for found in estimates:
        assert found.value in page.data
    controls = [r.control for r in evidence.results if r.control is not None]
    for control in controls:
        assert control.contrast.value in page.data
        assert control.estimate.value in page.data


def test_matrix_cells_show_verdict_estimate_and_reading(run):
    evidence = read(run / "evidence.json")
    source = (run / "report.html").read_text()
    matrix = source[source.index('<table class="matrix">') : source.index("claim by claim")]
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
    assert matrix[: matrix.index("</section>")].count("≠ recorded") == moved > 0


def test_each_cell_opens_to_all_that_is_behind_it(run):
    source = (run / "report.html").read_text()
    evidence = read(run / "evidence.json")
    result = next(r for r in evidence.results if r.model == "gemma-3-270m" and r.control)
    start = source.index(f'<details id="{tables.anchor(result)}"')
    detail = Page(source[start : source.index("</details>", start)]).text
    assert detail.count("Rerun exactly this cell") == 1
    for expected in (
        "The last block of an RMSNorm decoder expands the residual stream.",
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


def test_strip_has_every_observation_of_the_claim(run, frame):
    source = (run / "report.html").read_text()
    own = frame[(frame["quantity"] == "value") & frame["control"].isna()]
    clouds = re.findall(r'class="pt" d="([^"]*)"', source)
    # Universal claims have no rows of their own in this run; four gain cells have.
    assert sorted(cloud.count("h0") for cloud in clouds) == sorted(own.groupby("model").size())


def test_links_inside_the_page_arrive(run):
    page = page_of(run)
    ids = [v for _, k, v in page.attributes if k == "id"]
    assert len(ids) == len(set(ids))
    targets = {v[1:] for _, k, v in page.attributes if k == "href" and v.startswith("#")}
    assert targets - set(ids) == set()
    assert len(targets) > 20


def test_page_asks_for_nothing_from_outside(run):
    page = page_of(run)
    for tag, name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            assert value.startswith(("#", "data:")), (tag, name, value)
        assert not name.startswith("on"), (tag, name)
    assert {"link", "script"} & set(page.tags) == {"link", "script"}
    source = (run / "report.html").read_text()
    assert "http://" not in source
    assert "https://" not in source
    assert "@import" not in source
    assert "default-src 'none'" in source


def test_sizes(run, hostile):
    for folder in (run, hostile):
        assert (folder / "report.html").stat().st_size < 3_000_000
        assert (folder / "report.md").stat().st_size <= LIMIT


def test_a_page_that_grows_too_large_leaves_out_the_observations(monkeypatch, tmp_path, frame):
    from refutable.report import html

    source = save(tmp_path, SAMPLE["evidence"](frame), frame)
    build(source, figures=False)
    whole = (tmp_path / "report.html").read_text("utf-8")
    assert "because the page would pass" not in whole
    monkeypatch.setattr(html, "LIMIT", len(whole) - 1)
    build(source, figures=False)
    short = page_of(tmp_path)
    assert "because the page would pass 3 MB" in short.text
    assert "Observations by family" not in short.text
    assert short.text.count("Rerun exactly this cell") == 9


def test_a_figure_of_very_many_marks_becomes_an_image(monkeypatch, tmp_path, frame):
    from refutable.report import html

    monkeypatch.setattr(html, "FIGURE_LIMIT", 30_000)
    build(save(tmp_path, SAMPLE["evidence"](frame), frame))
    page = page_of(tmp_path)
    images = [v for t, k, v in page.attributes if (t, k) == ("img", "src")]
    drawings = [v for t, k, v in page.attributes if (t, k, v) == ("svg", "class", "figure")]
    assert len(images) + len(drawings) == 6
    assert images
    assert drawings
    for image in images:
        content = base64.b64decode(image.removeprefix("data:image/png;base64,"))
        assert content.startswith(b"\x89PNG")
    whole = [len(p.read_bytes()) for p in (tmp_path / "figures").glob("*.png")]
    assert max(map(len, images)) < max(whole)


def test_hostile_texts_stay_text(hostile):
    page = page_of(hostile)
    assert page.tags.count("script") == 1
    assert [v for t, k, v in page.attributes if t == "img" and k == "src" and v == "x"] == []
    assert "</script><b>factual-0" in page.text
    assert not [n for _, n, _ in page.attributes if n.startswith("on")]
    assert '<script>alert("x")</script><img src=x onerror=alert(1)>' in page.text
    assert "{{ 7*7 }}" in page.text
    source = (hostile / "report.html").read_text("utf-8")
    for character in ("‮", "‬", "\x07"):
        assert character not in source
    assert "‹U+202E›desrever‹U+202C›" in page.text
    assert "Q" * 1000 not in source
    assert "10,240 characters in all" in page.text


def test_hostile_texts_stay_text_in_markdown(hostile):
    shown = (hostile / "report.md").read_text("utf-8")
    assert "<script" not in shown
    assert "<img" not in shown
    assert "‮" not in shown
    assert "&lt;script&gt;" in shown
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert widths == {3, 7}, "a bar in a name must not add a column"


def test_markdown_is_cut_with_a_count(tmp_path, frame):
    evidence = SAMPLE["evidence"](frame)
    many = [r for r in evidence.results if r.counterexample is not None]
    results = tuple(replace(r, model=f"{r.model}-{k}") for k in range(200) for r in many)
    write(replace(evidence, results=results), tmp_path / "evidence.json")
    build(tmp_path / "evidence.json", figures=False)
    shown = (tmp_path / "report.md").read_text("utf-8")
    assert len(shown.encode()) <= LIMIT
    found = re.search(r"(\d+) more lines are left out", shown)
    assert found is not None
    assert int(found.group(1)) > 100


def test_without_observations_the_page_says_so(tmp_path, frame):
    write(SAMPLE["evidence"](frame), tmp_path / "evidence.json")
    written = build(tmp_path / "evidence.json", tmp_path / "out")
    assert sorted(p.name for p in written) == ["report.html", "report.md"]
    assert "observations were not beside the evidence" in page_of(tmp_path / "out").text


def test_truncated_evidence_is_one_line(tmp_path):
    (tmp_path / "evidence.json").write_text('{"schema": "refutable.evi')
    with pytest.raises(EvidenceError, match="truncated"):
        build(tmp_path / "evidence.json")
    assert [p.name for p in tmp_path.iterdir()] == ["evidence.json"]


def test_lost_verdicts_count_as_changed(frame):
    evidence = SAMPLE["evidence"](frame)
    known = next(r for r in evidence.results if r.expected is Verdict.REFUTED)
    lost = replace(known, verdict=None, outcome=Outcome.ERROR)
    assert tables.changed([known, lost]) == (lost,)
    assert tables.against_baseline(lost) == "refuted recorded, none made"


def test_rows_follow_the_studys_numbering(frame):
    evidence = SAMPLE["evidence"](frame)
    first = evidence.claims[0]
    refs = ("G10", "G2", "G1a", "G1")
    renamed = tuple(replace(first, id=f"gain.c{k}", ref=ref) for k, ref in enumerate(refs))
    matrix = tables.matrices(replace(evidence, claims=renamed, results=()))[0]
    assert [row.claim.ref for row in matrix.rows] == ["G1", "G1a", "G2", "G10"]


def test_reports_need_neither_torch_nor_pytest(run, tmp_path):
    shutil.copy(run / "evidence.json", tmp_path)
    shutil.copy(run / "observations.parquet", tmp_path)
    program = """
        import sys
        class Blocker:
            blocked = ("torch", "transformers", "pytest", "hypothesis", "xarray", "statsmodels")
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
    assert done.stdout.strip() == "15"


@pytest.mark.parametrize("which", ["run", "hostile"])
def test_chromium_reports_no_error_and_no_request(which, request, tmp_path):
    folder = request.getfixturevalue(which)
    dom, complaints = browse(folder / "report.html", tmp_path)
    assert "What was claimed, and what holds" in dom
    assert complaints == []


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("<script>null.x</script>", "CONSOLE"),
        ("<img src='http://example.com/x.png'>", "requested http://example.com/x.png"),
        (
            f"<meta http-equiv=Content-Security-Policy content={POLICY}><script>1</script>",
            "CONSOLE",
        ),
    ],
)
def test_chromium_would_have_reported_it(fault, complaint, tmp_path):
    (tmp_path / "page.html").write_text(f"<!DOCTYPE html><title>t</title>{fault}")
    _, complaints = browse(tmp_path / "page.html", tmp_path / "profile")
    assert [line for line in complaints if complaint in line]


def test_chromium_opens_the_cell_that_a_link_names(run, tmp_path):
    anchor = tables.anchor(next(r for r in read(run / "evidence.json").results if r.control))
    dom, _ = browse(run / "report.html", tmp_path, fragment=anchor)
    opened = re.findall(r'<details id="([^"]*)"[^>]*\sopen', dom)
    assert opened == [anchor]


def browse(path, profile, fragment=""):
    """Load a file in headless Chromium; return its DOM after scripts, and errors and requests."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    options = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --enable-logging=stderr "
        "--virtual-time-budget=2000 --dump-dom"
    )
    profile.mkdir(exist_ok=True)
    # A browser without a way out: whatever it asks for fails, and its log of the net tells.
    own = ("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}",
           f"--log-net-log={profile / 'net.json'}",
           path.as_uri() + (f"#{fragment}" if fragment else ""))  # fmt: skip
    done = subprocess.run(
        [browser, *options.split(), *own],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=os.environ | {"LANG": "C.UTF-8"},
    )
    if not done.stdout:
        pytest.skip(f"Chromium does not start here: {done.stderr.strip()[-200:]}")
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, errors + requests(profile / "net.json")


def requests(log):
    """What the page itself asked the net for; the browser's own errands have no origin."""
    # One event a line, whether or not the browser had the time to close the list.
    lines = [
        line.rstrip().rstrip(",") for line in log.read_text().splitlines() if '"initiator"' in line
    ]
    found = [json.loads(line.removesuffix("]}"))["params"] for line in lines]
    return [f"requested {p['url']}" for p in found if p["initiator"] != "not an origin"]
