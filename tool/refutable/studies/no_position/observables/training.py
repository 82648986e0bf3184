"""Loss curves of the no-position study: as published, under the faulty schedule, and live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from refutable.observables.registry import observable
from refutable.studies.no_position.model import held_out_loss, new_model
from refutable.studies.no_position.observables.subject import folder_of, run_of
from refutable.studies.no_position.train import read_run, train_no_position

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.load import LoadedModel


def _curve(losses: Sequence[float]) -> xr.DataArray:
    import numpy as np
    import xarray as xr

    steps = np.arange(len(losses))
    return xr.DataArray(np.asarray(losses, dtype=float), dims=("step",), coords={"step": steps})


@observable(source="model", dims=("step",), unit="nats")
def training_loss(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Training loss of every step of the published recipe, before the step's update."""
    return _curve(run_of(loaded).losses)


@observable(source="model", dims=("step",), unit="nats")
def growing_rate_training_loss(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Training loss of the same seed, batch 64, under the faulty schedule max(step / 100, 1)."""
    return _sibling(loaded, "max-schedule")


@observable(source="model", dims=("step",), unit="nats")
def constant_rate_training_loss(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Training loss of the same seed, batch 64, under min(step / 100, 1), its control."""
    return _sibling(loaded, "min-schedule")


def _sibling(loaded: LoadedModel, recipe: str) -> xr.DataArray:
    return _curve(read_run(folder_of(loaded).parent / f"{recipe}-{run_of(loaded).seed}").losses)


@observable(source="model", dims=("step",), unit="nats", version=3, long=True)
def live_training_loss(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Training loss of the fast recipe, trained now from the model's seed."""
    _, run = train_no_position(run_of(loaded).seed, "fast", None, device=loaded.device)
    return _curve(run.losses)


@observable(source="model", dims=(), unit="nats", version=2)
def held_out_recall_loss(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Mean loss of the previous token over 4000 held-out sequences, as many as the study took."""
    import xarray as xr

    folder_of(loaded)
    return xr.DataArray(held_out_loss(loaded.model, 4000))


@observable(source="model", dims=("when",))
def position_table_norm(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Euclidean norm of the position embedding before and after training."""
    import xarray as xr

    before = new_model(run_of(loaded).seed).transformer.wpe.weight
    after = loaded.model.get_parameter("transformer.wpe.weight")
    norms = [float(weight.detach().double().norm()) for weight in (before, after)]
    return xr.DataArray(norms, dims=("when",), coords={"when": ["before", "after"]})
