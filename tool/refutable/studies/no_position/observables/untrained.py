"""The same observables on a model of this study before its training, one for each training seed.

Untrained copies of the config alone would be other models: it states neither the scale of the
study's initial values nor that the positional embedding is zero and stays so. They follow from the
seed, so that those which take long are committed (``fixtures/noposition/observations.safetensors``,
`refutable observe-twins FILE --copies --tag no-position`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from refutable.observables.registry import REGISTRY, observable
from refutable.studies.no_position.observables import activations, weights
from refutable.studies.no_position.observables.subject import untrained_of

if TYPE_CHECKING:
    import xarray as xr


def _before_training(name: str) -> Callable[[Any, None], xr.DataArray]:
    """Register ``untrained_NAME``, an observable of the untrained counterpart of a model."""
    known = REGISTRY[name]
    measured = known.experiment
    assert measured is not None  # noqa: S101  (each is measured on the model)

    def function(loaded: Any, prompts: None) -> xr.DataArray:
        model = untrained_of(loaded).requires_grad_(False)
        return measured(replace(loaded, model=model), prompts)

    function.__name__ = f"untrained_{name}"
    function.__qualname__ = function.__name__
    function.__doc__ = f"Before training: {known.description}"
    made = observable(source="model", dims=known.dims, unit=known.unit, of_training=True)
    return made(function)


untrained_mean_attention = _before_training(activations.mean_attention.__name__)
untrained_replaced_loss = _before_training(activations.replaced_loss.__name__)
untrained_loss_without_position = _before_training(activations.loss_without_position.__name__)
untrained_neuron_activity = _before_training(activations.neuron_activity.__name__)
untrained_score_agreement = _before_training(weights.score_agreement.__name__)
untrained_query_key_map = _before_training(weights.query_key_map.__name__)
untrained_output_value_map = _before_training(weights.output_value_map.__name__)
untrained_previous_token_attribution = _before_training(weights.previous_token_attribution.__name__)
