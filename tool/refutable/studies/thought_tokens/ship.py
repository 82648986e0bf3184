"""What `refutable train thoughts` does: the study's runs, and a checkpoint of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.models.build import quiet
from refutable.studies.thought_tokens.recipe import (
    KINDS,
    SEEDS,
    SIZES,
    Recipe,
    model_config,
    size_named,
)
from refutable.studies.thought_tokens.train import Stack, ThoughtLog, weights_of
from refutable.system.files import write
from refutable.system.progress import progress
from refutable.training.floats import repeatable_on_cpu

if TYPE_CHECKING:
    import torch

LOG = "training.json"
_KEPT_EVERY = 200


def group_of(size: str, kind: str) -> str:
    """Return the name of a group of runs that differ in the seed alone, such as thoughts-small."""
    return f"{kind}-{size}"


def train_thoughts(
    sizes: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    device: str,
    say: Callable[[str], None],
    *,
    recipe: Recipe | None = None,
    steps: int | None = None,
) -> list[ThoughtLog]:
    """Train sizes and seeds, with and without thoughts, into ``out/KIND-SIZE-SEED/checkpoint``.

    Finished runs are left as they are, unfinished ones go on where they stopped. Returned are the
    records of all.

    Parameters
    ----------
    sizes, seeds
        What to train, the seeds of one size and kind in one stack.
    out
        Folder of the runs.
    device
        Where to train: cpu, cuda, mps.
    say
        Gets a line for each run that is done.
    recipe
        Another than the study's.
    steps
        Stop after so many steps of the recipe's; the rates stay those of the whole.

    Raises
    ------
    RefutableError
        If a folder holds an interrupted run of another recipe or other seeds.
    """
    with repeatable_on_cpu(device):
        chosen = recipe or Recipe()
        logs = []
        for size, kind in product(sizes, KINDS):
            group = group_of(size, kind)
            left = [seed for seed in seeds if not _record(out, group, seed).is_file()]
            if left:
                _train(Stack(SIZES[size], kind, left, chosen, device), out, group, steps)
            for seed in seeds:
                logs.append(read_log(_record(out, group, seed).parent))
                say(f"{group}-{seed}: {_told(logs[-1])}")
    return logs


def _told(log: ThoughtLog) -> str:
    share = 100 * log.accuracy[max(log.accuracy)]
    return (
        f"{share:.1f} % of held-out answers right after {log.steps} steps ({log.seconds:.0f} s for "
        f"{len(log.trained_with)} seeds on {log.device})"
    )


def _record(out: Path, group: str, seed: int) -> Path:
    return out / f"{group}-{seed}" / "checkpoint" / LOG


def _train(stack: Stack, out: Path, group: str, stop: int | None) -> None:
    resume = out / f"{group}.{'-'.join(map(str, stack.seeds))}.resume.safetensors"
    if resume.is_file():
        stack.resume(resume)
    steps = min(stop or stack.recipe.steps, stack.recipe.steps)
    with progress(f"{group}, seeds {', '.join(map(str, stack.seeds))}", steps) as advance:
        while stack.done < steps:
            stack.train(min(steps, stack.done + _KEPT_EVERY), advance)
            stack.keep(resume)
    for log in stack.logs():
        ship(weights_of(stack, log.seed), log, _record(out, group, log.seed).parent)
    resume.unlink()


def ship(weights: dict[str, torch.Tensor], log: ThoughtLog, out: Path) -> None:
    """Write one run as a checkpoint: float16 weights, config, training log.

    Parameters
    ----------
    weights
        As `weights_of` gives them.
    log
        The record of its training.
    out
        Folder to write.
    """
    import torch
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel(model_config(SIZES[log.size]))
    model.load_state_dict({name: tensor.float().cpu() for name, tensor in weights.items()})
    with quiet():
        model.to(torch.float16).save_pretrained(out)  # type: ignore[arg-type]
    (out / "generation_config.json").unlink(missing_ok=True)
    # Written last: it marks the run as finished.
    write(out / LOG, json.dumps(asdict(log), separators=(",", ":")) + "\n")


def read_log(folder: Path) -> ThoughtLog:
    """Return the record of a finished run."""
    return ThoughtLog(**json.loads((folder / LOG).read_text(encoding="utf-8")))


def planned(size: str | None, seed: int | None) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the sizes and seeds that are asked for; all of the study by default.

    Raises
    ------
    RefutableError
        If there is no such size.
    """
    sizes = tuple(SIZES) if size is None else (size_named(size).name,)
    return sizes, SEEDS if seed is None else (seed,)
