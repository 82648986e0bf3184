"""The loss around a model's weights, along filter-normalized random directions.

A direction is normal noise in every matrix, each filter of it (the weights that make one output,
or one token's embedding) scaled to the norm of the model's own filter; biases and norm gains, which
are no matrices, stay as they are. So a step of length .1 changes each filter by a tenth of itself,
and models whose weights differ in scale alone have the same landscape (Li et al. 2018, "Visualizing
the Loss Landscape of Neural Nets"; study row N10).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from refutable.capture.last_answer import LastAnswer
from refutable.models.large import is_large, reads_as_a_copy
from refutable.observables.prose.text import documents, windows_of
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import numpy as np
    import torch
    import xarray as xr
    from transformers import PreTrainedModel

    from refutable.models.load import LoadedModel

    Direction = dict[str, torch.Tensor]
    Losses = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

RADIUS = 0.2
"""Length of the steps of `sharpness`, relative to each filter."""
DIRECTIONS = 4
TOKENS = 64
"""Tokens of each document."""
TOKENS_LARGE = 48
"""Tokens of each document that a large model reads (`refutable.models.large`)."""
CURVE = tuple(round(-0.4 + 0.1 * i, 1) for i in range(9))
SURFACE = tuple(round(-0.45 + 0.15 * i, 2) for i in range(7))
SURFACE_LARGE = tuple(round(-0.4 + 0.2 * i, 1) for i in range(5))
"""The steps along either axis for a large model (`refutable.models.large`)."""


def filters(model: PreTrainedModel) -> dict[str, tuple[torch.nn.Parameter, tuple[int, ...]]]:
    """Return every matrix of a model by name, with the dimensions that make up one filter of it."""
    from transformers.pytorch_utils import Conv1D

    turned = {id(m.weight) for m in model.modules() if isinstance(m, Conv1D)}
    return {
        name: (p, (0,) if id(p) in turned else tuple(range(1, p.dim())))
        for name, p in model.named_parameters()
        if p.dim() > 1
    }


def random_direction(model: PreTrainedModel, seed: int, index: int) -> Direction:
    """Draw a filter-normalized direction.

    Parameters
    ----------
    model
        Its matrices give the shapes and the norms.
    seed, index : int
        With a tensor's name they fix its noise, so that models that share a tensor share it.

    Returns
    -------
    dict of str to torch.Tensor
        One tensor for each matrix, on its device.
    """
    import torch

    drawn = {}
    for name, (parameter, dims) in filters(model).items():
        digest = hashlib.sha256(f"{seed}:{index}:{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        noise = torch.randn(parameter.shape, generator=generator).to(parameter)
        length = noise.norm(dim=dims, keepdim=True).clamp_min(torch.finfo(noise.dtype).tiny)
        drawn[name] = noise.mul_(parameter.detach().norm(dim=dims, keepdim=True) / length)
    return drawn


@contextmanager
def _displaced(
    model: PreTrainedModel,
) -> Iterator[Callable[[Sequence[tuple[float, Direction]]], None]]:
    """Give a function that moves the weights from where they were; they end there, bit for bit."""
    import torch

    parameters = {name: parameter for name, (parameter, _) in filters(model).items()}
    saved = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    def move(steps: Sequence[tuple[float, Direction]]) -> None:
        first, others = steps[:1], steps[1:]
        for name, parameter in parameters.items():
            if not first:
                parameter.copy_(saved[name])
            for length, direction in first:
                # From where it was to the first step at once: memory is what large models wait for.
                torch.add(saved[name], direction[name], alpha=length, out=parameter)
            for length, direction in others:
                parameter.add_(direction[name], alpha=length)

    with torch.no_grad():
        try:
            yield move
        finally:
            move(())


def losses_along(
    model: PreTrainedModel,
    loss: Callable[[], Losses],
    points: Sequence[Sequence[tuple[float, Direction]]],
) -> Losses:
    """Loss at displaced weights.

    Parameters
    ----------
    model
        Left as it was, bit for bit.
    loss : callable
        Loss of the model as it is when called: an array of any shape, e.g. ``(text,)``.
    points : sequence of sequence of (float, direction)
        Each point is a sum of directions times a length; an empty one is the model itself.

    Returns
    -------
    numpy.ndarray
        ``(point, ...)``, in the unit of `loss`.
    """
    import numpy as np

    losses = []
    with _displaced(model) as move:
        for point in points:
            move(point)
            losses.append(loss())
    return np.array(losses)


def sharpness_of(
    model: PreTrainedModel,
    loss: Callable[[], Losses],
    *,
    seed: int,
    radius: float = RADIUS,
    directions: int = DIRECTIONS,
) -> Losses:
    """Mean rise of the loss at a distance along random directions and against them.

    Parameters
    ----------
    model, loss
        As for `losses_along`.
    seed : int
        Of the directions.
    radius : float
        Length of the step relative to each filter.
    directions : int
        How many are averaged; each is taken with both signs, so that the slope falls out.

    Returns
    -------
    numpy.ndarray
        Shape of what `loss` returns.
    """
    import numpy as np

    here = loss()
    rises = []
    with _displaced(model) as move:
        for index in range(directions):
            # A direction has the length of the filters as they were.
            move(())
            drawn = random_direction(model, seed, index)
            ends = []
            for length in (radius, -radius):
                move([(length, drawn)])
                ends.append(loss())
            rises.append((ends[0] + ends[1]) / 2 - here)
    mean: Losses = np.mean(rises, axis=0)
    return mean


def held_out(loaded: LoadedModel, every: int = 1) -> tuple[list[str], Callable[[], Losses]]:
    """Return names of held-out documents and the function that gives the loss on each.

    Parameters
    ----------
    loaded : LoadedModel
        A model above 20 million parameters reads a quarter of the documents and 48 tokens of each,
        an untrained copy of it half of these.
    every : int
        Take only each so many-th document.
    """
    import torch
    from torch.nn.functional import cross_entropy

    names, texts = documents()
    large = is_large(loaded.facts)
    tokens, step = (TOKENS_LARGE, 4 * every) if large else (TOKENS, every)
    if large and reads_as_a_copy(loaded):
        tokens //= 2
    names, texts = names[::step], texts[::step]
    rows = torch.cat([windows_of(loaded, text, windows=1)[:, :tokens] for text in texts])

    def loss() -> Losses:
        with torch.no_grad():
            logits = loaded.model(input_ids=rows, use_cache=False).logits[:, :-1]
        targets = rows[:, 1:]
        each = cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
        losses: Losses = each.view(targets.shape).double().mean(1).cpu().numpy()
        return losses

    return names, loss


def sharpness_by_document(loaded: LoadedModel, *, seed: int | None = None) -> xr.DataArray:
    """Rise of the loss on each held-out document at a relative distance of .2, in nats.

    Parameters
    ----------
    loaded : LoadedModel
        Left as it was.
    seed : int, optional
        Of the directions; by default the model's training seed, so that directions differ between
        seeds and are shared by the variants of a seed.
    """
    import xarray as xr

    names, loss = held_out(loaded)
    first_seed = (loaded.spec.seed or 0) if seed is None else seed
    few = DIRECTIONS // 2 if is_large(loaded.facts) else DIRECTIONS
    if reads_as_a_copy(loaded):
        # Five copies cost what the model costs, and differ little from each other.
        few = 1
    rises = sharpness_of(loaded.model, loss, seed=first_seed, directions=few)
    coords = {"text": names, "family": ("text", names)}
    return xr.DataArray(rises, dims=("text",), coords=coords)


@observable(source="model", dims=("text",), unit="nats", economical=True)
def sharpness(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Rise of the held-out loss when every filter is moved by .2 of itself in a random direction.

    Notes
    -----
    Mean over four filter-normalized directions (two for a model above 20 million parameters, one
    for untrained copies) with both signs, for each document of held-out prose. At a distance of 0
    it is exactly 0.
    """
    return sharpness_by_document(loaded)


