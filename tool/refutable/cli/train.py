"""`refutable train`: train the small models whose weights this project ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refutable.errors import RefutableError
from refutable.models.sources.twin import trained_twins
from refutable.system.paths import writable

train_app = typer.Typer(
    help="Train the controlled models. A run that is stopped goes on where it was.",
    no_args_is_help=True,
)


@train_app.callback()
def _train() -> None:
    """Keep each study a command of its own, even while there is one alone."""


@train_app.command("no-position")
def train_no_position_command(
    seed: Annotated[
        int,
        typer.Option(min=0, metavar="SEED", help="Seed of the initialisation and the data order."),
    ] = 0,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="RECIPE",
            help="published (13 min), fast (40 s), max-schedule or min-schedule (2 min).",
        ),
    ] = "published",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder for weights and log. [./no-position/RECIPE-SEED]"
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="Where to train: cpu, cuda, mps.")
    ] = "cpu",
) -> None:
    """Train the no-position model; prints its held-out loss."""
    from refutable.studies.no_position.model import recipe_named
    from refutable.studies.no_position.train import train_no_position

    recipe_named(recipe)
    folder = out or Path("no-position") / f"{recipe}-{seed}"
    _check(folder, device)
    _, run = train_no_position(seed, recipe, folder, device=device)
    typer.echo(
        f"{folder}: held-out loss {run.held_out_loss:.5f} nats after {len(run.losses)} steps "
        f"({run.seconds:.0f} s on {run.device})"
    )


@train_app.command("twins")
def train_twins_command(
    *,
    variant: Annotated[
        str | None,
        typer.Option(metavar="VARIANT", help="One variant, e.g. rmsnorm-both; all by default."),
    ] = None,
    norm_kind: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="A variant by its norms: layernorm, rmsnorm or dyt."),
    ] = None,
    norm_place: Annotated[
        str,
        typer.Option(metavar="PLACE", help="With --norm-kind: both, attention, ffn or none."),
    ] = "both",
    seed: Annotated[
        int | None,
        typer.Option(min=0, metavar="SEED", help="One seed; the study's by default."),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="RECIPE",
            help="early (1 min a run), trained (20 min), or tuned (the same, each variant at its "
            "best rate).",
        ),
    ] = "early",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder of the runs. [the cache, where claims find the twins]"
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="Where to train: cpu, cuda, mps.")
    ] = "cpu",
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Training steps of a run, in place of the recipe's."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Peak learning rate, in place of the recipe's."),
    ] = None,
) -> None:
    """Train the twins; prints their held-out losses.

    Needs a machine with apt-get (Debian 12), whose packages the text comes from: docs/twins.md.
    """
    from refutable.training.recipe import config_of, variant_named, variant_of
    from refutable.training.twins import Order, train_twins

    if variant is not None and norm_kind is not None:
        raise RefutableError("name a twin by --variant or by --norm-kind, not by both")
    one = variant_named(variant) if variant is not None else None
    if norm_kind is not None:
        one = variant_of(norm_kind, norm_place)
    order = Order(recipe, one, seed, steps, rate)
    first = order.planned()[0][0]
    # Told before the text is fetched.
    config_of(first, order.recipe_of(first))
    folder = out or trained_twins()
    _check(folder, device)
    train_twins(order, folder, device, typer.echo)


@train_app.command("thoughts")
def train_thoughts_command(
    size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="small or large; both by default."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, metavar="SEED", help="One seed; the study's eight by default."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder of the runs. [the cache, where claims find the twins]"
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="Where to train: cpu, cuda, mps.")
    ] = "cpu",
    steps: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Stop after N of the recipe's 4000 steps."),
    ] = None,
) -> None:
    """Train the thought twins, and their twins without thoughts; prints their accuracies.

    One seed of the small size takes about 10 minutes on one CPU core, of the large one about 40;
    all seeds of both take 8 minutes on a GPU.
    """
    from refutable.studies.thought_tokens.ship import planned, train_thoughts

    sizes, seeds = planned(size, seed)
    folder = out or trained_twins()
    _check(folder, device)
    train_thoughts(sizes, seeds, folder, device, typer.echo, steps=steps)


def _check(folder: Path, device: str) -> None:
    """Refuse a folder or device that cannot be used before anything is computed."""
    from refutable.models.device import usable_device

    writable(folder)
    usable_device(device)
