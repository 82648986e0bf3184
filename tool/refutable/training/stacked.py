"""Train several twins of one variant side by side: one CUDA graph a step, replayed.

Steps of models this small are bound by the time that it takes to start kernels. Members of a stack
share every kernel, and a step is captured once, so the processor only starts whole steps. Runs
repeat bit for bit on one kind of device with the same members.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refutable.training.data import Tokens, TwinData, held_out_rows, training_windows
from refutable.training.log import TwinLog
from refutable.training.recipe import TwinRecipe, Variant, config_of
from refutable.training.stacked_model import stacked_losses
from refutable.training.train import build_twin, groups_of, library_versions, rate_at

_EPSILON = 1e-8
_REST = "rest"
"""Norms and positions: in no group of the log."""


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a stack."""

    seed: int
    recipe: TwinRecipe
    """Recipes of one stack differ in the learning rate alone."""


@contextmanager
def repeatable() -> Iterator[None]:
    """Let torch use nothing on a GPU whose sums change from run to run."""
    # Read by cuBLAS when it is first used: without it a workspace may change the order of sums.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


class Stack:
    """Training state of several twins of one variant.

    Parameters
    ----------
    variant : Variant
        What all of them are.
    members : sequence of Member
        Seed and recipe of each.
    data : TwinData
        The tokenized corpus.
    device : str
        Where to train; a step is captured as a graph on "cuda".

    Attributes
    ----------
    parameters : dict of str to Tensor
        ``(member, ...)`` under the names of `TwinLMHeadModel`: views of one buffer.
    """

    def __init__(
        self, variant: Variant, members: Sequence[Member], data: TwinData, device: str
    ) -> None:
        self.variant, self.members, self.device = variant, tuple(members), device
        self.recipe = members[0].recipe
        self.config = config_of(variant, self.recipe)
        twins = [build_twin(variant, m.recipe, m.seed) for m in members]
        groups = _groups(twins[0])
        self.groups = [name for name in groups if name != _REST]
        self._lay_out(twins, groups)
        self._tabulate(data)
        self._counter = torch.zeros(1, dtype=torch.long, device=device)
        self._graph: Any = None
        self._stream = torch.cuda.Stream(device) if device.startswith("cuda") else None
        self.step = 0
        self.logs = [self._empty_log(m, data) for m in members]
        if self._stream is not None:
            # What was laid out above was started on another stream.
            torch.cuda.synchronize()

    # -- set-up ------------------------------------------------------------------------------

    def _lay_out(self, twins: Sequence[Any], groups: dict[str, list[str]]) -> None:
        """Put all parameters into one buffer ``(member, number)``, group by group."""
        tensors = [dict(twin.named_parameters()) for twin in twins]
        names = [name for group in groups.values() for name in group]
        first = tensors[0]
        flat = torch.stack([torch.cat([t[n].detach().flatten() for n in names]) for t in tensors])
        self.flat = flat.to(self.device)
        self.parameters: dict[str, Tensor] = {}
        decayed = torch.zeros(flat.shape[1])
        member_of = torch.zeros(flat.shape[1], len(groups))
        at = 0
        for column, group in enumerate(groups.values()):
            for name in group:
                end = at + first[name].numel()
                view = self.flat[:, at:end].view(len(twins), *first[name].shape)
                self.parameters[name] = view.detach().requires_grad_(True)
                decayed[at:end] = float(first[name].dim() > 1)
                member_of[at:end, column] = 1.0
                at = end
        self._leaves = list(self.parameters.values())
        self._decayed = decayed.to(self.device)
        self._group_of = member_of.to(self.device)
        self.mean, self.square = torch.zeros_like(self.flat), torch.zeros_like(self.flat)

    def _tabulate(self, data: TwinData) -> None:
        """Put all that a step needs to know by its number onto the device."""
        recipe, device = self.recipe, self.device
        windows = [training_windows(data.train, m.recipe, m.seed) for m in self.members]
        shape = (len(windows), recipe.steps, recipe.batch)
        starts = np.stack([w[0] for w in windows]).astype(np.int32).reshape(shape)
        marked = np.stack([w[1] for w in windows]).reshape(shape)
        self._starts = torch.from_numpy(starts).to(device)
        self._marked = torch.from_numpy(marked).to(device)
        self._tokens = torch.from_numpy(data.train.astype(np.int16)).to(device)
        self._offsets = torch.arange(recipe.context + 1, device=device)
        self._few = torch.from_numpy(
            held_out_rows(data.held_out, recipe.evaluation_rows, recipe.context)
        ).to(device)
        rates = [[rate_at(m.recipe, s) for s in range(recipe.steps)] for m in self.members]
        self._rates = torch.tensor(rates, dtype=torch.float64)
        done = torch.arange(1, recipe.steps + 1, dtype=torch.float64)
        first, second = recipe.betas
        self._sizes = (self._rates / (1 - first**done)).float().to(device)
        self._roots = (1 - second**done).sqrt().float().to(device)
        self._decays = (self._rates * recipe.weight_decay).float().to(device)
        members, groups = len(self.members), len(self.groups) + 1
        self.losses = torch.zeros(members, recipe.steps, device=device)
        self.squares = torch.zeros(members, recipe.steps, groups, device=device)

    def _empty_log(self, member: Member, data: TwinData) -> TwinLog:
        return TwinLog(
            variant=self.variant.name,
            seed=member.seed,
            recipe=asdict(member.recipe),
            corpus_digest=data.corpus_digest,
            device=_named(self.device),
            threads=torch.get_num_threads(),
            versions=library_versions(),
            groups=self.groups,
            stack=[one.seed for one in self.members],
        )

    # -- one step ----------------------------------------------------------------------------

    def take_step(self) -> None:
        """Take one step of every member; all it reads and leaves lies on the device."""
        at = self._counter
        rows = self._next_rows(at)
        losses = stacked_losses(self.parameters, rows, self.config)
        gradients = torch.autograd.grad(losses.sum(), self._leaves)
        with torch.no_grad():
            flat = torch.cat([g.reshape(len(self.members), -1) for g in gradients], 1)
            squares = flat.square() @ self._group_of
            self.losses.index_copy_(1, at, losses[:, None])
            self.squares.index_copy_(1, at, squares[:, None])
            norm = squares.sum(1, keepdim=True).sqrt()
            self._update(flat * (self.recipe.clip / (norm + 1e-6)).clamp(max=1.0), at)
            at.add_(1)

    def _next_rows(self, at: Tensor) -> Tensor:
        """Token ids of the step's rows, ``(member, row, position)``."""
        starts = self._starts.index_select(1, at).squeeze(1)
        rows = self._tokens[starts[..., None] + self._offsets].long()
        marked = self._marked.index_select(1, at).squeeze(1)
        first = rows[..., :1].masked_fill(marked[..., None], 0)
        return torch.cat([first, rows[..., 1:]], -1)

    def _update(self, gradient: Tensor, at: Tensor) -> None:
        """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch's AdamW."""
        first, second = self.recipe.betas
        self.flat.mul_(1 - self._decays.index_select(1, at) * self._decayed)
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        below = self.square.sqrt().div_(self._roots.index_select(0, at)).add_(_EPSILON)
        self.flat.addcdiv_(self.mean * self._sizes.index_select(1, at), below, value=-1.0)

    def _capture(self) -> None:
        """Capture a step; the state is as it was afterwards."""
        assert self._stream is not None  # noqa: S101  (only called where there is one)
        state = (self.flat, self.mean, self.square, self._counter, self.losses, self.squares)
        kept = [tensor.clone() for tensor in state]
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(3):
                self.take_step()
        self._stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=self._stream):
            self.take_step()
        with torch.no_grad(), torch.cuda.stream(self._stream):
            for tensor, old in zip(state, kept, strict=True):
                tensor.copy_(old)
        self._stream.synchronize()

    def advance(self, steps: int) -> None:
        """Take steps; on a GPU they are only started."""
        if self._stream is None:
            for _ in range(steps):
                self.take_step()
        else:
            if self._graph is None:
                self._capture()
            with torch.cuda.stream(self._stream):
                for _ in range(steps):
                    self._graph.replay()
        self.step += steps

    @contextmanager
    def on_stream(self) -> Iterator[None]:
        """Do what follows after the steps that were started."""
        if self._stream is None:
            yield
        else:
            with torch.cuda.stream(self._stream):
                yield

    # -- reading -----------------------------------------------------------------------------

    @torch.no_grad()
    def loss_on(self, rows: Tokens | Tensor, batch: int = 32) -> list[float]:
        """Mean loss in nats of each member on the same rows ``(row, position)``."""
        table = torch.as_tensor(rows).to(self.device)
        with self.on_stream():
            total = torch.zeros(len(self.members), dtype=torch.float64, device=self.device)
            for part in table.split(batch):
                shared = part.expand(len(self.members), *part.shape)
                losses = stacked_losses(self.parameters, shared, self.config)
                total += losses.double() * len(part)
            return [float(f"{x:.6g}") for x in (total / len(table)).tolist()]

    def evaluate(self) -> None:
        """Write the held-out loss of this step into the logs."""
        for log, loss in zip(self.logs, self.loss_on(self._few), strict=True):
            log.evaluations.append((self.step, loss))

    def note_norms(self) -> None:
        """Write the gradients' root mean square since the last time and the weights' norms."""
        every = self.recipe.log_every
        with torch.no_grad(), self.on_stream():
            since = self.squares[:, self.step - every : self.step, : len(self.groups)]
            gradients = since.mean(1).sqrt().tolist()
            weights = (self.flat.square() @ self._group_of)[:, : len(self.groups)].sqrt().tolist()
        for log, of_gradient, of_weights in zip(self.logs, gradients, weights, strict=True):
            log.gradient_norms.append([float(f"{x:.5g}") for x in of_gradient])
            log.weight_norms.append([float(f"{x:.5g}") for x in of_weights])

    def tensors(self) -> list[dict[str, Tensor]]:
        """Return the parameters of each member on the CPU, under the names of a twin's."""
        with torch.no_grad(), self.on_stream():
            flat = self.flat.cpu()
        tensors = []
        for row in flat:
            tensors_of, at = {}, 0
            for name, parameter in self.parameters.items():
                size = parameter[0].numel()
                tensors_of[name] = row[at : at + size].view(parameter.shape[1:]).clone()
                at += size
            if self.variant.positions == "none":
                shape = (self.config.n_positions, self.config.n_embd)
                tensors_of["transformer.wpe.weight"] = torch.zeros(shape)
            tensors.append(tensors_of)
        return tensors

    # -- stopping and going on ---------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Return what a later sitting needs to go on bit for bit."""
        with self.on_stream():
            return {
                "flat": self.flat.cpu(), "mean": self.mean.cpu(), "square": self.square.cpu(),
                "losses": self.losses.cpu(), "squares": self.squares.cpu(),
            }  # fmt: skip

    def restore(self, state: dict[str, Tensor], step: int, logs: Sequence[TwinLog]) -> None:
        """Go on from a state after a number of steps."""
        with torch.no_grad():
            for name, tensor in state.items():
                getattr(self, name).copy_(tensor)
            self._counter.fill_(step)
        if self._stream is not None:
            torch.cuda.synchronize()
        self.step, self.logs = step, list(logs)

    def read_losses(self) -> None:
        """Write the training loss of each step so far into the logs."""
        with self.on_stream():
            table = self.losses[:, : self.step].tolist()
        for log, losses in zip(self.logs, table, strict=True):
            log.losses = [float(f"{loss:.6g}") for loss in losses]


def _groups(twin: Any) -> dict[str, list[str]]:
    """Names of a twin's trained parameters: the groups of the log, then all others."""
    name_of = {id(p): name for name, p in twin.named_parameters() if p.requires_grad}
    groups = {
        group: [name_of.pop(id(p)) for p in parameters]
        for group, parameters in groups_of(twin).items()
    }
    groups[_REST] = list(name_of.values())
    return groups


def _named(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
