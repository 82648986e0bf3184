"""Numbers of the committed baseline and of the documents are those of the committed report.

A table that begins below ``<!-- numbers: gallery -->`` holds estimates of the example report,
one below ``<!-- numbers: baseline -->`` those of the baseline, and ``smollm2-135m`` stands for the
run on that model whose evidence is committed: every ``value [low, high]`` must be one. Columns that
the remark names after ``without`` come from other runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from refutable.evidence import baseline
from refutable.evidence import json as evidence_json
from refutable.evidence.baseline import cell_of
from refutable.evidence.drift import drift, record_of

ROOT = Path(__file__).parents[3]
BASELINE = ROOT / "reports" / "baseline.json"
GALLERY = ROOT / "reports" / "gallery" / "evidence.json"
NUMBER = r"[+-]?\d*\.\d+"
TRIPLE = re.compile(rf"({NUMBER})\*{{0,2}} \[({NUMBER}), ({NUMBER})\]")
SOURCES = {
    "gallery": GALLERY,
    "baseline": BASELINE,
    "smollm2-135m": ROOT / "reports" / "smollm2-135m" / "evidence.json",
}
NAMES = "|".join(SOURCES)
REMARK = re.compile(rf"<!-- numbers: ((?:{NAMES})(?: and (?:{NAMES}))*)(?: without (.*?))? -->")
# A figure that was rounded twice is off by a little more than half of its last digit.
HALF = 0.6


def estimates(measured: Any) -> Iterator[tuple[float, float, float]]:
    """Go through all intervals of an evidence file: verdicts, parts, controls, replications."""
    if isinstance(measured, dict):
        numbers = [measured.get(name) for name in ("value", "low", "high")]
        if all(isinstance(x, int | float) for x in numbers):
            yield tuple(numbers)  # type: ignore[misc]
        for item in measured.values():
            yield from estimates(item)
    elif isinstance(measured, list):
        for item in measured:
            yield from estimates(item)


def shows(text: str, value: float) -> bool:
    """Whether a figure is a number, rounded to the digits it has."""
    return abs(float(text) - value) <= HALF * 10.0 ** -len(text.rpartition(".")[2])


def tables(page: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Lines and cells of the tables below a remark, without the columns it leaves out."""
    lines = page.splitlines()
    for start, line in enumerate(lines):
        remark = REMARK.fullmatch(line.strip())
        if remark is None or remark[1] != source:
            continue
        begin = start + 1 + (not lines[start + 1].strip())
        assert lines[begin].startswith("|"), f"no table below line {start + 1}"
        head = cells(lines[begin])
        left_out = {i for i, name in enumerate(head) if remark[2] and remark[2] in name}
        assert bool(left_out) == bool(remark[2]), f"no column {remark[2]!r} in {head}"
        for place in range(begin + 2, len(lines)):
            if not lines[place].startswith("|"):
                break
            row = cells(lines[place])
            yield place + 1, [cell for i, cell in enumerate(row) if i not in left_out]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@pytest.mark.parametrize(
    ("document", "source", "fewest"),
    [
        ("README.md", "gallery", 3),
        ("docs/studies/norm-ablation.md", "gallery", 20),
        ("docs/studies/norm-ablation.md", "baseline", 25),
        ("docs/studies/last-block-gain.md", "baseline", 10),
        ("docs/studies/last-block-gain.md", "gallery and smollm2-135m", 12),
    ],
)
def test_documented_numbers_are_those_of_a_run(document: str, source: str, fewest: int) -> None:
    paths = [SOURCES[name] for name in source.split(" and ")]
    known = [one for path in paths for one in estimates(json.loads(path.read_text("utf-8")))]
    wrong, right = [], 0
    for line, row in tables((ROOT / document).read_text("utf-8"), source):
        for match in TRIPLE.finditer(" | ".join(row)):
            if any(all(map(shows, match.groups(), one)) for one in known):
                right += 1
            else:
                wrong.append(f"{document}:{line}: {match[0]}")
    assert wrong == []
    assert right >= fewest


def verdicts(source: Path) -> Iterator[tuple[tuple[float, float, float], str]]:
    """Intervals of the cells of an evidence file or a baseline, each with its verdict."""
    content = json.loads(source.read_text("utf-8"))
    for one in content.get("results", content.get("verdicts", [])):
        measured = one.get("estimate") or one
        numbers = [measured.get(name) for name in ("value", "low", "high")]
        if one.get("verdict") and all(isinstance(x, int | float) for x in numbers):
            yield tuple(numbers), one["verdict"]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("document", "source"),
    [
        ("README.md", "gallery"),
        ("docs/studies/norm-ablation.md", "gallery"),
        ("docs/studies/norm-ablation.md", "baseline"),
        ("docs/studies/last-block-gain.md", "baseline"),
        ("docs/studies/last-block-gain.md", "gallery and smollm2-135m"),
    ],
)
def test_the_verdict_beside_a_number_is_the_one_it_got(document: str, source: str) -> None:
    known = [one for name in source.split(" and ") for one in verdicts(SOURCES[name])]
    wrong, right = [], 0
    for line, row in tables((ROOT / document).read_text("utf-8"), source):
        text = " | ".join(row)
        said = {verdict for verdict in ("confirmed", "refuted", "inconclusive") if verdict in text}
        for match in TRIPLE.finditer(text):
            got = {verdict for one, verdict in known if all(map(shows, match.groups(), one))}
            # A table without verdicts says none, and a part of a claim has none of its own.
            if said and got:
                right += bool(said & got)
                wrong += [] if said & got else [f"{document}:{line}: {match[0]} is {sorted(got)}"]
    assert wrong == []
    assert right


@pytest.mark.parametrize(
    ("figure", "value", "agrees"),
    [
        ("+.066", 0.0656, True),
        ("0.066", 0.0656, True),
        ("-0.001", -0.0009, True),
        ("+.066", 0.06546, True),  # by way of 0.0655
        ("0.066", 0.0653, False),
        ("0.066", -0.066, False),
        ("1.09", 1.1, False),
    ],
)
def test_a_figure_is_a_number_to_its_last_digit(figure: str, value: float, agrees: bool) -> None:
    assert shows(figure, value) is agrees


@pytest.mark.parametrize(("source", "fewest"), [("gallery", 51), ("smollm2-135m", 17)])
def test_the_baseline_holds_what_the_committed_runs_show(source: str, fewest: int) -> None:
    path = SOURCES[source]
    if json.loads(path.read_text("utf-8"))["schema"] == "refutable.evidence/1":
        pytest.skip("the example report was made before the rules of a verdict changed")
    recorded = baseline.load(BASELINE)
    evidence = evidence_json.read(path)
    kinds = {claim.id: claim.kind for claim in evidence.claims}
    shown = [r for r in evidence.results if r.verdict is not None]
    assert len(shown) >= fewest
    moved = {}
    for result in shown:
        measured, held = record_of(result.verdict, result.estimate), recorded[cell_of(result)]
        left = drift(measured, held, anew=kinds[result.claim] == "training")
        if held.verdict is not measured.verdict or held.n is None or left:
            moved[result.claim, result.model] = left or str(held.verdict)
    assert moved == {}
