"""The page in headless Chromium: no error, no request, and links that open their cell."""

from __future__ import annotations

import re

import pytest
from support.pages import browse

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
    opened = re.findall(r'<details id="([^"]*)"[^>]*\sopen', dom)
    assert opened == [anchor]
