"""Configs, empty modules and tokenizers from a checkpoint; errors in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL
from typing import TYPE_CHECKING

from refutable.errors import ModelError, one_line
from refutable.models.checkpoint import Checkpoint, read_json
from refutable.models.sources.twin import register
from refutable.models.spec import ModelSpec

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing bars and reports: what matters becomes a check."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def read_config(spec: ModelSpec, checkpoint: Checkpoint) -> PreTrainedConfig:
    """Read a checkpoint's config; code shipped with weights is never run.

    Raises
    ------
    ModelError
        If transformers does not know its kind of model, or it states no blocks.
    """
    from transformers import AutoConfig

    from refutable.models.structure import block_count

    register(checkpoint.folder)
    try:
        with quiet():
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                checkpoint.folder, local_files_only=True, trust_remote_code=False
            )
    # transformers raises many kinds of errors on a config it cannot use.
    except Exception as problem:
        stated = read_json(checkpoint.folder / "config.json")
        if "auto_map" in stated:
            raise ModelError(
                f"{spec.id} needs code that comes with its weights, which is never run: use a "
                "model class that transformers itself has"
            ) from None
        kind = stated.get("model_type", "none")
        raise ModelError(
            f"the config of {spec.id} (model_type {kind}) cannot be used: {one_line(problem)}"
        ) from None
    inner = config.get_text_config()
    try:
        block_count(inner)
    except ModelError as problem:
        raise ModelError(f"{spec.id}: {problem}") from None
    return config


def build_empty(spec: ModelSpec, config: PreTrainedConfig) -> PreTrainedModel:
    """Build a model's modules on the meta device, without weights.

    Raises
    ------
    ModelError
        If the config is not that of a causal language model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with quiet(), torch.device("meta"):
            model: PreTrainedModel
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
            return model
    except Exception as problem:
        raise ModelError(
            f"{spec.id} cannot be built as a causal language model: {one_line(problem)}"
        ) from None


def read_tokenizer(spec: ModelSpec, checkpoint: Checkpoint) -> PreTrainedTokenizerBase | None:
    """Read a checkpoint's tokenizer; ``None`` when it has none.

    Raises
    ------
    ModelError
        If its files cannot be read.
    """
    if not checkpoint.has_tokenizer:
        return None
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(
                checkpoint.folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as problem:
        raise ModelError(
            f"the tokenizer of {spec.id} cannot be read ({one_line(problem)}): repair its files, "
            "or remove them and give prompts as input_ids"
        ) from None
