"""`refutable verify`: test the bundled claims on models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refutable.cli.base import app
from refutable.cli.checks import check_how, check_ids, check_models, check_places, ids_of_groups
from refutable.studies.catalogue import claim_packages

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
    *,
    claims: Claims = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--claims", metavar="GROUP", help="A named group: release. Repeatable."),
    ] = None,
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
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory a model may take, e.g. 8GB; a larger one is measured block by block. "
            "[three quarters of the machine's]",
        ),
    ] = None,
    device_map: Annotated[
        str | None,
        typer.Option(
            metavar="auto",
            help="Spread a model over all devices of the kind that --device names (accelerate).",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="ENGINE",
            help="Where models are measured: local, ray (the cluster that runs) or "
            "ray://HOST:PORT. [local]",
        ),
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
    measure_only: Annotated[
        bool,
        typer.Option("--measure-only", help="Let no verdict fail: the run is made to be compared."),
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Tell what each part of measuring took.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name every test.")] = False,
) -> None:
    """Test the bundled claims on models.

    Claims of your own are run by pytest, which takes the same options as --claim-model and so on.

    Exit code 0: no verdict contradicts the recorded ones; a refutation that nobody has recorded is
    a finding, told as such. 1: one does contradict them, or a model could not be measured. 2: what
    was typed makes no sense.
    """
    import pytest

    check_ids(claims or [])
    claims = [*(claims or []), *ids_of_groups(group or [])]
    check_models(model or [])
    # With a cluster the device is not one of this machine.
    here = device if engine in (None, "local") else None
    check_how(prompts=prompts, arms=arm or [], device=here, dtype=dtype)
    check_places(out, baseline, update_baseline)
    arguments = [
        "--pyargs",
        *claim_packages(),
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
        "device-map": device_map,
        "memory": memory,
        "engine": engine,
        "revision": revision,
        "out": out and out.resolve(),
        "baseline": baseline and baseline.resolve(),
    }
    for name, value in single.items():
        if value is not None:
            arguments.append(f"--claim-{name}={value}")
    arguments += ["--claim-update-baseline"] * update_baseline + ["--claim-strict"] * strict
    arguments += ["--claim-profile"] * profile
    arguments += ["--claim-release=yes", "--claim-unrecorded=pass"] + [
        "--claim-measure-only"
    ] * measure_only
    raise typer.Exit(int(pytest.main(arguments)))
