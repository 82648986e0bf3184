"""The command line: verify, list, show, gate, report, bench, fetch, cache, train."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from refutable.errors import RefutableError

app = typer.Typer(
    help="Research claims about transformer internals as executable tests.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Catalogue(StrEnum):
    """What can be listed."""

    CLAIMS = "claims"
    MODELS = "models"
    PROMPTS = "prompts"
    OBSERVABLES = "observables"


class GateFormat(StrEnum):
    """How the gate prints."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    GITHUB = "github"


Claims = Annotated[list[str] | None, typer.Argument(help="Claim ids or globs; all when left out.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="Registry name, hub id, local folder or .gguf file; repeatable."),
]


@app.command()
def verify(
    claims: Claims = None,
    model: Models = None,
    models_from: Annotated[Path | None, typer.Option(help="File with a model a line.")] = None,
    prompts: Annotated[str | None, typer.Option(help="Prompt set: a name or a file.")] = None,
    arm: Annotated[list[str] | None, typer.Option(help="no-bos or bos; repeatable.")] = None,
    device: Annotated[str | None, typer.Option(help="Torch device.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of hub models.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for what the run leaves.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="Recorded verdicts.")] = None,
    update_baseline: Annotated[bool, typer.Option(help="Record this run's verdicts.")] = False,
    strict: Annotated[bool, typer.Option(help="Let INCONCLUSIVE fail.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name every test.")] = False,
) -> None:
    """Test claims on models; exit codes are pytest's."""
    import pytest

    _check_ids(claims or [])
    arguments = [
        "--pyargs",
        "refutable.claims",
        f"--rootdir={Path.cwd()}",
        "-p",
        "no:cacheprovider",
    ]
    # This process has imported the package already; that its asserts are plain is no news.
    arguments += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
    arguments.append("-v" if verbose else "-q")
    for name, values in (("id", claims), ("model", model), ("arm", arm)):
        arguments += [f"--claim-{name}={each}" for each in values or []]
    single = {
        "models-from": models_from and models_from.resolve(),
        "prompts": prompts,
        "device": device,
        "dtype": dtype,
        "revision": revision,
        "out": out and out.resolve(),
        "baseline": baseline and baseline.resolve(),
    }
    for name, value in single.items():
        if value is not None:
            arguments.append(f"--claim-{name}={value}")
    arguments += ["--claim-update-baseline"] * update_baseline + ["--claim-strict"] * strict
    raise typer.Exit(int(pytest.main(arguments)))


def _check_ids(patterns: list[str]) -> None:
    import fnmatch

    from refutable.catalogue import bundled_claims
    from refutable.errors import ClaimError, near

    if not patterns:
        return
    known = [claim.id for claim in bundled_claims()]
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            raise ClaimError(f"no claim matches {pattern!r}: {near(pattern, known)}")


@app.command("list")
def list_(what: Annotated[Catalogue, typer.Argument()]) -> None:
    """List claims, models, prompts or observables."""
    from refutable.listing import table_of

    _print(table_of(what.value))


@app.command()
def show(claim: Annotated[str, typer.Argument(help="Claim id.")]) -> None:
    """Show one claim: statement, refutation condition, quantity, prediction."""
    from refutable.listing import card_of

    _print(card_of(claim))


def _print(renderable: object) -> None:
    from rich.console import Console

    Console(soft_wrap=False).print(renderable)


@app.command()
def gate(
    base: Annotated[Path, typer.Argument(help="evidence.json of the release before.")],
    candidate: Annotated[Path, typer.Argument(help="evidence.json of the new release.")],
    strict: Annotated[bool, typer.Option(help="Require SAME of every claim.")] = False,
    format: Annotated[GateFormat, typer.Option(help="How to print.")] = GateFormat.TEXT,
) -> None:
    """Say what a new release changed: exit 0 nothing, 1 changed, 2 usage, 3 cannot judge."""
    from refutable.gate import run_gate

    text, code = run_gate(base, candidate, strict=strict, format=format.value)
    typer.echo(text, err=code == 3)
    raise typer.Exit(code)


@app.command()
def report(
    evidence: Annotated[Path, typer.Argument(help="An evidence.json.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write to.")] = None,
) -> None:
    """Write report.html, report.md, observations.csv and figures from evidence alone."""
    from refutable.report import build

    for path in build(evidence, out):
        typer.echo(path)


@app.command()
def fetch(model: Annotated[str, typer.Argument(help="Model to bring here.")]) -> None:
    """Bring a model's weights to this machine; says the size first."""
    from refutable.models.fetch import fetch as fetch_model
    from refutable.models.registry import resolve

    fetch_model(resolve(model), typer.echo)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete stored observations.")] = False,
) -> None:
    """Show where observations and converted weights are kept, and how large they are."""
    from refutable.listing import cache_table

    _print(cache_table(clear=clear))


@app.command()
def bench(
    model: Annotated[str, typer.Option(help="Model to measure on.")] = "",
    pairs: Annotated[int, typer.Option(help="Interleaved pairs of timings.")] = 30,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
) -> None:
    """Measure what hooked inference costs against the same forward pass without hooks."""
    from refutable.bench import run_bench

    _print(run_bench(model, pairs=pairs, device=device))


@app.command("observe-twins")
def observe_twins_command(
    out: Annotated[Path, typer.Argument(help="File to write.")],
) -> None:
    """Measure the twins trained here for the claims over seeds, and write what is committed."""
    from refutable.observing import observe_twins

    number = observe_twins(out, typer.echo)
    typer.echo(f"{out}: {number} models, {out.stat().st_size / 1e6:.1f} MB")


def _add_train() -> None:
    from refutable.twins.cli import train_app

    app.add_typer(train_app, name="train")


def main() -> None:
    """Run the command line; an error of refutable is one line and exit code 2."""
    # `train` brings its own options; it is added only when asked for or listed.
    if len(sys.argv) < 2 or sys.argv[1] in ("train", "--help"):
        _add_train()
    try:
        app()
    except RefutableError as problem:
        typer.echo("refutable: " + " ".join(str(problem).split()), err=True)
        raise SystemExit(2) from None
