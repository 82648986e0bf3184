"""The page by keyboard, without scripts, at three widths and on paper, in headless Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from golden import sample_run
from support.pages import opened, save

from refutable.evidence.json import read
from refutable.records import Outcome
from refutable.report import build, tables

FOCUSED = """() => {
  const at = document.activeElement;
  return [at.tagName, at.name || at.getAttribute("href") || at.id || at.className];
}"""

HEIGHT = "document.documentElement.scrollHeight"


@pytest.fixture(scope="module")
def several(tmp_path_factory, sample_frame):
    """A run of three studies, folded, the last of them on twelve models: wider than paper."""
    evidence = sample_run.evidence(sample_frame)
    claims, results = list(evidence.claims), list(evidence.results)
    shown = [r for r in results if r.estimate is not None and r.model != tables.SEVERAL]
    for study in ("second", "wide"):
        names = [f"{study}.{claim.id}" for claim in evidence.claims]
        claims += [
            replace(claim, id=name, study=study)
            for claim, name in zip(evidence.claims, names, strict=True)
        ]
        results += [
            replace(result, claim=f"{study}.{result.claim}", model=f"{result.model}-{copy:02d}")
            for result in shown
            for copy in range(12 if study == "wide" else 1)
        ]
    folder = tmp_path_factory.mktemp("several")
    save(folder, replace(evidence, claims=tuple(claims), results=tuple(results)), sample_frame)
    build(folder / "evidence.json", figures=False)
    return folder


def test_the_tabulator_goes_from_the_links_to_the_filters_to_the_marks(several):
    with opened(several / "report.html") as page:
        seen = []
        for _ in range(40):
            page.keyboard.press("Tab")
            seen.append(tuple(page.evaluate(FOCUSED)))
            if str(seen[-1][1]).startswith("#r-"):
                break
    assert seen[0] == ("A", "#overview")
    assert seen[1] == ("A", "#claims")
    kinds = [tag for tag, _ in seen]
    fields = [name for tag, name in seen if tag in ("INPUT", "SELECT", "BUTTON")]
    assert fields[0] == "q"
    assert {"study", "state", "model", "order", "moved", "all"} <= set(fields)
    # Links of the page come before its filters, the marks after both.
    assert kinds.index("INPUT") > kinds.index("A")
    assert seen[-1][1].startswith("#r-")
    assert kinds[kinds.index("INPUT") : -1].count("A") <= 1


def test_enter_on_a_mark_opens_its_cell_and_puts_the_focus_there(several):
    with opened(several / "report.html") as page:
        mark = page.locator(".dots td a").first
        anchor = mark.get_attribute("href")[1:]
        assert not page.locator(f"#{anchor}").is_visible()
        mark.focus()
        page.keyboard.press("Enter")
        page.wait_for_function(f"() => document.getElementById({anchor!r}).open")
        cell = page.locator(f"#{anchor}")
        assert cell.locator("summary").first.is_visible()
        inside = f"() => document.activeElement.closest('details').id == {anchor!r}"
        assert page.evaluate(inside)
        # Enter folds what has the focus, and opens it again.
        page.keyboard.press("Enter")
        assert cell.get_attribute("open") is None
        page.keyboard.press("Enter")
        assert cell.get_attribute("open") is not None
        box = cell.locator("summary").first.bounding_box()
        bar = page.locator(".bar").bounding_box()
        assert bar["y"] + bar["height"] <= box["y"] < 900


def test_a_slash_goes_to_the_search_and_what_is_found_is_unfolded(several):
    with opened(several / "report.html") as page:
        assert page.locator("section.study > details[open]").count() == 0
        page.keyboard.press("/")
        assert page.evaluate(FOCUSED) == ["INPUT", "q"]
        page.keyboard.type("second.")
        shown = page.locator("details.claim:visible")
        assert 0 < shown.count() < page.locator("details.claim").count()
        assert all("second." in text for text in shown.locator("h4 code").all_inner_texts())
        assert page.locator("section.study:visible").count() == 1
        # A slash that is typed into the search stays there.
        page.keyboard.type("/")
        assert page.locator("input[name=q]").input_value() == "second./"
        page.keyboard.press("Control+A")
        page.keyboard.press("Delete")
        assert page.locator("section.study > details[open]").count() == 0
        assert (
            page.locator("section.study:visible").count() == page.locator("section.study").count()
        )


def test_every_study_opens_and_folds_at_a_press(several):
    with opened(several / "report.html") as page:
        button = page.locator("button[name=all]")
        button.focus()
        page.keyboard.press("Enter")
        every = page.locator("section.study").count()
        assert page.locator("section.study > details[open]").count() == every > 2
        assert button.inner_text() == "Fold every study"
        page.keyboard.press("Space")
        assert page.locator("section.study > details[open]").count() == 0


def test_without_scripts_everything_opens_and_no_filter_is_shown(several):
    evidence = read(several / "evidence.json")
    result = next(r for r in evidence.results if r.outcome is not Outcome.SKIPPED)
    anchor = tables.anchor(result)
    with opened(several / "report.html", scripts=False) as page:
        assert not page.locator("form.filters").is_visible()
        short = page.evaluate(HEIGHT)
        for summary in ("section.study summary", f"details.claim:has(#{anchor}) > summary"):
            page.locator(summary).first.press("Enter")
        cell = page.locator(f"#{anchor}")
        cell.locator("summary").first.press("Enter")
        assert cell.locator("text=Estimate against the predicted region").is_visible()
        # Folded, the page is four screens long, most of it the marks of three dozen models.
        assert short < 3500
        assert page.evaluate(HEIGHT) > short + 500


@pytest.mark.parametrize("width", [1400, 800, 400])
def test_nothing_is_wider_than_the_screen(several, width):
    with opened(several / "report.html", width=width) as page:
        page.locator("button[name=all]").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Empty columns take no room where there are many: cells stand beside their claim.
        assert page.locator("table.sparse .empty:visible").count() == 0
        if width == 400:
            table = page.locator("table.matrix").last
            assert table.evaluate("t => t.scrollWidth <= t.parentElement.clientWidth")


@pytest.mark.slow
def test_the_widest_matrix_fits_the_paper(several, tmp_path):
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("no pdftotext is installed")
    evidence = read(several / "evidence.json")
    matrix = next(m for m in tables.matrices(evidence) if m.study == "wide")
    assert len(matrix.columns) >= 24
    with opened(several / "report.html") as page:
        page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    subprocess.run([reader, "-bbox", tmp_path / "page.pdf", tmp_path / "boxes"], check=True)
    text = (tmp_path / "boxes").read_text("utf-8")
    words = []
    for sheet in text.split("<page ")[1:]:
        wide = float(re.search(r'width="([\d.]+)"', sheet)[1])
        for low, high, word in re.findall(
            r'<word xMin="([\d.-]+)" yMin="[\d.-]+" xMax="([\d.-]+)"[^>]*>([^<]*)', sheet
        ):
            words.append(word)
            assert 0 <= float(low) < float(high) <= wide, word
    names = {column.model for column in matrix.columns}
    assert names <= {word.strip("·") for word in words}
