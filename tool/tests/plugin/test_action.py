"""The steps of action.yml, each run by its own shell in a fresh folder: first time, then cached."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
INPUTS = {
    "model": "tiny-rmsnorm", "base-model": "tiny-rmsnorm", "baseline": "reports/gate/base",
    "prompts": "few.toml", "claims": "release", "fail-on": "behaviour,files",
}  # fmt: skip
FAMILIES = "".join(
    f'[[family]]\nname = "f{i}"\nprompts = ["Lake {word} lies in the"]\n'
    for i, word in enumerate(("Como", "Garda", "Lugano", "Geneva", "Constance", "Zurich"))
)


def run(step, folder, env):
    """Run one step as the runner does: bash, errors end it, inputs through the environment."""
    given = {
        name: INPUTS.get(str(value).removeprefix("${{ inputs.").removesuffix(" }}"), "")
        for name, value in step.get("env", {}).items()
        if "inputs." in str(value)
    }
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder, env={**os.environ, **env, **given}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="the action runs in bash")
def test_every_step_runs_first_and_cached(tmp_path):
    (tmp_path / "few.toml").write_text(f'name = "few"\n{FAMILIES}')
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    command = "from refutable.cli.app import main; main()"
    (bin_ / "refutable").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{command}" "$@"\n')
    (bin_ / "refutable").chmod(0o755)
    env = {
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "REFUTABLE_CACHE": str(tmp_path / "cache"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }
    # What is installed is what is tested: the first step would install it from an index.
    *steps, comment = ACTION["runs"]["steps"][1:]
    for _ in range(2):
        for step in steps:
            done = run(step, tmp_path, env)
            assert done.returncode == 0, f"{step['name']}: {done.stdout}{done.stderr}"
    assert "::notice title=gate%3A tiny-rmsnorm::same: next-token KL 0 nats" in done.stdout
    assert (tmp_path / "summary.md").read_text().startswith("**same: ")
    assert "summary=**same: next-token" in (tmp_path / "output").read_text()
    commented_once_and_then_again(comment, tmp_path, env)
    (tmp_path / "reports/gate/base/evidence.json").write_text("{")
    assert run(steps[-1], tmp_path, env).returncode == 3
    assert (tmp_path / "reports/gate/comment.md").read_text().startswith("**cannot judge")


GH = """#!/usr/bin/env bash
# Stands in for GitHub's own command: comments are files, requests are noted.
echo "$*" >> requests
for word in "$@"; do
  case $word in body=@*) cp "${word#body=@}" posted ;; esac
done
case "$*" in *--jq*) if [ -f posted ]; then echo 42; fi ;; esac
"""


def commented_once_and_then_again(step, folder, env):
    """The first push of a pull request makes a comment, the next one changes it."""
    gh = folder / "bin" / "gh"
    gh.write_text(GH)
    gh.chmod(0o755)
    given = {**env, "GH_TOKEN": "t", "REPOSITORY": "o/r", "NUMBER": "7"}
    for _ in range(2):
        done = run(step, folder, given)
        assert done.returncode == 0, done.stderr
    asked = [line for line in (folder / "requests").read_text().splitlines() if "--jq" not in line]
    assert asked == [
        "api --method POST repos/o/r/issues/7/comments --field body=@reports/gate/body.md --silent",
        "api --method PATCH repos/o/r/issues/comments/42 --field body=@reports/gate/body.md "
        "--silent",
    ]
    body = (folder / "posted").read_text()
    assert body.startswith("<!-- refutable gate -->\n**same: next-token")
    assert len(body) < 65_536
