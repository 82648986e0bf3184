"""`refutable gate`: what a new release changed."""

from __future__ import annotations

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from refutable.cli.base import app
from refutable.errors import RefutableError
from refutable.falsify.counterexamples import FOLDER, LOCAL, CounterexampleStore
from refutable.falsify.known import with_known
from refutable.gate.policy import read_policy
from refutable.gate.runs import run_gate
from refutable.gate.samples import run_samples_gate
from refutable.records import Evidence
from refutable.system.paths import fixtures

GROUP = "release"


class GateFormat(StrEnum):
    """How the gate prints."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    GITHUB = "github"


@app.command()
def gate(
    *,
    base: Annotated[
        str,
        typer.Argument(
            metavar="BASE",
            help="The release before: the folder of a run, its evidence.json, or a model.",
        ),
    ],
    candidate: Annotated[
        str, typer.Argument(metavar="CANDIDATE", help="The new release, named likewise.")
    ],
    strict: Annotated[
        bool, typer.Option("--strict", help="Let what could not be decided fail.")
    ] = False,
    format: Annotated[
        GateFormat, typer.Option(metavar="FORMAT", help="text, markdown, json or github.")
    ] = GateFormat.TEXT,
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="KINDS",
            help="behaviour, internals, files, any-file; with commas. "
            "[behaviour,internals,files, or what pyproject.toml says]",
        ),
    ] = None,
    margin: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="kl, top, loss or profile; repeatable."),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Prompt set, where models are named. [battery]"),
    ] = None,
    claims: Annotated[
        str, typer.Option(metavar="GROUP", help="Claims to verify, where models are named.")
    ] = GROUP,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where runs go, where models are named. [reports/gate]"
        ),
    ] = None,
    samples: Annotated[
        bool,
        typer.Option(
            "--samples",
            help="BASE and CANDIDATE hold per-sample logs of lm-evaluation-harness or inspect_ai.",
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell everything.")] = False,
) -> None:
    """Say what a new release changed.

    Exit code 0: the same within the margins. 1: something changed, is lost or is broken. 2: what
    was typed makes no sense. 3: it cannot be judged.
    """
    policy = read_policy(fail_on, margin or ())
    if samples:
        text, code = run_samples_gate(
            Path(base), Path(candidate), strict, format.value, policy=policy, verbose=verbose
        )
        typer.echo(text, err=code == 3)
        raise typer.Exit(code)
    folder = out or Path("reports") / "gate"
    sides = [(base, folder / "base"), (candidate, folder / "candidate")]
    before, after = (_run_of(name, place, prompts, claims) for name, place in sides)
    text, code = run_gate(
        before, after, strict, format.value, policy=policy, verbose=verbose, completed=_completed
    )
    typer.echo(text, err=code == 3)
    raise typer.Exit(code)


def _completed(evidence: Evidence) -> Evidence:
    """Complete a run by the counterexamples that searches left here and that suites ship."""
    return with_known(evidence, CounterexampleStore(Path(LOCAL), [fixtures() / FOLDER]))


def _run_of(name: str, out: Path, prompts: str | None, claims: str) -> Path:
    """Return the run that a name means; a model is verified first."""
    path = Path(name)
    if path.suffix == ".json" or (path.is_dir() and (path / "evidence.json").exists()):
        return path
    if path.is_dir() and not (path / "config.json").exists():
        raise RefutableError(
            f"{path} holds neither evidence.json nor config.json: name the folder of a run or of "
            "a model"
        )
    return _verified(name, out, prompts, claims)


def _verified(model: str, out: Path, prompts: str | None, claims: str) -> Path:
    """Verify a model; what the store holds of it, by content, is not measured again."""
    command = [sys.executable, "-c", "from refutable.cli.app import main; main()", "verify"]
    command += ["--claims", claims, "--model", model, "--out", str(out), "--measure-only"]
    command += ["--prompts", prompts] if prompts else []
    typer.echo(f"verifying {model}", err=True)
    (out / "evidence.json").unlink(missing_ok=True)
    done = subprocess.run(command, stdout=sys.stderr, check=False)  # noqa: S603
    if not (out / "evidence.json").is_file():
        raise RefutableError(f"verifying {model} left no evidence (exit code {done.returncode})")
    return out
