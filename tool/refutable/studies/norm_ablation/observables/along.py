"""What a twin is like at each checkpoint of its training.

Three observables hold the quantities of rows N1, N2, N4 to N6, N8 to N11 and G8 at every kept
step: those of prompts, of held-out documents, and of the model alone. Prompts are averaged by
family: the unit of every claim, and a small fraction of the numbers. Each has the coordinates
``tokens`` (predictions trained on) and ``loss`` (held out, nats) along ``step``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from refutable.capture.measure import measure
from refutable.errors import NotAvailableError, NotHereError
from refutable.models.sources import locate
from refutable.observables.gain import log_growth
from refutable.observables.gradients import relative_gradient_norm
from refutable.observables.moments import log_variance_slope
from refutable.observables.probing.probes import best_minus_worst, probe_accuracy
from refutable.observables.prose.syntax import best_elsewhere, word_arcs
from refutable.observables.prose.text import held_out_loss, noise_slope, noisy_loss
from refutable.observables.registry import REGISTRY, observable
from refutable.observables.sharpness import sharpness_by_document
from refutable.training.log import read_log
from refutable.training.recipe import recipe_from

if TYPE_CHECKING:
    import torch
    import xarray as xr
    from torch import nn

    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel

ON_PROMPTS = ("entropy", "entropy after the first key", "spread of entropy", "distance of heads",
              "slope of log variance", "excess kurtosis", "last block's gain")  # fmt: skip
ON_DOCUMENTS = ("loss", "relative gradient", "log sharpness", "words", "characters", "word arcs")
OF_MODEL = ("attention weights", "feed-forward weights", "selectivity")
_RECORDED = ("attention_entropy", "attention_entropy_rest", "attention_head_distance",
             "residual_log_variance", "residual_excess_kurtosis", "residual_norm")  # fmt: skip


def _run(loaded: LoadedModel) -> Path:
    if loaded.weights_digest.startswith("untrained-"):
        raise NotAvailableError(f"{loaded.spec.id} has no training")
    run = locate(loaded.spec).folder.parent
    if not list(run.glob("step-*.safetensors")):
        raise NotHereError(
            f"the checkpoints of {loaded.spec.id}'s training are not here: run "
            "`refutable train twins --recipe trained`"
        )
    return run


def at_each_checkpoint(
    loaded: LoadedModel, measured: Callable[[LoadedModel], xr.DataArray], *, every: int = 1
) -> xr.DataArray:
    """Measure a twin on every checkpoint of its training.

    Parameters
    ----------
    loaded : LoadedModel
        A twin in the folder that it was trained in.
    measured : callable
        Function of a loaded model that gives an array.
    every : int
        Take the first checkpoint, every so many after it, and the last.

    Returns
    -------
    xarray.DataArray
        A first dimension ``step``, with ``tokens`` and ``loss`` along it.

    Raises
    ------
    NotHereError
        When the checkpoints are not there.
    NotAvailableError
        For an untrained copy.
    """
    import xarray as xr

    from refutable.training.ship import trained_twin

    run = _run(loaded)
    log = read_log(run)
    recipe, losses = recipe_from(log.recipe), dict(log.evaluations)
    kept = [s for s in sorted(losses) if (run / f"step-{s}.safetensors").exists()]
    if not kept:
        raise NotAvailableError(f"{loaded.spec.id} has no held-out loss at any of its checkpoints")
    steps = sorted({*kept[::every], *kept[-1:]})
    readings = []
    for step in steps:
        model = trained_twin(run, step=step).to(loaded.device)  # type: ignore[arg-type]
        model.requires_grad_(False)
        model.config.use_cache = False
        readings.append(measured(replace(loaded, model=model)))
    tokens = [float(s * recipe.batch * recipe.context) for s in steps]
    along = {
        "step": steps,
        "tokens": ("step", tokens),
        "loss": ("step", [losses[s] for s in steps]),
    }
    return xr.concat(readings, dim="step").assign_coords(along)


def _stacked(parts: Mapping[str, xr.DataArray]) -> xr.DataArray:
    import xarray as xr

    table: xr.DataArray = xr.concat(list(parts.values()), dim="quantity", coords="minimal")
    return table.assign_coords(quantity=list(parts))


def on_prompts(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Quantities `ON_PROMPTS` of one model, ``(quantity, family)``."""
    from refutable.models.sites import find_sites

    items = [REGISTRY[name] for name in _RECORDED]
    a = measure(loaded.model, find_sites(loaded.model), encoded, items, layout="packed")
    entropy = a["attention_entropy"]
    parts = (
        entropy.mean(("layer", "head")),
        a["attention_entropy_rest"].mean(("layer", "head")),
        entropy.std("head").mean("layer"),
        a["attention_head_distance"].mean(("layer", "head")),
        log_variance_slope(a["residual_log_variance"]),
        a["residual_excess_kurtosis"].mean("layer"),
        log_growth(a["residual_norm"]).isel(layer=-1, drop=True),
    )
    means = [part.groupby("family").mean() for part in parts]
    return _stacked(dict(zip(ON_PROMPTS, means, strict=True)))


