"""Per-sample logs of lm-evaluation-harness and inspect_ai, paired by document, tasks as families.

Each metric of each task is one more quantity of the gate. A difference of two accuracies with
their standard errors forgets that both models answered the same questions; paired documents do not.
"""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from refutable.errors import EvidenceError, one_line
from refutable.gate.answer import Answer
from refutable.gate.policy import Policy
from refutable.gate.records import ClaimChange, Status
from refutable.gate.wording import render
from refutable.stats.decide import FEWEST_FAMILIES
from refutable.stats.multiplicity import holm
from refutable.stats.paired import PairedChange, paired_change

Scores = dict[tuple[str, str], dict[str, float]]
"""By (task, metric): the score of each document."""
MARGIN = 0.01
"""Largest difference of a mean score that passes."""
_GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
_NOT_METRICS = frozenset(
    {
        "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "doc_hash",
        "prompt_hash", "target_hash", "filter", "metrics",
    }
)  # fmt: skip


def read_samples(path: Path) -> Scores:
    """Read per-sample logs: a file, or every log below a folder.

    Parameters
    ----------
    path : Path
        ``samples_TASK_*.jsonl`` of lm-evaluation-harness (``--log_samples``), or ``.json`` and
        ``.eval`` logs of inspect_ai.

    Raises
    ------
    EvidenceError
        If there is no log, or one cannot be read.
    """
    if path.is_dir():
        kinds = ("samples_*.jsonl", "*.eval", "*.json")
        files = sorted(file for kind in kinds for file in path.rglob(kind))
    else:
        files = [path] if path.is_file() else []
    scores: Scores = defaultdict(dict)
    for file in files:
        for task, metric, document, score in _scores(file):
            scores[task, metric][document] = score
    if not scores:
        raise EvidenceError(
            f"{path} holds no per-sample log: give samples_*.jsonl of lm-evaluation-harness "
            "(--log_samples) or logs of inspect_ai"
        )
    return dict(scores)


def _scores(file: Path) -> Iterator[tuple[str, str, str, float]]:
    try:
        if file.suffix == ".jsonl":
            yield from _of_harness(file)
        elif file.suffix == ".eval":
            yield from _of_archive(file)
        else:
            yield from _of_inspect(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as problem:
        raise EvidenceError(f"cannot read {file} as a per-sample log: {problem}") from None


def _of_harness(file: Path) -> Iterator[tuple[str, str, str, float]]:
    task = file.stem.removeprefix("samples_").rsplit("_", 1)[0]
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        sample = json.loads(line)
        # The same document is known by its content; without a hash by its number.
        document = str(sample.get("doc_hash") or sample["doc_id"])
        chosen = f" ({sample['filter']})" if sample.get("filter", "none") != "none" else ""
        for metric, value in sample.items():
            number = metric not in _NOT_METRICS and isinstance(value, bool | int | float)
            if number and np.isfinite(value):
                yield task, f"{metric}{chosen}", document, float(value)


def _of_archive(file: Path) -> Iterator[tuple[str, str, str, float]]:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        head = json.loads(
            archive.read("header.json" if "header.json" in names else "_journal/start.json")
        )
        samples = [json.loads(archive.read(n)) for n in names if n.startswith("samples/")]
    yield from _of_inspect({**head, "samples": samples})


def _of_inspect(log: Mapping[str, Any]) -> Iterator[tuple[str, str, str, float]]:
    if not isinstance(log, Mapping) or "eval" not in log:
        return
    task = str(log["eval"]["task"])
    for sample in log.get("samples") or []:
        document = f"{sample['id']}#{sample.get('epoch', 1)}"
        for scorer, score in (sample.get("scores") or {}).items():
            value = score.get("value")
            number = _GRADES.get(value) if isinstance(value, str) else value
            if isinstance(number, bool | int | float) and np.isfinite(number):
                yield task, scorer, document, float(number)


def compare_samples(
    base: Scores, candidate: Scores, margin: float = MARGIN
) -> tuple[ClaimChange, ...]:
    """Compare every metric, paired by document.

    A metric that several tasks have is tested over tasks, the families; one of fewer than five
    tasks over the documents of each task. Holm over all tests.
    """
    tests: list[tuple[str, str, PairedChange, tuple[float, float], str]] = []
    lost = [
        ClaimChange(f"{t}/{m}", "", "samples", "", Status.LOST, "the candidate has no such log")
        for t, m in base
        if (t, m) not in candidate
    ]
    by_metric: dict[str, dict[str, tuple[Any, Any]]] = defaultdict(dict)
    for (task, metric), before in base.items():
        after = candidate.get((task, metric), {})
        shared = sorted(before.keys() & after.keys())
        if shared:
            pair = np.array([before[d] for d in shared]), np.array([after[d] for d in shared])
            by_metric[metric][task] = pair
    for metric, tasks in by_metric.items():
        if len(tasks) >= FEWEST_FAMILIES:
            means = [(float(a.mean()), float(b.mean())) for a, b in tasks.values()]
            d = np.array([b - a for a, b in means])
            levels = tuple(float(x) for x in np.mean(means, axis=0))
            tests.append((f"{metric}, {len(tasks)} tasks", "tasks", paired_change(d, margin=margin),
                          (levels[0], levels[1]), ""))  # fmt: skip
        else:
            for task, (a, b) in tasks.items():
                whole = len(base[task, metric])
                note = f"{a.size} of {whole} documents paired" if a.size < whole else ""
                change = paired_change(b - a, margin=margin)
                levels = (float(a.mean()), float(b.mean()))
                tests.append((f"{task}/{metric}", "documents", change, levels, note))
    return (*lost, *_decided(tests))


def _decided(
    tests: list[tuple[str, str, PairedChange, tuple[float, float], str]],
) -> Iterator[ClaimChange]:
    usable = [c.p if c.families >= FEWEST_FAMILIES else None for _, _, c, _, _ in tests]
    adjusted, survives = holm(usable)
    for (name, unit, change, levels, note), p, stays in zip(tests, adjusted, survives, strict=True):
        if stays or (change.p is None and change.changed):
            status, said = Status.CHANGED, f"moved by more than {change.margin:g}"
        elif change.same:
            status, said = Status.SAME, f"stays within {change.margin:g}"
        else:
            status, said = Status.UNDECIDED, f"neither within {change.margin:g} nor beyond"
        yield ClaimChange(
            name, "", "samples", unit, status, "; ".join(w for w in (said, note) if w),
            change=change, p_adjusted=p, before=levels[0], after=levels[1],
        )  # fmt: skip


def run_samples_gate(
    base: Path,
    candidate: Path,
    strict: bool = False,
    format: str = "text",
    *,
    policy: Policy | None = None,
    verbose: bool = False,
) -> tuple[str, int]:
    """Gate two folders of per-sample logs; see `refutable.gate.runs.run_gate`."""
    try:
        changes = compare_samples(read_samples(base), read_samples(candidate))
    except EvidenceError as problem:
        return f"cannot judge: {one_line(problem)}", 3
    answer = Answer((), None, policy or Policy(), strict, samples=changes)
    return render(answer, format, verbose=verbose), answer.exit_code
