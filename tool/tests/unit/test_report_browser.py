"""The page in headless Chromium: no error, no request, and links that open their cell."""

from __future__ import annotations

import re

import pytest
from support.pages import browse, printed

from refutable.evidence.json import read
from refutable.report import tables

POLICY = "\"default-src 'none'\""


@pytest.mark.parametrize("which", ["sample_report", "hostile_report"])
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


def test_chromium_opens_the_cell_that_a_link_names(sample_report, tmp_path):
    anchor = tables.anchor(
        next(r for r in read(sample_report / "evidence.json").results if r.control)
    )
    dom, _ = browse(sample_report / "report.html", tmp_path, fragment=anchor)
    opened = re.findall(r"<details([^>]*)\sopen", dom)
    # The cell, and what it lies in: its claim and its study.
    assert [re.search(r'id="([^"]*)"', tag)[1].split("-")[0] for tag in opened] == [
        "study",
        "claim",
        "r",
    ]
    assert f'id="{anchor}"' in opened[-1]


def test_chromium_filters_by_a_link_that_can_be_shared(sample_report, tmp_path):
    evidence = read(sample_report / "evidence.json")
    dom, complaints = browse(
        sample_report / "report.html", tmp_path, fragment="?state=refuted&q=norm"
    )
    assert complaints == []
    cards = re.findall(r'<details class="claim card" id="[^"]*"([^>]*)>', dom)
    kept = {re.search(r'data-claim="([^"]*)"', card)[1] for card in cards if "hidden" not in card}
    said = {c.id: f"{c.id} {c.statement}" for c in evidence.claims}
    expected = {
        r.claim
        for r in evidence.results
        if tables.state(r) == "refuted" and "norm" in said[r.claim].lower()
    }
    assert kept == expected
    assert 0 < len(kept) < len(cards)
    assert f"{len(kept)} of {len(cards)} claims" in dom
    marks = dom[dom.index('<section id="overview"') : dom.index('<section class="study"')]
    bright = {a for a, kind in re.findall(r'<a href="#(r-[^"]*)" class="([^"]*)"', marks)
              if "off" not in kind.split()}  # fmt: skip
    assert bright == {
        tables.anchor(r)
        for r in evidence.results
        if tables.state(r) == "refuted" and r.claim in kept
    }


def test_chromium_sorts_the_claims(sample_report, tmp_path):
    dom, _ = browse(sample_report / "report.html", tmp_path, fragment="?order=id")
    order = re.findall(r'<details class="claim card"[^>]*data-claim="(gain[^"]*)"', dom)
    assert order == sorted(order)
    assert len(order) == 3


@pytest.mark.slow
def test_paper_shows_the_folded_reasons_and_begins_on_its_first_page(sample_report, tmp_path):
    text = printed(sample_report / "report.html", tmp_path)
    pages = text.split("\f")
    assert "What was claimed, and what holds" in pages[0]
    assert "last-block-gain" in pages[0]
    # Folded on a screen, read on paper; links and buttons are for screens.
    assert "Refuted if" in text
    assert text.count("Instrument checks of") >= 8
    assert "↑ overview" not in text
