"""Train twins: deterministic per seed on one device, resumable, with checkpoints and a log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional

from refutable.errors import DivergedError, RefutableError
from refutable.models.twin_model import TwinLMHeadModel, initialise
from refutable.system import files
from refutable.system.progress import progress
from refutable.training.data import (
    Tokens,
    TwinData,
    held_out_rows,
    training_rows,
)
from refutable.training.log import LOG, TwinLog, read_log
from refutable.training.recipe import TwinRecipe, Variant, config_of, recipe_from
from refutable.training.trigram import trigram_loss

_RESUME = "resume.safetensors"


def groups_of(model: TwinLMHeadModel) -> dict[str, list[torch.nn.Parameter]]:
    """Return the trainable tensors that every variant has, by block, and the embedding's."""
    groups: dict[str, list[torch.nn.Parameter]] = {"embed": []}
    for index in range(model.config.n_layer):
        groups[f"blocks.{index}"] = []
    for name, parameter in model.named_parameters():
        if ".ln_" in name or "wpe" in name:
            continue
        parts = name.split(".")
        key = f"blocks.{parts[2]}" if parts[1] == "h" else "embed"
        groups[key].append(parameter)
    return groups


def build_twin(variant: Variant, recipe: TwinRecipe, seed: int) -> TwinLMHeadModel:
    """Return a freshly initialised twin in float32 on the CPU."""
    model = TwinLMHeadModel(config_of(variant, recipe))
    initialise(model, seed)
    if variant.positions == "none":
        model.transformer.wpe.weight.requires_grad_(False)
    return model


@torch.no_grad()
def loss_on(model: TwinLMHeadModel, rows: Tokens, batch: int = 32) -> float:
    """Mean held-out loss in nats over the predictions of rows ``(row, position)``."""
    total = 0.0
    for first in range(0, len(rows), batch):
        part = torch.from_numpy(rows[first : first + batch]).to(model.device)
        total += float(_loss(model, part)) * len(part)
    return total / len(rows)


def _loss(model: TwinLMHeadModel, rows: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten())