@observable(
    source="model",
    dims=("direction", "step"),
    unit="nats",
    recorded_with="sharpness",
    economical=True,
)
def landscape_curve(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Rise of the held-out loss along three filter-normalized random directions.

    Of a large model along two, which span the plane of `landscape_surface`.
    """
    import xarray as xr

    if is_large(loaded.facts):
        table, steps = _plane(loaded)
        middle = steps.index(0.0)
        rows, steps = [table[:, middle], table[middle]], steps
    else:
        _, loss = held_out(loaded, every=6)
        rows, steps = [], CURVE
        for index in range(3):
            drawn = random_direction(loaded.model, loaded.spec.seed or 0, index)
            points = [[(step, drawn)] for step in CURVE]
            losses = losses_along(loaded.model, loss, points).mean(axis=1)
            rows.append(losses - losses[CURVE.index(0.0)])
    coords = {"direction": range(len(rows)), "step": list(steps)}
    return xr.DataArray(rows, dims=("direction", "step"), coords=coords)


@observable(
    source="model",
    dims=("first", "second"),
    unit="nats",
    recorded_with="sharpness",
    economical=True,
)
def landscape_surface(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Rise of the held-out loss on a plane of two filter-normalized random directions."""
    import xarray as xr

    table, steps = _plane(loaded)
    coords = {"first": list(steps), "second": list(steps)}
    return xr.DataArray(table, dims=("first", "second"), coords=coords)


_last_plane: LastAnswer[Losses] = LastAnswer()
"""The curve of a large model is read off its plane, right before the surface."""


def _plane(loaded: LoadedModel) -> tuple[Losses, tuple[float, ...]]:
    """Rise of the loss over a plane, (first, second), and the steps along either axis."""
    steps = SURFACE_LARGE if is_large(loaded.facts) else SURFACE
    return _last_plane.of(loaded.model, steps, lambda: _rises(loaded, steps)), steps


def _rises(loaded: LoadedModel, steps: tuple[float, ...]) -> Losses:
    _, loss = held_out(loaded, every=6)
    u, v = (random_direction(loaded.model, loaded.spec.seed or 0, index) for index in range(2))
    points = [[(a, u), (b, v)] for a in steps for b in steps]
    losses = losses_along(loaded.model, loss, points).mean(axis=1)
    table = losses.reshape(len(steps), len(steps))
    middle = steps.index(0.0)
    rise: Losses = table - table[middle, middle]
    return rise
