"""`refutable register`: write down what claims say before they are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refutable.cli.base import app
from refutable.cli.checks import check_ids, check_models
from refutable.cli.commands.verify import Claims, Models
from refutable.studies.catalogue import claim_packages


@app.command()
def register(
    *,
    claims: Claims = None,
    model: Models = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Prompt set. [what each claim names, or battery]"),
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE|FOLDER",
            help="Claims of your own in place of the bundled ones; repeatable.",
        ),
    ] = None,
) -> None:
    """Write down what claims say, and measure nothing.

    A line for each claim, model, prompt set and arm goes to .refutable/registered.jsonl: the hash
    of the claim's source, its prediction and region, its smallest effect of interest and the hash
    of its prompts. A run adds that line by itself just before it measures a claim for the first
    time; results then say that it was registered before measurement, or what was changed since.
    """
    import pytest

    if not test:
        check_ids(claims or [])
    check_models(model or [])
    targets = [str(path) for path in test] if test else ["--pyargs", *claim_packages()]
    arguments = [*targets, f"--rootdir={Path.cwd()}", "-p", "no:cacheprovider", "-qq"]
    arguments += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
    arguments += [f"--claim-id={each}" for each in claims or []]
    arguments += [f"--claim-model={each}" for each in model or []]
    arguments += [f"--claim-prompts={prompts}"] * (prompts is not None)
    raise typer.Exit(int(pytest.main([*arguments, "--claim-register"])))
