"""Train the no-position model: deterministic per seed, resumable, every step's loss kept."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.errors import RefutableError
from refutable.studies.no_position.model import (
    EVALUATION_SEED,
    STUDY_DATA_SEED,
    Recipe,
    held_out_loss,
    new_model,
    recipe_named,
    sequences,
)
from refutable.studies.no_position.step import FastStep, TrainingStep, trainable
from refutable.system import files
from refutable.system.memory import keep_freed_memory
from refutable.system.progress import progress

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

_RESUME = "resume.safetensors"
_RESUME_EVERY = 100
_HELD_OUT = 4000


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What is known about one finished training run; stored beside its weights as training.json."""

    recipe: str
    settings: dict[str, object]
    """Every field of the recipe."""
    seed: int
    data_seed: int
    losses: list[float]
    """Training loss of each step in nats, taken before that step's update."""
    held_out_loss: float
    """Mean loss in nats over 4000 sequences of a stream that no training run reads."""
    evaluation_seed: int
    device: str
    threads: int
    seconds: float
    """Time spent in training steps; over several sittings, their sum."""
    versions: dict[str, str]


def train_no_position(
    seed: int,
    recipe: str | Recipe,
    out: Path | None,
    *,
    device: str = "cpu",
    snapshot_every: int | None = None,
    show_progress: bool = True,
) -> tuple[GPT2LMHeadModel, TrainingRun]:
    """Train one model and keep it with its log.

    Parameters
    ----------
    seed
        Sets both the initialisation and, added to the study's 123, the data order.
    recipe
        "published", "fast", "max-schedule" or a recipe of your own.
    out
        Folder for ``config.json``, ``model.safetensors`` and ``training.json``. A run that was
        interrupted there goes on where it stopped. None keeps nothing.
    device
        Where to train. Results repeat exactly on one device with one number of threads.
    snapshot_every
        Also keep the weights every so many steps, in ``out/step-N``.
    show_progress
        Show a bar (in a terminal) or a line for each tenth.

    Returns
    -------
    tuple
        The trained model, and the record of its training.

    Raises
    ------
    RefutableError
        When the folder holds an interrupted run of another recipe or seed.
    """
    import torch

    keep_freed_memory()
    chosen = recipe if isinstance(recipe, Recipe) else recipe_named(recipe)
    model = new_model(seed, chosen.init_std).to(device)  # type: ignore[arg-type]
    step_of = FastStep(model, chosen)
    losses: list[float] = []
    earlier = 0.0
    resume = None if out is None else out / _RESUME
    if resume is not None and resume.exists():
        losses, earlier = _restore(resume, model, step_of, _identity(chosen, seed))
    started = time.perf_counter()

    def sitting() -> float:
        return earlier + time.perf_counter() - started

    data = itertools.islice(sequences(STUDY_DATA_SEED + seed, chosen.batch), len(losses), None)
    label = f"no-position {chosen.name} seed {seed}"
    with progress(label, chosen.steps, show=show_progress) as advance:
        for step in range(len(losses), chosen.steps):
            if out is not None and snapshot_every and step % snapshot_every == 0:
                model.save_pretrained(out / f"step-{step}")
            losses.append(float(step_of(next(data).to(device), step)))
            if resume is not None and (step + 1) % _RESUME_EVERY == 0:
                _keep(
                    resume,
                    model,
                    step_of,
                    losses,
                    seconds=sitting(),
                    identity=_identity(chosen, seed),
                )
            advance(step + 1, f"loss {losses[-1]:.4f}")
    run = TrainingRun(
        recipe=chosen.name,
        settings=asdict(chosen),
        seed=seed,
        data_seed=STUDY_DATA_SEED + seed,
        losses=[float(f"{loss:.6g}") for loss in losses],
        held_out_loss=held_out_loss(model, _HELD_OUT),
        evaluation_seed=EVALUATION_SEED,
        device=device,
        threads=torch.get_num_threads(),
        seconds=round(sitting(), 1),
        versions=_versions(),
    )
    if out is not None:
        _finish(out, model, run)
    return model, run


def read_run(folder: Path) -> TrainingRun:
    """Return the record of a finished run.

    Raises
    ------
    RefutableError
        When the folder holds no finished run.
    """
    file = folder / "training.json"
    if not file.exists():
        raise RefutableError(f"no finished run in {folder}: train it with `refutable train`")
    return TrainingRun(**json.loads(file.read_text()))


def _identity(recipe: Recipe, seed: int) -> str:
    return json.dumps({"seed": seed, **asdict(recipe)}, sort_keys=True)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers")}


def _keep(
    file: Path,
    model: GPT2LMHeadModel,
    step_of: TrainingStep,
    losses: list[float],
    *,
    seconds: float,
    identity: str,
) -> None:
    """Write weights, optimiser moments and losses at once, or not at all."""
    import torch
    from safetensors.torch import save_file

    tensors = {f"weight.{name}": value for name, value in model.state_dict().items()}
    for index, parameter in enumerate(trainable(model)):
        moments = step_of.optimizer.state[parameter]
        tensors[f"mean.{index}"] = moments["exp_avg"]
        tensors[f"square.{index}"] = moments["exp_avg_sq"]
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    with files.draft(file) as part:
        save_file(tensors, part, metadata={"identity": identity, "seconds": str(seconds)})


def _restore(
    file: Path, model: GPT2LMHeadModel, step_of: TrainingStep, identity: str
) -> tuple[list[float], float]:
    """Load an interrupted run; return the losses so far and the seconds spent."""
    import torch
    from safetensors import safe_open

    with safe_open(file, framework="pt", device=str(model.device)) as kept:
        metadata = kept.metadata()
        if metadata["identity"] != identity:
            raise RefutableError(
                f"{file} belongs to another recipe or seed: give another folder or delete it"
            )
        losses = kept.get_tensor("losses").tolist()
        weights = {name: kept.get_tensor(f"weight.{name}") for name in model.state_dict()}
        model.load_state_dict(weights)
        for index, parameter in enumerate(trainable(model)):
            step_of.optimizer.state[parameter] = {
                "step": torch.tensor(float(len(losses)), device=parameter.device),
                "exp_avg": kept.get_tensor(f"mean.{index}"),
                "exp_avg_sq": kept.get_tensor(f"square.{index}"),
            }
    return losses, float(metadata["seconds"])


def _finish(out: Path, model: GPT2LMHeadModel, run: TrainingRun) -> None:
    """Write the final weights, then the record that marks the run as finished."""
    model.save_pretrained(out)
    files.write(out / "training.json", json.dumps(asdict(run)))
    (out / _RESUME).unlink(missing_ok=True)
