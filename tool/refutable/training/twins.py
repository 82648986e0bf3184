"""What `refutable train twins` does: the study's runs, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from refutable.errors import RefutableError
from refutable.training.log import LOG, TwinLog, read_log
from refutable.training.recipe import TwinRecipe, runs, seeds_of, variant_named
from refutable.training.ship import ship
from refutable.training.train import train_twin

SECONDS_OF_A_RUN = 60
"""One run of the default recipe on one core of 2020s server hardware with nothing beside it."""


def planned(variant: str | None, seed: int | None) -> list[tuple[str, int]]:
    """Return the runs that are asked for; all of the study by default.

    Raises
    ------
    RefutableError
        When there is no such variant.
    """
    if variant is not None:
        variant_named(variant)
        seeds = seeds_of(variant) if seed is None else (seed,)
        return [(variant, one) for one in seeds]
    return [(name, one) for name, one in runs() if seed is None or one == seed]


def recipe_of(steps: int | None) -> TwinRecipe:
    """Return the study's recipe, or the same for more or fewer steps.

    Raises
    ------
    RefutableError
        When there are fewer steps than the warm-up has.
    """
    recipe = TwinRecipe()
    if steps is None:
        return recipe
    if steps <= recipe.warmup:
        raise RefutableError(
            f"expected --steps above the {recipe.warmup} steps of the warm-up, got {steps}"
        )
    return replace(recipe, steps=steps)


def train_twins(
    variant: str | None,
    seed: int | None,
    out: Path,
    device: str,
    say: Callable[[str], None],
    *,
    steps: int | None = None,
) -> list[TwinLog]:
    """Train what is asked for into ``out/VARIANT-SEED``, each with a loadable ``checkpoint``.

    Finished runs are read, unfinished ones go on where they stopped.

    Parameters
    ----------
    variant, seed
        One variant or seed; all of the study where ``None``.
    out
        Folder of the runs.
    device
        Where to train: cpu, cuda, mps.
    say
        Gets one line before the first run, and one for each that is done.
    steps
        Training steps of a run; the study's by default.

    Raises
    ------
    RefutableError
        When there is no such variant, there are fewer steps than the warm-up has, or a folder holds
        a run of another recipe.
    """
    import torch

    from refutable.training.data import load_data

    if device == "cpu":
        # The shipped weights come from one thread: sums in another order differ in the last bits.
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
    recipe = recipe_of(steps)
    asked = planned(variant, seed)
    left = sum(not (out / f"{name}-{one}" / LOG).exists() for name, one in asked)
    minutes = left * SECONDS_OF_A_RUN / 60 * recipe.steps / TwinRecipe().steps
    say(f"{left} of {len(asked)} runs to train, about {minutes:.0f} min on one CPU core")
    data = load_data()
    logs = []
    for name, one in asked:
        folder = out / f"{name}-{one}"
        log = train_twin(variant_named(name), one, recipe, data, folder, device=device)
        if not (folder / "checkpoint" / "config.json").exists():
            ship(folder, folder / "checkpoint")
        logs.append(read_log(folder))
        say(
            f"{folder}: held-out loss {log.held_out_loss:.4f} nats, interpolated trigram "
            f"{log.trigram_loss:.4f} ({log.seconds:.0f} s on {log.device})"
        )
    return logs
