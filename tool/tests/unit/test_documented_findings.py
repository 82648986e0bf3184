"""The committed baseline holds the numbers of the committed example report."""

from __future__ import annotations

from pathlib import Path

from refutable.evidence import baseline
from refutable.evidence import json as evidence_json
from refutable.evidence.drift import drift, record_of

ROOT = Path(__file__).parents[3]


def test_the_baseline_holds_what_the_gallery_shows() -> None:
    recorded = baseline.load(ROOT / "reports" / "baseline.json")
    evidence = evidence_json.read(ROOT / "reports" / "gallery" / "evidence.json")
    shown = [r for r in evidence.results if r.verdict is not None]
    assert len(shown) > 50
    moved = {}
    for result in shown:
        found = record_of(result.verdict, result.estimate)
        held = recorded[baseline.cell_of(result)]
        if held.verdict is not found.verdict or held.n is None or drift(found, held):
            moved[result.claim, result.model] = drift(found, held) or str(held.verdict)
    assert moved == {}
