"""A run checked without its model: what was altered afterwards is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.releases import altered, evidence, observations
from support.spoken import logits, release

from refutable.errors import EvidenceError
from refutable.evidence.json import write
from refutable.evidence.observations import write_observations
from refutable.evidence.release import write_release
from refutable.gate.recheck import recheck_run
from refutable.records import Verdict
from refutable.stats.core import guard_ends, t_limits


def run_in(folder, **changes):
    """Leave a run whose one estimate is that of its rows, then change it."""
    names = ("gain.mean",)
    rows = observations(names)
    means = rows.groupby("family", sort=False)["value"].mean().to_numpy(float)
    limits = t_limits(means)
    made = evidence(names)
    estimate = replace(
        made.results[0].estimate, value=float(means.mean()), low=float(limits.low),
        high=float(limits.high),
    )  # fmt: skip
    made = altered(made, names[0], estimate=replace(estimate, **changes))
    write(made, folder / "evidence.json")
    write_observations(rows, folder / "observations.parquet")
    write_release(release(logits(0)), folder)
    return made, np.asarray(guard_ends(limits)), rows


def test_an_estimate_that_was_altered_is_named(tmp_path):
    run_in(tmp_path, value=9.0)
    recheck = recheck_run(tmp_path)
    assert not recheck.agrees
    assert "9.0 is recorded" in recheck.wrong[0]
    assert recheck.lines()[0].startswith("DISAGREES")


def test_a_verdict_that_does_not_follow_is_named(tmp_path):
    made, _, _ = run_in(tmp_path)
    write(altered(made, "gain.mean", verdict=Verdict.REFUTED), tmp_path / "evidence.json")
    assert "refuted is recorded, confirmed follows" in recheck_run(tmp_path).wrong[0]


def test_a_release_that_was_altered_is_refused(tmp_path):
    run_in(tmp_path)
    file = next(tmp_path.glob("releases/*/behaviour.safetensors"))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(EvidenceError, match="is not the file"):
        recheck_run(tmp_path)


def test_a_folder_without_observations_vouches_for_nothing(tmp_path):
    run_in(tmp_path)
    (tmp_path / "observations.parquet").unlink()
    with pytest.raises(EvidenceError, match=r"no observations\.parquet"):
        recheck_run(tmp_path)


def test_a_run_of_which_nothing_can_be_recomputed_does_not_agree(tmp_path):
    made, _, _ = run_in(tmp_path)
    other = observations(("gain.other",))
    write(made, tmp_path / "evidence.json")
    write_observations(other, tmp_path / "observations.parquet")
    recheck = recheck_run(tmp_path)
    assert recheck.vacuous
    assert recheck.lines()[0].startswith("NOTHING RECOMPUTED")
