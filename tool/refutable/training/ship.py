"""Put a trained twin into a folder that every loader reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from refutable.models.twin_model import TwinLMHeadModel
from refutable.system import files
from refutable.training.log import LOG, TwinLog, read_log
from refutable.training.recipe import config_of, recipe_from, variant_named
from refutable.training.tokenizer import shipped_tokenizer

_MOST_LOSSES = 2000
"""A shipped log with more of them holds their means instead."""


def trained_twin(run: Path, *, step: int | None = None) -> TwinLMHeadModel:
    """Return a trained twin in evaluation mode, float32.

    Parameters
    ----------
    run
        Folder of a finished run.
    step
        The checkpoint after that step (kept in float16); the final weights by default.

    Raises
    ------
    RefutableError
        When the folder holds no finished run.
    """
    log = read_log(run)
    model = TwinLMHeadModel(config_of(variant_named(log.variant), recipe_from(log.recipe)))
    file = "model.safetensors" if step is None else f"step-{step}.safetensors"
    tensors = {name: tensor.float() for name, tensor in load_file(run / file).items()}
    model.load_state_dict({**tensors, "lm_head.weight": tensors["transformer.wte.weight"]})
    model.eval()  # type: ignore[no-untyped-call]
    return model


def ship(run: Path, out: Path) -> None:
    """Write a finished run as a checkpoint: float16 weights, config, tokenizer, training log.

    Parameters
    ----------
    run
        Folder of a finished run.
    out
        Folder to write; files of an older twin in it are replaced.
    """
    model = trained_twin(run).to(torch.float16)  # type: ignore[arg-type]
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    shipped_tokenizer().save_pretrained(str(out))
    log = read_log(run)
    slim = replace(log, **_thinned(log))
    fields = {name: getattr(slim, name) for name in slim.__slots__}
    files.write(out / LOG, json.dumps(fields, separators=(",", ":")) + "\n")


def _thinned(log: TwinLog) -> dict[str, Any]:
    """Return the training losses in four figures; of a long run, means over steps of the log."""
    losses, every = log.losses, log.loss_every
    if len(losses) > _MOST_LOSSES:
        every = recipe_from(log.recipe).log_every
        parts = (losses[at : at + every] for at in range(0, len(losses), every))
        losses = [sum(part) / len(part) for part in parts]
    return {"losses": [float(f"{loss:.4g}") for loss in losses], "loss_every": every}
