"""The report's section of counterexamples: what is in it, and that cells lead to it and back."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from golden import sample_run
from support.pages import Page, page_of, save

from refutable.records import Counterexample, Evidence, Result, SearchReport
from refutable.report import build, tables

SHOWN = Counterexample(
    "one \\n two",
    -0.123456,
    origin="searched",
    ids=(0, 17, 23),
    tokens=2,
    tokens_before=9,
    how="gradient",
    minimal=True,
    verified=True,
)


def searched(result: Result, number: int) -> Result:
    """Give the results of a universal claim what searches can come to, in turn."""
    if result.counterexample is None:
        return result
    report = SearchReport("default", candidates=1000, scored=9000, worst=replace(SHOWN, value=0.25))
    return (
        replace(result, counterexample=SHOWN, search=report),
        replace(result, counterexample=None, search=replace(report, certificate="at most 1 %")),
        replace(result, counterexample=None, search=SearchReport("default", reason="of weights")),
    )[number % 3]


@pytest.fixture(scope="module")
def evidence(sample_frame: Any) -> Evidence:
    content = sample_run.evidence(sample_frame)
    (one,) = [r for r in content.results if r.counterexample is not None][:1]
    others = [replace(one, model=f"other-{k}", models=(f"other-{k}",)) for k in (1, 2)]
    results = [*(r for r in content.results if r.counterexample is None or r is one), *others]
    made = [searched(r, max(0, others.index(r) + 1) if r in others else 0) for r in results]
    return replace(content, results=tuple(made))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, evidence: Evidence, sample_frame: Any) -> Path:
    folder = tmp_path_factory.mktemp("attacked")
    build(save(folder, evidence, sample_frame), figures=False)
    return folder


def section(page: Page) -> str:
    start = page.text.index("Counterexamples")
    return page.text[start : page.text.index("Models and the instrument")]


def test_a_counterexample_is_told_whole(built: Path) -> None:
    page = page_of(built)
    told = section(page)
    for word in ("one \\n two", "0 17 23", "2 tokens of 9 at first", "searched: gradient"):
        assert word in told
    assert "run alone in float32" in told
    assert SHOWN.value in page.data


def test_a_cell_of_the_matrix_leads_to_its_counterexample_and_back(
    built: Path, evidence: Evidence
) -> None:
    source = (built / "report.html").read_text("utf-8")
    (result,) = [r for r in evidence.results if r.counterexample is not None]
    there, back = f"counterexample-{tables.anchor(result)}", tables.anchor(result)
    matrix = "".join(re.findall(r'<table class="matrix.*?</table>', source, re.DOTALL))
    assert f'href="#{there}"' in matrix
    row = source[source.index(f'id="{there}"') :]
    assert f'href="#{back}"' in row[: row.index("</tr>")]


def test_searches_without_one_say_how_much_was_tried(built: Path) -> None:
    told = section(page_of(built))
    assert "1000 candidates" in told or "1,000 candidates" in told
    assert "9,000 prompts with their beginnings" in told
    assert "at most 1 %" in told
    assert "of weights" in told


def test_a_run_without_universal_claims_has_no_such_section(
    tmp_path: Path, evidence: Evidence, sample_frame: Any
) -> None:
    plain = tuple(replace(r, counterexample=None, search=None) for r in evidence.results)
    build(save(tmp_path, replace(evidence, results=plain), sample_frame), figures=False)
    assert 'id="counterexamples"' not in (tmp_path / "report.html").read_text("utf-8")
