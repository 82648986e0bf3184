"""What the no-position observables share: the run behind a model, and held-out sequences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from refutable.errors import NotAvailableError
from refutable.studies.no_position.model import evaluation_tokens, new_model
from refutable.studies.no_position.train import read_run
from refutable.system.paths import fixtures

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from refutable.models.load import LoadedModel
    from refutable.studies.no_position.train import TrainingRun

SEQUENCES = 256
"""Held-out sequences behind means over a batch, as many as the study's batch."""

UNTRAINED_SEED = 1000
"""Added to a model's seed for its untrained counterpart."""


def folder_of(loaded: LoadedModel) -> Path:
    """Return the folder of a trained no-position model.

    Raises
    ------
    NotAvailableError
        When the model is not one of this study's.
    """
    folder: Path = fixtures() / loaded.spec.location
    if not (folder / "training.json").is_file():
        raise NotAvailableError(
            f"{loaded.spec.id} was not trained by the no-position study: name its models with "
            "--claim-model"
        )
    return folder


def run_of(loaded: LoadedModel) -> TrainingRun:
    """Return the record of a model's training."""
    return read_run(folder_of(loaded))


def held_out(loaded: LoadedModel, count: int = SEQUENCES) -> torch.Tensor:
    """Return held-out sequences, (batch, position), on the model's device."""
    folder_of(loaded)
    return evaluation_tokens(count).to(loaded.device)


def in_double(loaded: LoadedModel) -> PreTrainedModel:
    """Return a copy of a model in float64, in which identities hold to rounding.

    Log-probabilities of this model reach -60 nats, where float32 alone leaves errors of .001.
    """
    import copy

    folder_of(loaded)
    return copy.deepcopy(loaded.model).double()


def untrained_of(loaded: LoadedModel) -> PreTrainedModel:
    """Return an untrained model as this study initialises it, for a model's seed."""
    fresh = new_model(UNTRAINED_SEED + (loaded.spec.seed or 0))
    fresh.to(loaded.device)  # type: ignore[arg-type]
    untrained: PreTrainedModel = fresh.eval()
    return untrained
