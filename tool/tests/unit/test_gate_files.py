"""The gate on files: exit codes, broken files, and the four forms of its answer."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.releases import altered, evidence, observations

from refutable.errors import RefutableError
from refutable.evidence.json import write
from refutable.evidence.observations import write_observations
from refutable.gate.formats import markdown_page
from refutable.gate.policy import Policy, read_policy
from refutable.gate.runs import Run, compare_runs, run_gate
from refutable.gate.wording import render
from refutable.records import Outcome


def _written(folder, made, frame):
    folder.mkdir()
    write(made, folder / "evidence.json")
    if frame is not None:
        write_observations(frame, folder / "observations.parquet")
    return folder / "evidence.json"


def test_files_and_exit_codes(tmp_path):
    base = _written(tmp_path / "base", evidence(), observations())
    moved = _written(tmp_path / "moved", evidence(), observations(shifts={"gain.mean": 0.1}))
    text, code = run_gate(base.parent, base, strict=True)
    assert (code, text.splitlines()[0]) == (0, "same: 7 of 7 claims the same")
    text, code = run_gate(base, moved)
    assert code == 1
    assert text.splitlines()[0].startswith("changed: changed: gain.mean")
    failing = [line for line in text.splitlines()[1:] if line.startswith("  changed")]
    assert len(failing) == 1
    assert "gain.mean (set, no-bos) 0.5 -> 0.5, change +0.1" in failing[0]


@pytest.mark.parametrize("broken", ["evidence.json", "observations.parquet"])
def test_a_truncated_file_cannot_be_judged(tmp_path, broken):
    base = _written(tmp_path / "base", evidence(), observations())
    other = _written(tmp_path / "other", evidence(), observations())
    file = other.parent / broken
    file.write_bytes(file.read_bytes()[:-200])
    text, code = run_gate(base, other)
    assert code == 3
    assert text.startswith("cannot judge: ")
    assert broken in text
    assert "\n" not in text
    assert run_gate(base, tmp_path / "absent.json")[1] == 3


def answered(candidate, **policy):
    base = Run(evidence(), observations())
    return compare_runs(base, Run(candidate, observations()), Policy(**policy))


def test_formats():
    odd = altered(
        evidence(), "gain.every", outcome=Outcome.ERROR, verdict=None, reason="a|b\n<c>,%"
    )
    answer = answered(odd)
    markdown = render(answer, "markdown")
    row = "| instrument failed | gain.every | m | set | no-bos | 0.5 | 0.5 |  | a\\|b &lt;c&gt;,% |"
    assert row in markdown
    content = json.loads(render(answer, "json"))
    assert content["exit_code"] == 1
    assert {c["claim"]: c["status"] for c in content["changes"]}["gain.mean"] == "same"
    github = render(answer, "github").splitlines()
    assert "::error title=gate::instrument failed: gain.every: a|b <c>,%25" in github


def test_a_page_fits_a_comment_however_long_its_parts_are():
    long = "a|b<c> " * 20_000
    answer = answered(altered(evidence(), "gain.every", outcome=Outcome.ERROR, reason=long))
    change = answer.claims.changes[0]
    many = [replace(change, claim=f"{i}.{long}", reason=long) for i in range(2000)]
    for page in (
        render(answer, "markdown"),
        markdown_page(long, [long] * 500, many),
    ):
        assert len(page) < 65_536 - 100
    assert "more | | | | | | | |" in page


def test_one_fault_of_loading_is_told_once():
    broken = evidence()
    for claim in broken.claims:
        broken = altered(
            broken, claim.id, outcome=Outcome.ERROR, verdict=None, reason="3 tensors missing"
        )
    text = render(answered(broken), "text")
    assert text.count("3 tensors missing") == 1
    assert "and 5 more: 3 tensors missing" in text


def test_a_broken_model_fails_whatever_the_policy_lets_pass():
    broken = altered(evidence(), "gain.mean", outcome=Outcome.ERROR, verdict=None, reason="x")
    assert answered(broken, fail_on=()).failed
    moved = Run(evidence(), observations(shifts={"gain.mean": 0.1}))
    base = Run(evidence(), observations())
    assert compare_runs(base, moved, Policy(fail_on=("behaviour", "files"))).exit_code == 0
    assert compare_runs(base, moved, Policy(fail_on=("internals",))).exit_code == 1


def test_a_page_fits_a_comment_however_many_claims_there_are():
    many = altered(evidence(), "gain.mean", reason="y" * 9000)
    answer = answered(many)
    long = tuple(answer.claims.changes) * 2000
    from refutable.gate.formats import markdown_page

    page = markdown_page("same", ["z"] * 50, long)
    assert len(page) < 65_536
    assert "more |" in page.splitlines()[-5]


def test_policy_comes_from_pyproject_and_options_win(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.refutable.gate]\nfail_on = ["files"]\nmargins = {kl = 0.5}\n'
    )
    inner = tmp_path / "a"
    inner.mkdir()
    policy = read_policy(folder=inner)
    assert (policy.fail_on, policy.margins["kl"]) == (("files",), 0.5)
    policy = read_policy("behaviour,internals", ["kl=0.1"], folder=inner)
    assert (policy.fail_on, policy.margins["kl"]) == (("behaviour", "internals"), 0.1)


@pytest.mark.parametrize(
    ("fail_on", "margins", "said"),
    [("weights", (), "did you mean|known"), (None, ("kll=1",), "did you mean kl"),
     (None, ("kl=-1",), "0 or more"), (None, ("kl",), "0 or more")],
)  # fmt: skip
def test_a_policy_that_means_nothing_is_refused(tmp_path, fail_on, margins, said):
    with pytest.raises(RefutableError, match=said):
        read_policy(fail_on, margins, folder=tmp_path)
