"""Recompute every estimate, reading and verdict of a run from its two files, without the package.

    python tool/tests/independent/recompute.py reports/latest

Reads ``evidence.json`` and ``observations.parquet`` with pandas, numpy and scipy alone and compares
value, interval, guard and p of each result, and of its control, with what is recorded; then the
study's own statistic, what the control says, and the verdict. A number that is recorded and not
recomputed fails as one that differs. Left out is what the run itself gives no number for (its note
says why), and what a rank was made of where a claim's body ranks by itself.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from estimates import Compared, beyond, estimates
from files import Run
from formulas import one_sample
from readings import CONTRAST, CONTROL, ends, readings, said, side
from scipy import stats

TOLERANCE = 1e-6
ROUNDING = 1e-7
"""Of values that were measured in float32, relative to their size."""
KEYS = ("value", "low", "high", "check_low", "check_high", "p")


def compared(run: Run) -> Iterator[tuple[str, list[str]]]:
    """Each number of each result with what differs from the recorded one."""
    for result in run.evidence["results"]:
        if result["verdict"] is None or result["estimate"] is None:
            continue
        label = " ".join((result["claim"], result["model"], result["arm"]))
        yield from ((f"{label} {name}".strip(), wrong) for name, wrong in _of_result(run, result))


def _of_result(run: Run, result: dict) -> Iterator[tuple[str, list[str]]]:
    """Names and differences of the estimates, the reading and the verdict of one result."""
    control, done, again = result["control"], set(), {}
    for source in (estimates, readings):
        if source is estimates and result["estimate"]["value"] is None and not result["parts"]:
            continue
        for name, recorded, made in _all_of(source, run, result):
            done.add(name)
            again[name] = made
            if recorded["value"] is None:
                gone = made["value"] is None or not np.isfinite(made["value"])
                yield name, [] if gone or recorded["note"] else ["no value recorded"]
                continue
            yield name, differing(recorded, made, parted=name in parts_of(result) and name != "")
    for name in expected(result) - done:
        yield name, ["recorded, and not recomputed"]
    if control is not None:
        reading = said(run, result) if expected(result) <= done else "not recomputed"
        same = reading == control["reading"]
        yield "reading", [] if same else [f"{control['reading']} recorded, {reading}"]
    verdict = decided(run, result, again) if expected(result) <= done else "not recomputed"
    wrong = [] if verdict == result["verdict"] else [f"{result['verdict']} recorded, {verdict}"]
    yield "verdict", wrong
    if result["replication"] is not None:
        try:
            yield "replication", replicated(run, result)
        except (IndexError, ValueError):
            yield "replication", ["recorded, and not recomputed"]


def _all_of(
    source: Callable[[Run, dict], Iterator[Compared]], run: Run, result: dict
) -> list[Compared]:
    """What a source recomputes, up to where rows are missing; the rest then counts as lacking."""
    made: list[Compared] = []
    with suppress(KeyError, IndexError, ValueError, ZeroDivisionError):
        made.extend(source(run, result))
    return made


def parts_of(result: dict) -> list[str]:
    """Names of the parts of a result, or the one without a name."""
    return [part["part"] for part in result["parts"]] or [""]


def expected(result: dict) -> set[str]:
    """Names of all estimates that a result records with a value."""
    nothing = result["estimate"]["value"] is None and not result["parts"]
    names = set() if nothing else set(parts_of(result))
    control = result["control"] or {}
    sides = ((CONTROL, "estimate"), (CONTRAST, "contrast"))
    return names | {
        name for name, key in sides if control.get(key) and control[key]["value"] is not None
    }


def differing(recorded: dict, again: dict, *, parted: bool = False) -> list[str]:
    """Numbers of an estimate that differ from those recorded."""
    ends_of = [recorded[k] for k in ("low", "high") if recorded[k] is not None]
    span = max(max(ends_of) - min(ends_of), 1e-9) if ends_of else 1e-9
    wrong = []
    for key in KEYS:
        a, b = recorded.get(key), again.get(key)
        if key == "p" and (a is None or (parted and b is None)):
            continue
        allowed = TOLERANCE if key == "p" else TOLERANCE * span + ROUNDING * abs(a or 0)
        if (a is None) != (b is None) or (a is not None and not abs(a - b) <= allowed):
            wrong.append(f"{key} {a} recorded, {b} recomputed")
    return wrong


def decided(run: Run, result: dict, again: dict[str, dict]) -> str:
    """The verdict that the recomputed numbers give."""
    prediction, names = run.prediction(result), parts_of(result)
    kind, given = prediction["kind"], prediction["parameters"]
    estimate, count = result["estimate"], len(names)
    if estimate["value"] is None:
        return "inconclusive"
    if kind == "every":
        worst = beyond(np.array([again[""]["value"]]), given)[0]
        counts = worst > max(given["tolerance"], 10 * estimate["error"])
        return "refuted" if counts else "inconclusive"
    region = (given["low"], given["high"])
    if given.get("tolerance") is not None:
        region = (np.nextafter(region[0], -np.inf), np.nextafter(region[1], np.inf))
    recorded = {part["part"]: part for part in result["parts"]} or {"": estimate}
    verdicts = {name: _one(recorded[name], again[name], region) for name in names}
    refuted = [name for name, verdict in verdicts.items() if verdict == "refuted"]
    if set(verdicts.values()) == {"confirmed"}:
        return "inconclusive" if kind == "each_seed" else "confirmed"
    if kind == "rank" or not refuted or (kind == "trend" and len(refuted) < count):
        return "inconclusive"
    ps = [again[name].get("p") or recorded[name]["p"] for name in refuted]
    sure = kind == "trend" or any(p is None or p * count <= 0.05 for p in ps)
    return "refuted" if sure else "inconclusive"


def _one(recorded: dict, again: dict, region: tuple) -> str:
    """The verdict on one estimate."""
    fact = recorded["method"].startswith("fact")
    few = 0 < recorded["seeds"] < 5 or (not fact and recorded["clusters"] < 5)
    if recorded["value"] is None or few or again["low"] is None:
        return "inconclusive"
    place = side(*ends(again), region)
    return {1: "confirmed", -1: "refuted", 0: "inconclusive"}[place]


def replicated(run: Run, result: dict) -> list[str]:
    """What differs in the study's own statistic."""
    recorded = result["replication"]["estimate"]
    cell = run.everything(result, result["model"])
    rows = cell[cell["control"] == "replication"]
    values = [part["value"].to_numpy() for _, part in rows.groupby("quantity", observed=True)]
    if recorded["method"].startswith("Fisher"):
        x, y = values
        z, half = np.arctanh(np.corrcoef(x, y)[0, 1]), stats.norm.isf(0.025) / np.sqrt(len(x) - 3)
        made = {"value": np.tanh(z), "low": np.tanh(z - half), "high": np.tanh(z + half)}
    elif recorded["method"].startswith("t,"):
        made = one_sample(values[0], error=0.0)
        made = {key: made[key] for key in ("value", "low", "high")}
    else:
        made = {key: values[0].item() for key in ("value", "low", "high")}
    if recorded["value"] is None:
        return []
    return differing({k: recorded[k] for k in ("value", "low", "high", "p")}, made, parted=True)


def main(folder: str) -> int:
    """Say how many numbers agree; 1 where one does not, or is not recomputed."""
    comparisons = list(compared(Run(Path(folder))))
    bad = [(label, wrong) for label, wrong in comparisons if wrong]
    for label, wrong in bad:
        print(f"{label}: {'; '.join(wrong)}")
    kinds = Counter(_kind(label) for label, _ in comparisons)
    good = len(comparisons) - len(bad)
    print(
        f"{good} of {len(comparisons)} numbers agree to {TOLERANCE:g} of their interval: "
        + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    )
    return 1 if bad or not comparisons else 0


def _kind(label: str) -> str:
    for kind in ("reading", "verdict", "replication", CONTRAST):
        if label.endswith(" " + kind):
            return kind + "s" * (kind != CONTRAST)
    return "controls" if label.endswith(f" {CONTROL}") else "estimates"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