def rate_at(recipe: TwinRecipe, step: int) -> float:
    """Learning rate of a step: linear warm-up, then down to ``final_rate`` of the peak."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    low = recipe.final_rate
    if recipe.schedule == "linear":
        return recipe.learning_rate * (low + (1 - low) * (1 - done))
    return recipe.learning_rate * (low + (1 - low) * (1 + math.cos(math.pi * done)) / 2)


class _Run:
    """State of one training run: model, optimiser, log."""

    def __init__(
        self, variant: Variant, seed: int, recipe: TwinRecipe, data: TwinData, device: str
    ) -> None:
        self.recipe = recipe
        self.rows = training_rows(data.train, recipe, seed)
        self.model = build_twin(variant, recipe, seed).to(device)  # type: ignore[arg-type]
        self.model.train()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.trained = trained
        decayed: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.dim() > 1]},
            {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            decayed,
            lr=recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.groups = groups_of(self.model)
        self.squares: list[torch.Tensor] = []
        self.log = TwinLog(
            variant=variant.name,
            seed=seed,
            recipe=asdict(recipe),
            corpus_digest=data.corpus_digest,
            device=str(self.model.device),
            threads=torch.get_num_threads(),
            versions=library_versions(),
            groups=list(self.groups),
        )

    def step(self) -> float:
        """Take one step and return the loss before it."""
        step, recipe = len(self.log.losses), self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(recipe, step)
        rows = self.rows[step * recipe.batch : (step + 1) * recipe.batch]
        loss = _loss(self.model, torch.from_numpy(rows).to(self.model.device))
        loss.backward()
        self.squares.append(self._gradient_squares())
        torch.nn.utils.clip_grad_norm_(self.trained, recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        self.log.losses.append(float(f"{value:.6g}"))
        if (step + 1) % recipe.log_every == 0:
            self._note_norms()
        return value

    def _gradient_squares(self) -> torch.Tensor:
        gradients = [
            [p.grad for p in group if p.grad is not None] for group in self.groups.values()
        ]
        return torch.stack([torch.stack(torch._foreach_norm(g)).square().sum() for g in gradients])

    @torch.no_grad()
    def _note_norms(self) -> None:
        root = torch.stack(self.squares).mean(0).sqrt()
        self.squares.clear()
        weights = torch.stack(
            [torch.stack(torch._foreach_norm([*group])).norm() for group in self.groups.values()]
        )
        self.log.gradient_norms.append([float(f"{x:.5g}") for x in root.tolist()])
        self.log.weight_norms.append([float(f"{x:.5g}") for x in weights.tolist()])


def train_twin(
    variant: Variant,
    seed: int,
    recipe: TwinRecipe,
    data: TwinData,
    out: Path,
    *,
    device: str = "cpu",
    show_progress: bool = True,
    stop: Callable[[int], bool] = lambda step: False,
) -> TwinLog:
    """Train one twin, or finish the run that ``out`` holds, or read it when it is finished.

    Parameters
    ----------
    variant, seed, recipe
        What to train. A seed fixes the initialisation and the data order of all variants.
    data
        The tokenized corpus.
    out
        Folder for ``model.safetensors`` (float32), ``step-N.safetensors`` (float16), the log.
    device
        Where to train. Runs repeat bit for bit on one device with one number of threads.
    show_progress
        Show a bar with the remaining time, or a line for each tenth.
    stop
        Asked after every step; True leaves the run unfinished, as a kill would.

    Returns
    -------
    TwinLog

    Raises
    ------
    RefutableError
        When ``out`` holds a run of another variant, seed, recipe or corpus.
    DivergedError
        As soon as the loss is no finite number; the last state before it is kept.
    """
    out.mkdir(parents=True, exist_ok=True)
    if (out / LOG).exists():
        return _finished(out, variant, seed, recipe, data)
    run = _Run(variant, seed, recipe, data, device)
    _restore(run, out / _RESUME)
    few = held_out_rows(data.held_out, recipe.evaluation_rows, recipe.context)
    times: list[float] = []
    with progress(f"twin {variant.name} seed {seed}", recipe.steps, show=show_progress) as advance:
        for step in range(len(run.log.losses), recipe.steps):
            started = time.perf_counter()
            if step == 0:
                run.log.evaluations.append((0, _evaluate(run, few)))
            loss = run.step()
            if not math.isfinite(loss):
                raise DivergedError(
                    f"twin {variant.name} seed {seed} diverged: its loss is {loss} at step "
                    f"{step + 1}, with a peak rate of {recipe.learning_rate:g}: lower the rate"
                )
            times.append(time.perf_counter() - started)
            if (step + 1) % recipe.evaluate_every == 0 or step + 1 == recipe.steps:
                run.log.evaluations.append((step + 1, _evaluate(run, few)))
            run.log.seconds += time.perf_counter() - started
            if recipe.keeps(step + 1):
                _write(out / f"step-{step + 1}.safetensors", _halves(run.model), {})
            if (step + 1) % recipe.checkpoint_every == 0:
                _keep(run, out / _RESUME)
            advance(step + 1, f"loss {loss:.3f}")
            if stop(step + 1):
                return run.log
    run.log.step_seconds = float(np.median(times)) if times else run.log.step_seconds
    _finish(run, data, out)
    return run.log


def _finished(
    out: Path, variant: Variant, seed: int, recipe: TwinRecipe, data: TwinData
) -> TwinLog:
    log = read_log(out)
    asked = [variant.name, seed, recipe, data.corpus_digest]
    if _identity(log) != asked:
        raise RefutableError(
            f"{out} holds a finished run of {log.variant} seed {log.seed} ({log.recipe['steps']} "
            "steps) with another recipe or corpus: remove the folder or choose another one"
        )
    return log


def _evaluate(run: _Run, rows: Tokens) -> float:
    run.model.eval()
    value = float(f"{loss_on(run.model, rows):.6g}")
    run.model.train()
    return value


def _finish(run: _Run, data: TwinData, out: Path) -> None:
    """Write the final weights, then the log, whose presence says that the run is finished."""
    recipe, log = run.recipe, run.log
    rows = held_out_rows(data.held_out, recipe.final_rows, recipe.context)
    log.held_out_loss = _evaluate(run, rows)
    log.trigram_loss = trigram_loss(data, recipe, log.seed)
    log.seconds = round(log.seconds, 2)
    _write(out / "model.safetensors", _tensors(run.model), {"format": "pt"})
    files.write(out / LOG, json.dumps(asdict(log)))
    (out / _RESUME).unlink(missing_ok=True)


def _tensors(model: TwinLMHeadModel) -> dict[str, torch.Tensor]:
    return {n: p.detach().cpu().contiguous() for n, p in model.named_parameters()}


def _halves(model: TwinLMHeadModel) -> dict[str, torch.Tensor]:
    return {name: tensor.half() for name, tensor in _tensors(model).items()}


def _write(file: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    with files.draft(file) as partial:
        save_file(tensors, partial, metadata)


def _identity(log: TwinLog) -> list[object]:
    return [log.variant, log.seed, recipe_from(log.recipe), log.corpus_digest]


def _keep(run: _Run, file: Path) -> None:
    """Write everything a later sitting needs to go on bit for bit, in one atomic file."""
    tensors = {f"model.{name}": tensor for name, tensor in _tensors(run.model).items()}
    for index, parameter in enumerate(run.trained):
        for key, value in run.optimizer.state[parameter].items():
            tensors[f"optimizer.{index}.{key}"] = value.detach().cpu()
    if run.squares:
        tensors["squares"] = torch.stack(run.squares).cpu()
    _write(file, tensors, {"log": json.dumps(asdict(run.log))})


def _restore(run: _Run, file: Path) -> None:
    if not file.exists():
        return
    with safe_open(file, framework="pt") as kept:
        log = TwinLog(**json.loads(kept.metadata()["log"]))
        if _identity(log) != _identity(run.log):
            raise RefutableError(
                f"{file.parent} holds an unfinished run of {log.variant} seed {log.seed} with "
                "another recipe or corpus: remove the folder or choose another one"
            )
        with torch.no_grad():
            for name, parameter in run.model.named_parameters():
                parameter.copy_(kept.get_tensor(f"model.{name}"))
        for index, parameter in enumerate(run.trained):
            run.optimizer.state[parameter] = {
                "step": kept.get_tensor(f"optimizer.{index}.step").to(parameter.device),
                "exp_avg": kept.get_tensor(f"optimizer.{index}.exp_avg").to(parameter.device),
                "exp_avg_sq": kept.get_tensor(f"optimizer.{index}.exp_avg_sq").to(parameter.device),
            }
        if "squares" in kept.keys():
            run.squares = list(kept.get_tensor("squares").to(run.model.device))
    log.evaluations = [(int(step), float(loss)) for step, loss in log.evaluations]
    run.log = log


def library_versions() -> dict[str, str]:
    """Return the versions of what a run's numbers depend on."""
    import platform

    import tokenizers
    import transformers

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }
