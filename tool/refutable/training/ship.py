"""Put a trained twin into a folder that every loader reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from refutable.models.twin_model import TwinLMHeadModel
from refutable.system import files
from refutable.training.log import LOG, read_log
from refutable.training.recipe import TwinRecipe, config_of, variant_named
from refutable.training.tokenizer import shipped_tokenizer


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
    recipe = TwinRecipe(**{**log.recipe, "betas": tuple(log.recipe["betas"])})
    model = TwinLMHeadModel(config_of(variant_named(log.variant), recipe))
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
    slim = replace(log, losses=[float(f"{loss:.4g}") for loss in log.losses])
    fields = {name: getattr(slim, name) for name in slim.__slots__}
    files.write(out / LOG, json.dumps(fields, separators=(",", ":")) + "\n")
