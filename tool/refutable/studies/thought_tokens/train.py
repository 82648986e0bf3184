"""Train thought twins: many seeds at once, repeatable per seed, resumable, every loss kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.errors import RefutableError
from refutable.studies.thought_tokens.recipe import KINDS, Recipe, Size
from refutable.studies.thought_tokens.stacked import Stacked, fresh_weights, of_seed, stack
from refutable.studies.thought_tokens.task import (
    EVALUATION_SEED,
    SLOTS,
    THOUGHTS,
    VOCABULARY,
    Problems,
    problems,
    stream,
)
from refutable.system.files import draft

if TYPE_CHECKING:
    import torch

    from refutable.system.typing import Json

    Weights = dict[str, torch.Tensor]


LOGGED_EVERY = 10


@dataclass(frozen=True, slots=True)
class ThoughtLog:
    """What is known about one finished training run; stored beside its weights as training.json."""

    size: str
    kind: str
    seed: int
    recipe: dict[str, Json]
    steps: int
    """Steps taken; fewer than the recipe's where a run was stopped."""
    losses: list[float]
    """Training loss of every tenth step in nats, before its update."""
    stages: list[int]
    """Stage of every tenth step: how many values were not written out."""
    accuracy: dict[str, float]
    """Share of held-out problems answered right, by number of thoughts."""
    trained_with: list[int]
    """All seeds that were computed in one stack."""
    device: str
    seconds: float
    """Wall time of the whole stack."""
    versions: dict[str, str]


