"""What `refutable train twins` does: the study's runs, one after the other or in stacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from refutable.errors import DivergedError, RefutableError, near
from refutable.training.data import TwinData, load_data
from refutable.training.floats import repeatable_on_cpu
from refutable.training.log import LOG, TwinLog, read_log
from refutable.training.recipe import (
    RECIPES,
    TwinRecipe,
    Variant,
    folder_name,
    rate_of,
    runs,
    seeds_of,
    variant_named,
)
from refutable.training.ship import ship
from refutable.training.stacked import Member
from refutable.training.stacked_run import Job, train_stacks
from refutable.training.train import train_twin

SECONDS_OF_A_STEP = 0.1
"""One step on one core of 2020s server hardware with nothing beside it."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained."""

    recipe_name: str = "early"
    variant: Variant | None = None
    """One variant; all of the study where ``None``."""
    seed: int | None = None
    steps: int | None = None
    """Training steps of a run, in place of the recipe's."""
    rate: float | None = None
    """Peak learning rate, in place of the recipe's."""

    def recipe_of(self, variant: Variant) -> TwinRecipe:
        """Return the recipe of a variant, with the steps and the rate that are asked for.

        Raises
        ------
        RefutableError
            When there is no such recipe, a rate that is none, or fewer steps than the warm-up has.
        """
        if self.recipe_name not in RECIPES:
            hint = near(self.recipe_name, RECIPES)
            raise RefutableError(f"no recipe named {self.recipe_name!r}: {hint}")
        rate = rate_of(self.recipe_name, variant.name) if self.rate is None else self.rate
        if not 0 < rate < math.inf:
            raise RefutableError(f"expected --rate above 0, got {rate:g}")
        recipe = replace(RECIPES[self.recipe_name], learning_rate=rate)
        if self.steps is None:
            return recipe
        if self.steps <= recipe.warmup:
            raise RefutableError(
                f"expected --steps above the {recipe.warmup} steps of the warm-up, got {self.steps}"
            )
        if not recipe.checkpoints:
            return replace(recipe, steps=self.steps)
        kept = tuple(step for step in recipe.checkpoints if step < self.steps)
        return replace(recipe, steps=self.steps, checkpoints=(*kept, self.steps))

    def planned(self) -> list[tuple[Variant, int]]:
        """Return the runs that are asked for; all of the study by default."""
        if self.variant is not None:
            seeds = seeds_of(self.variant.name) if self.seed is None else (self.seed,)
            return [(self.variant, one) for one in seeds]
        return [(variant_named(v), s) for v, s in runs() if self.seed is None or s == self.seed]


def train_twins(order: Order, out: Path, device: str, say: Callable[[str], None]) -> list[TwinLog]:
    """Train what is asked for into ``out/GROUP-SEED``, each with a loadable ``checkpoint``.

    Finished runs are read, unfinished ones go on where they stopped. On a GPU the seeds of a
    variant are trained side by side.

    Parameters
    ----------
    order
        What to train.
    out
        Folder of the runs.
    device
        Where to train: cpu, cuda, mps.
    say
        Gets one line before the first run, and one for each that is done.

    Raises
    ------
    RefutableError
        When a folder holds a run of another recipe.
    DivergedError
        When the loss of a run was no finite number any more; the others are trained.
    """
    # The shipped weights come from one thread.
    with repeatable_on_cpu(device, threads=1):
        return _trained(order, out, device, say)


def _trained(order: Order, out: Path, device: str, say: Callable[[str], None]) -> list[TwinLog]:
    asked = order.planned()
    folders = [out / f"{folder_name(v, order.recipe_name)}-{seed}" for v, seed in asked]
    left = sum(not (folder / LOG).exists() for folder in folders)
    minutes = left * order.recipe_of(asked[0][0]).steps * SECONDS_OF_A_STEP / 60
    say(f"{left} of {len(asked)} runs to train, about {minutes:.0f} min on one CPU core")
    data = load_data()
    if device.startswith("cuda"):
        _in_stacks(order, list(zip(asked, folders, strict=True)), data, device)
    logs: list[TwinLog] = []
    diverged: list[str] = []
    for (variant, seed), folder in zip(asked, folders, strict=True):
        if not device.startswith("cuda"):
            try:
                train_twin(variant, seed, order.recipe_of(variant), data, folder, device=device)
            except DivergedError as problem:
                # The other seeds are trained all the same.
                diverged.append(str(problem))
                continue
        if not (folder / "checkpoint" / "config.json").exists():
            ship(folder, folder / "checkpoint")
        log = read_log(folder)
        logs.append(log)
        say(
            f"{folder}: held-out loss {log.held_out_loss:.4f} nats, interpolated trigram "
            f"{log.trigram_loss:.4f} ({log.seconds:.0f} s on {log.device})"
        )
    if diverged:
        raise DivergedError("; ".join(diverged))
    return logs


def _in_stacks(
    order: Order, asked: list[tuple[tuple[Variant, int], Path]], data: TwinData, device: str
) -> None:
    """Train the seeds of each variant side by side."""
    jobs = []
    for variant in dict.fromkeys(variant for (variant, _), _ in asked):
        of_variant = [(seed, folder) for (one, seed), folder in asked if one == variant]
        members = tuple(Member(seed, order.recipe_of(variant)) for seed, _ in of_variant)
        jobs.append(Job(variant, members, tuple(folder for _, folder in of_variant)))
    train_stacks(jobs, data, device)
