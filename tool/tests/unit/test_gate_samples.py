"""Per-sample logs of other tools: read as documented, paired by document."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from refutable.errors import EvidenceError
from refutable.gate.records import Status
from refutable.gate.samples import compare_samples, read_samples, run_samples_gate


def harness_log(folder, task, scores, *, order=None):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"doc_id": i, "doc": {"q": i}, "target": "x", "arguments": [], "resps": [], "acc": s,
         "filter": "none", "doc_hash": f"{task}{i}", "prompt_hash": "p"}
        for i, s in enumerate(scores)
    ]  # fmt: skip
    rows = [rows[i] for i in (order if order is not None else range(len(rows)))]
    file = folder / f"samples_{task}_2026-01-01T00-00-00.000001.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))


def inspect_log(grades):
    samples = [
        {"id": i, "epoch": 1, "scores": {"match": {"value": g}}} for i, g in enumerate(grades)
    ]
    return {"version": 2, "status": "success", "eval": {"task": "sums"}, "samples": samples}


def test_documents_are_paired_whatever_their_order(tmp_path):
    rng = np.random.default_rng(0)
    scores = (rng.random(400) < 0.6).astype(float)
    lower = scores.copy()
    lower[np.flatnonzero(scores)[:60]] = 0.0
    harness_log(tmp_path / "a", "arc", scores)
    harness_log(tmp_path / "b", "arc", lower, order=rng.permutation(400))
    (line,) = compare_samples(read_samples(tmp_path / "a"), read_samples(tmp_path / "b"))
    assert (line.claim, line.status) == ("arc/acc", Status.CHANGED)
    assert line.change.value == pytest.approx(-0.15)
    assert (line.before, line.after) == pytest.approx((scores.mean(), scores.mean() - 0.15))
    text, code = run_samples_gate(tmp_path / "a", tmp_path / "a")
    assert code == 0
    assert text.startswith("same")


def test_tasks_are_families_where_there_are_enough(tmp_path):
    rng = np.random.default_rng(1)
    for i in range(8):
        scores = (rng.random(100) < 0.5).astype(float)
        harness_log(tmp_path / "a", f"task{i}", scores)
        changed = scores.copy()
        changed[:12] = 1 - changed[:12] if i == 0 else changed[:12]
        harness_log(tmp_path / "b", f"task{i}", changed)
    (line,) = compare_samples(read_samples(tmp_path / "a"), read_samples(tmp_path / "b"))
    assert line.claim == "acc, 8 tasks"
    # One task of eight moved: no statement about tasks.
    assert line.status is not Status.CHANGED


def test_inspect_logs_as_json_and_as_archives_say_the_same(tmp_path):
    grades = list("CCICPI" * 20)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.json").write_text(json.dumps(inspect_log(grades)))
    (tmp_path / "b").mkdir()
    log = inspect_log(grades)
    with zipfile.ZipFile(tmp_path / "b" / "one.eval", "w") as archive:
        archive.writestr("header.json", json.dumps({k: log[k] for k in ("version", "eval")}))
        for sample in log["samples"]:
            archive.writestr(f"samples/{sample['id']}_epoch_1.json", json.dumps(sample))
    a, b = (read_samples(tmp_path / side) for side in "ab")
    assert a == b
    assert a["sums", "match"]["4#1"] == 0.5
    (line,) = compare_samples(a, b)
    assert line.status is Status.SAME


def test_lost_tasks_and_folders_without_logs(tmp_path):
    harness_log(tmp_path / "a", "one", [1.0] * 9)
    harness_log(tmp_path / "b", "two", [1.0] * 9)
    lines = compare_samples(read_samples(tmp_path / "a"), read_samples(tmp_path / "b"))
    assert [line.status for line in lines] == [Status.LOST]
    (tmp_path / "c").mkdir()
    with pytest.raises(EvidenceError, match="no per-sample log"):
        read_samples(tmp_path / "c")
    assert run_samples_gate(tmp_path / "a", tmp_path / "c")[1] == 3