class Stack:
    """The training of several seeds of one size and kind.

    Parameters
    ----------
    size, kind
        Shape, and ``thoughts`` or ``direct``.
    seeds
        Training seeds; each sets its model's initialisation and its data order.
    recipe
        Everything else.
    device
        Where to train.
    """

    def __init__(
        self, size: Size, kind: str, seeds: Sequence[int], recipe: Recipe, device: str
    ) -> None:
        import torch

        if kind not in KINDS:
            raise RefutableError(f"no kind {kind!r} of thought twins: choose {' or '.join(KINDS)}")
        self.size, self.kind, self.seeds, self.recipe = size, kind, tuple(seeds), recipe
        self.device = torch.device(device)
        models = [fresh_weights(size, seed, recipe) for seed in seeds]
        self.weights = {
            name: tensor.to(self.device).requires_grad_() for name, tensor in stack(models).items()
        }
        self.model = Stacked(self.weights, size)
        self.parameters = list(self.weights.values())
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.losses: list[torch.Tensor] = []
        self.seconds = 0.0

    @property
    def done(self) -> int:
        """Number of steps taken."""
        return len(self.losses)

    def train(self, until: int, say: Callable[[int, str], None] | None = None) -> None:
        """Take steps until so many are done.

        Parameters
        ----------
        until
            Number of steps done at the end.
        say
            Gets the number of steps done and the mean loss, now and then.
        """
        began, earlier = time.perf_counter(), self.seconds
        done = len(self.losses)
        batches = [stream(seed, self.recipe.batch, skip=done) for seed in self.seeds]
        for step in range(done, until):
            drawn = [next(batch) for batch in batches]
            self.losses.append(self._step(step, _stacked(drawn, self.device)))
            self.seconds = earlier + time.perf_counter() - began
            if say is not None and (step + 1) % 20 == 0:
                say(step + 1, f"loss {float(self.losses[-1].mean()):.4f}")

    def _step(self, step: int, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Take one step on a batch (seed, problem, ...); return each seed's loss before it."""
        import torch

        rate = self.recipe.learning_rate * self.recipe.factor(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self.loss(*batch, self.recipe.stage_at(step))
        for parameter in self.parameters:
            parameter.grad = None
        # Seeds share no tensor, so the gradient of the sum is each one's own.
        losses.sum().backward()
        grads = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        squares = torch.stack([grad.flatten(1).square().sum(dim=1) for grad in grads])
        scale = (self.recipe.clip_norm / (squares.sum(dim=0).sqrt() + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(scale.view(-1, *[1] * (grad.ndim - 1)))
        self.optimizer.step()
        return losses.detach()

    def loss(self, prompts: torch.Tensor, values: torch.Tensor, stage: int) -> torch.Tensor:
        """Return each seed's mean cross-entropy of what is written and of the answer, in nats."""
        import torch
        import torch.nn.functional as functional

        thoughts = stage if self.kind == "thoughts" else 0
        logits = self.model.answers(prompts, values, thoughts, first=stage)
        targets = torch.cat([values[..., stage:], values[..., -1:]], dim=-1)
        each = functional.cross_entropy(
            logits.reshape(-1, VOCABULARY), targets.reshape(-1), reduction="none"
        )
        return each.view(len(prompts), -1).mean(dim=1)

    def accuracy(self, thoughts: int) -> list[float]:
        """Return the share of held-out problems that each seed answers right.

        The answer comes right after the thoughts, however many there are; nothing is written.
        """
        import torch

        held = problems(torch.Generator().manual_seed(EVALUATION_SEED), self.recipe.held_out)
        prompts, values = _stacked([held] * len(self.seeds), self.device)
        with torch.no_grad():
            logits = self.model.answers(prompts, values, thoughts, first=SLOTS)
        right = logits[:, :, -1].argmax(dim=-1) == values[..., -1]
        return [float(share) for share in right.double().mean(dim=1)]

    def logs(self) -> list[ThoughtLog]:
        """Return the record of each seed's training."""
        import torch

        counts = range(THOUGHTS + 1) if self.kind == "thoughts" else (0,)
        accuracy = {str(count): self.accuracy(count) for count in counts}
        losses = torch.stack(self.losses).double().cpu()
        return [
            ThoughtLog(
                size=self.size.name,
                kind=self.kind,
                seed=seed,
                recipe=asdict(self.recipe),
                steps=self.done,
                losses=[float(f"{float(loss):.4g}") for loss in losses[::LOGGED_EVERY, place]],
                stages=[self.recipe.stage_at(step) for step in range(0, self.done, LOGGED_EVERY)],
                accuracy={count: shares[place] for count, shares in accuracy.items()},
                trained_with=list(self.seeds),
                device=self.device.type,
                seconds=round(self.seconds, 1),
                versions={"torch": str(torch.__version__)},
            )
            for place, seed in enumerate(self.seeds)
        ]

    # -- interruption ------------------------------------------------------------------------

    def keep(self, file: Path) -> None:
        """Write weights, moments and losses at once, or not at all."""
        import torch
        from safetensors.torch import save_file

        tensors = {f"weight.{name}": tensor.detach() for name, tensor in self.weights.items()}
        for name, parameter in self.weights.items():
            moments = self.optimizer.state[parameter]
            tensors[f"mean.{name}"] = moments["exp_avg"]
            tensors[f"square.{name}"] = moments["exp_avg_sq"]
        tensors["losses"] = torch.stack(self.losses)
        about = {"identity": self._identity(), "seconds": str(self.seconds)}
        with draft(file) as part:
            save_file(tensors, part, metadata=about)

    def resume(self, file: Path) -> None:
        """Go on from what `keep` wrote.

        Raises
        ------
        RefutableError
            When it belongs to other seeds or another recipe.
        """
        import torch
        from safetensors import safe_open

        with safe_open(file, framework="pt", device=str(self.device)) as kept:
            about = kept.metadata()
            if about["identity"] != self._identity():
                raise RefutableError(
                    f"{file} belongs to another recipe or other seeds: give another folder or "
                    "delete it"
                )
            self.losses = list(kept.get_tensor("losses"))
            self.seconds = float(about["seconds"])
            for name, parameter in self.weights.items():
                with torch.no_grad():
                    parameter.copy_(kept.get_tensor(f"weight.{name}"))
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(len(self.losses)), device=self.device),
                    "exp_avg": kept.get_tensor(f"mean.{name}"),
                    "exp_avg_sq": kept.get_tensor(f"square.{name}"),
                }

    def _identity(self) -> str:
        about = {"size": asdict(self.size), "kind": self.kind, "seeds": self.seeds}
        return json.dumps({**about, "recipe": asdict(self.recipe)}, sort_keys=True)


def _stacked(drawn: Sequence[Problems], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    prompts = torch.stack([batch.prompts for batch in drawn])
    values = torch.stack([batch.values for batch in drawn])
    return prompts.to(device), values.to(device)


def weights_of(trained: Stack, seed: int) -> Weights:
    """Return the tensors of one trained seed, as `GPT2LMHeadModel` loads them."""
    return of_seed(trained.weights, trained.seeds.index(seed))


__all__ = ["Stack", "ThoughtLog", "weights_of"]