def on_documents(loaded: LoadedModel) -> xr.DataArray:
    """Quantities `ON_DOCUMENTS` of one model, ``(quantity, text)``."""
    rise, noisy = sharpness_by_document(loaded), noisy_loss(loaded, None)
    loss = held_out_loss(loaded, None)
    # The best head is chosen on half of the documents and read on the other half.
    arcs = best_elsewhere(word_arcs(loaded, None)).reindex(text=loss["text"])
    parts = (
        loss,
        relative_gradient_norm(loaded, None).mean("layer"),
        cast("xr.DataArray", np.log(rise.where(rise > 0))),
        noise_slope(noisy, "words").rename(prompt="text"),
        noise_slope(noisy, "characters").rename(prompt="text"),
        arcs.assign_coords(family=loss["family"]),
    )
    return _stacked(dict(zip(ON_DOCUMENTS, parts, strict=True)))


def of_model(loaded: LoadedModel) -> xr.DataArray:
    """Quantities `OF_MODEL` of one twin, ``(quantity,)``."""
    import xarray as xr

    attention, ffn = zip(*map(_log_spreads, _blocks(loaded)), strict=True)
    selectivity = float(best_minus_worst(probe_accuracy(loaded, None)))
    values = [np.mean(attention), np.mean(ffn), selectivity]
    return xr.DataArray(values, dims=("quantity",), coords={"quantity": list(OF_MODEL)})


@observable(source="model", dims=("step", "quantity", "prompt"), unit="", of_training=True)
def prompts_along_training(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Attention and residual stream at each checkpoint, by prompt family."""
    table = at_each_checkpoint(loaded, lambda one: on_prompts(one, encoded))
    table = table.transpose("step", "quantity", "family")
    names = table["family"].values
    return table.rename(family="prompt").assign_coords(prompt=names, family=("prompt", names))


@observable(source="model", dims=("step", "quantity", "text"), unit="", of_training=True)
def documents_along_training(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Loss, gradients, sharpness, robustness and word arcs at each checkpoint, by document."""
    return at_each_checkpoint(loaded, on_documents).transpose("step", "quantity", "text")


@observable(source="model", dims=("step", "quantity"), unit="", of_training=True)
def model_along_training(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Log spread of the weights, and selectivity of probes, at each checkpoint."""
    return at_each_checkpoint(loaded, of_model)


def _blocks(loaded: LoadedModel) -> list[nn.Module]:
    return list(loaded.model.get_submodule("transformer.h").children())


def _log_spreads(block: nn.Module) -> tuple[float, float]:
    """Mean log standard deviation of a block's attention matrices and of its feed-forward's."""

    def mean(*matrices: torch.Tensor) -> float:
        return float(np.mean([np.log(float(m.double().std(correction=0))) for m in matrices]))

    weight = block.get_parameter
    q, k, v = weight("attn.c_attn.weight").chunk(3, dim=1)
    attention = mean(q, k, v, weight("attn.c_proj.weight"))
    return attention, mean(weight("mlp.c_fc.weight"), weight("mlp.c_proj.weight"))
