"""What models are like at equal loss: read at a loss fixed beforehand on their way down.

After equal steps the variants have different losses, so a difference between them may be one of
progress. Here each is read where its held-out loss passed `LEVEL`: on the two checkpoints of its
training before and after, interpolated linearly in the loss. Checkpoints lie beside a twin that
was trained here (`refutable train twins`); for others the committed values stand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.capture.measure import measure
from refutable.errors import NotAvailableError, NotHereError
from refutable.models.sources import locate
from refutable.observables.gradients import relative_gradient_norm
from refutable.observables.registry import REGISTRY, observable
from refutable.observables.sharpness import sharpness_by_document
from refutable.training.log import read_log

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel

LEVEL = 4.95
"""Nats per token on the held-out rows of the training log; passed by every variant in sight of
its end, with the rate still high for the fast ones."""
ENTROPIES = ("attention_entropy", "attention_entropy_rest")


def crossing(
    evaluations: list[tuple[int, float]], level: float, every: int = 1
) -> tuple[int, int, float]:
    """Find where a training run passed a loss.

    Parameters
    ----------
    evaluations : list of (step, loss)
        Held-out losses in nats.
    level : float
        Loss in nats.
    every : int
        Steps between checkpoints; only evaluations at multiples of it are looked at.

    Returns
    -------
    before, after : int
        Steps of the last evaluation above the level and of the next one.
    weight : float
        Share of `after` in a linear interpolation that gives the level.

    Raises
    ------
    NotAvailableError
        When the run never passed it.
    """
    kept = [(step, loss) for step, loss in evaluations if step % every == 0]
    for (before, high), (after, low) in pairwise(kept):
        if high >= level > low:
            return before, after, (high - level) / (high - low)
    raise NotAvailableError(f"training never passed a held-out loss of {level:g} nats")


def at_level(loaded: LoadedModel, measured: Callable[[LoadedModel], xr.DataArray]) -> xr.DataArray:
    """Measure a twin on the checkpoints around `LEVEL` and interpolate.

    An untrained copy, the null control, has no way down and is measured as it is.

    Parameters
    ----------
    loaded : LoadedModel
        A twin in the folder that it was trained in.
    measured : callable
        Function of a loaded model that gives an array.

    Raises
    ------
    NotHereError
        When the checkpoints of its training are not there.
    """
    from refutable.training.ship import trained_twin

    if loaded.weights_digest.startswith("untrained-"):
        return measured(loaded)
    run = _run(loaded)
    log = read_log(run)
    before, after, weight = crossing(log.evaluations, LEVEL, int(log.recipe["checkpoint_every"]))
    ends = []
    for step in (before, after):
        model = trained_twin(run, step=step).to(loaded.device)  # type: ignore[arg-type]
        model.requires_grad_(False)
        model.config.use_cache = False
        ends.append(measured(replace(loaded, model=model)))
    return (1 - weight) * ends[0] + weight * ends[1]


def _run(loaded: LoadedModel) -> Path:
    run = locate(loaded.spec).folder.parent
    if not list(run.glob("step-*.safetensors")):
        raise NotHereError(
            f"the checkpoints of {loaded.spec.id}'s training are not here: run "
            "`refutable train twins`"
        )
    return run


@observable(source="model", dims=("prompt", "keys"), unit="share of the maximum", of_training=True)
def attention_entropy_at_loss(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Normalized attention entropy at a held-out loss of 4.95 nats, mean over heads and blocks.

    ``keys`` is "all" (rows t >= 1, over ln(t + 1)) or "rest" (keys k >= 1 of rows t >= 2).
    """
    import xarray as xr

    from refutable.models.sites import find_sites

    items = [REGISTRY[name] for name in ENTROPIES]

    def entropies(one: LoadedModel) -> xr.DataArray:
        entropy = measure(one.model, find_sites(one.model), encoded, items, layout="packed")
        parts = [entropy[name].mean(("layer", "head")) for name in ENTROPIES]
        return xr.concat(parts, dim="keys").assign_coords(keys=["all", "rest"])

    entropy: xr.DataArray = at_level(loaded, entropies).transpose("prompt", "keys")
    return entropy


@observable(source="model", dims=("text", "layer"), unit="log ratio", of_training=True)
def relative_gradient_at_loss(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Log of gradient norm over weight norm of each block on held-out documents, at 4.95 nats."""
    norms: xr.DataArray = at_level(loaded, lambda one: relative_gradient_norm(one, None))
    return norms


@observable(source="model", dims=("text",), unit="nats", of_training=True)
def sharpness_at_loss(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Sharpness of the loss landscape on each held-out document, at 4.95 nats held out."""
    sharpness: xr.DataArray = at_level(loaded, sharpness_by_document)
    return sharpness
