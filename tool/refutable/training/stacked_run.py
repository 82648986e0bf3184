"""Train whole stacks of twins and leave the files that runs one by one leave, too."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from refutable.errors import DivergedError, RefutableError
from refutable.system import files
from refutable.system.progress import progress
from refutable.training.data import TwinData, held_out_rows
from refutable.training.log import LOG, TwinLog, read_log
from refutable.training.recipe import Variant, recipe_from
from refutable.training.stacked import Member, Stack, repeatable
from refutable.training.trigram import trigram_loss

SIDE_BY_SIDE = 3
"""Stacks on a GPU at once: while one waits for memory another computes."""
_RESUME = "resume.safetensors"


@dataclass(frozen=True, slots=True)
class Job:
    """One stack, and the folder of each of its members."""

    variant: Variant
    members: tuple[Member, ...]
    folders: tuple[Path, ...]

    @property
    def finished(self) -> bool:
        """Whether every member is finished; a stack is trained as a whole."""
        return all((folder / LOG).exists() for folder in self.folders)


def train_stacks(
    jobs: Sequence[Job],
    data: TwinData,
    device: str,
    *,
    side_by_side: int = SIDE_BY_SIDE,
    show_progress: bool = True,
    on_finished: Callable[[Job], None] = lambda job: None,
    deadline: float = math.inf,
) -> None:
    """Train stacks, some of them side by side; each goes on where it was stopped.

    Parameters
    ----------
    jobs : sequence of Job
        In the order in which they are begun.
    data : TwinData
        The tokenized corpus.
    device : str
        Where to train.
    side_by_side : int
        Stacks that share a GPU; their numbers do not depend on it.
    show_progress : bool
        Show a bar with the remaining time, or a line for each tenth.
    on_finished : callable
        Called with each job once its files are written.
    deadline : float
        ``time.monotonic()`` after which no step is begun; what was reached is kept.

    Raises
    ------
    RefutableError
        When a folder holds a run of another recipe or corpus, or a run diverged.
    """
    waiting = [job for job in jobs if not _read(job, data)]
    total = sum(job.members[0].recipe.steps for job in waiting)
    active: list[tuple[Job, Iterator[int]]] = []
    done = 0
    title = f"{sum(len(job.members) for job in waiting)} twins"
    with repeatable(), progress(title, total, show=show_progress and total > 0) as advance:
        while waiting or active:
            while waiting and len(active) < side_by_side:
                job = waiting.pop(0)
                active.append((job, _course(job, data, device)))
            for job, course in list(active):
                taken = next(course, None)
                if taken is None:
                    active.remove((job, course))
                    on_finished(job)
                else:
                    done += taken
                    advance(done, job.variant.name)
            if time.monotonic() > deadline:
                return


def _course(job: Job, data: TwinData, device: str) -> Iterator[int]:
    """Train one stack; yields the number of steps it has started, before waiting for them."""
    stack = Stack(job.variant, job.members, data, device)
    _restore(stack, job)
    recipe, started = stack.recipe, time.perf_counter()
    before = stack.logs[0].seconds
    if stack.step == 0:
        stack.evaluate()
    while stack.step < recipe.steps:
        taken = min(recipe.evaluate_every, recipe.steps - stack.step)
        stack.advance(taken)
        yield taken
        stack.evaluate()
        if not any(math.isfinite(log.evaluations[-1][1]) for log in stack.logs):
            raise DivergedError(
                f"{job.variant.name} diverged at every seed by step {stack.step}: lower the rate"
            )
        if stack.step % recipe.log_every == 0:
            stack.note_norms()
        for log in stack.logs:
            log.seconds = round(before + time.perf_counter() - started, 2)
        if recipe.keeps(stack.step):
            _keep(stack, job)
    _finish(stack, job, data)


def _keep(stack: Stack, job: Job) -> None:
    for folder, tensors in zip(job.folders, stack.tensors(), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        halves = {name: tensor.half() for name, tensor in tensors.items()}
        _write(folder / f"step-{stack.step}.safetensors", halves, {})
    stack.read_losses()
    about = {"step": stack.step, "logs": [asdict(log) for log in stack.logs]}
    _write(job.folders[0] / _RESUME, stack.state(), {"stack": json.dumps(about)})


def _restore(stack: Stack, job: Job) -> None:
    file = job.folders[0] / _RESUME
    if not file.exists():
        return
    with safe_open(file, framework="pt") as kept:
        about = json.loads(kept.metadata()["stack"])
        logs = [TwinLog(**fields) for fields in about["logs"]]
        if [_identity(log) for log in logs] != [_identity(log) for log in stack.logs]:
            raise RefutableError(
                f"{file.parent} holds an unfinished stack of other twins: remove the folder or "
                "choose another one"
            )
        for log in logs:
            log.evaluations = [(int(step), float(loss)) for step, loss in log.evaluations]
        stack.restore({n: kept.get_tensor(n) for n in kept.keys()}, about["step"], logs)


def _finish(stack: Stack, job: Job, data: TwinData) -> None:
    recipe = stack.recipe
    rows = held_out_rows(data.held_out, recipe.final_rows, recipe.context)
    losses = stack.loss_on(rows)
    stack.read_losses()
    each = zip(stack.logs, losses, job.folders, stack.tensors(), strict=True)
    diverged = []
    for log, loss, folder, tensors in each:
        if not math.isfinite(loss):
            diverged.append(log.seed)
            continue
        folder.mkdir(parents=True, exist_ok=True)
        log.held_out_loss = loss
        log.trigram_loss = trigram_loss(data, recipe, log.seed)
        log.step_seconds = log.seconds / recipe.steps
        _write(folder / "model.safetensors", tensors, {"format": "pt"})
        files.write(folder / LOG, json.dumps(asdict(log)))
    if diverged:
        raise DivergedError(
            f"{job.variant.name} diverged at seeds {diverged}: lower the learning rate"
        )
    (job.folders[0] / _RESUME).unlink(missing_ok=True)


def _read(job: Job, data: TwinData) -> bool:
    """Whether the job is finished already; refuses folders with another run."""
    for member, folder in zip(job.members, job.folders, strict=True):
        if not (folder / LOG).exists():
            continue
        log = read_log(folder)
        asked = (job.variant.name, member.seed, member.recipe, data.corpus_digest)
        if _identity(log) != asked:
            raise RefutableError(
                f"{folder} holds a finished run of {log.variant} seed {log.seed} with another "
                "recipe or corpus: remove the folder or choose another one"
            )
    return job.finished


def _identity(log: TwinLog) -> tuple[object, ...]:
    return (log.variant, log.seed, recipe_from(log.recipe), log.corpus_digest)


def _write(file: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    with files.draft(file) as partial:
        save_file(tensors, partial, metadata)
