"""What a model is, without loading its weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from refutable.errors import ModelError
from refutable.models.build import build_empty, read_config, read_tokenizer
from refutable.models.checkpoint import Checkpoint
from refutable.models.sources import locate
from refutable.models.spec import ModelSpec
from refutable.models.vocabulary import refuse_two
from refutable.records import ModelFacts
from refutable.system import files
from refutable.system.paths import cache_dir

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from refutable.models.structure import Structure

# Raised when facts are read in another way, so that remembered ones are made again.
P = ParamSpec("P")
T = TypeVar("T")
_FACTS = 4
NO_LIMIT = 1 << 20
"""Stands for the context of a model whose config states none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What identifies a model, and what its config and modules say."""

    weights_digest: str
    tokenizer_digest: str
    facts: ModelFacts
    config_digest: str = ""
    """Of what the config states; releases that share it share their untrained controls."""


def identify(spec: ModelSpec) -> Identity:
    """Find what a model is.

    Parameters
    ----------
    spec : ModelSpec
        From `refutable.models.registry.resolve`.

    Returns
    -------
    Identity
        Facts are remembered by digest and transformers version: a second call imports neither
        torch nor transformers. The first one builds the modules on the meta device, without
        weights.

    Raises
    ------
    ModelError
        If the model cannot be had or built, or its config states no blocks.
    """
    return identify_checkpoint(spec, locate(spec))


def identify_checkpoint(spec: ModelSpec, checkpoint: Checkpoint) -> Identity:
    """Find what a checkpoint that lies on disk is; see `identify`."""
    path = _place(checkpoint)
    facts = _remembered(path)
    if facts is None:
        facts = _read(spec, checkpoint)
        files.write(path, json.dumps(dataclasses.asdict(facts), indent=1))
    facts = dataclasses.replace(facts, id=spec.id, tags=spec.tags, group=spec.group, seed=spec.seed)
    return Identity(
        checkpoint.weights_digest, checkpoint.tokenizer_digest, facts, _config_digest(checkpoint)
    )


def known(spec: ModelSpec) -> bool:
    """Whether the facts of a model are remembered, so that `identify` imports nothing heavy."""
    return _remembered(_place(locate(spec))) is not None


def is_unchanged(checkpoint: Checkpoint, known: Identity) -> bool:
    """Whether a checkpoint is the one of which something is known: weights, tokens and config."""
    digests = checkpoint.weights_digest, checkpoint.tokenizer_digest, _config_digest(checkpoint)
    return digests == (known.weights_digest, known.tokenizer_digest, known.config_digest)


def _place(checkpoint: Checkpoint) -> Path:
    """Return the file of what is remembered of a checkpoint."""
    key = "\n".join(
        (
            str(_FACTS),
            checkpoint.weights_digest,
            checkpoint.tokenizer_digest,
            version("transformers"),
        )
    )
    return cache_dir() / "facts" / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.json"


def _config_digest(checkpoint: Checkpoint) -> str:
    """Hash what the config states, but for where and in which type the weights were saved."""
    stated = json.loads((checkpoint.folder / "config.json").read_text(encoding="utf-8"))
    for name in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        stated.pop(name, None)
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def _remembered(path: Path) -> ModelFacts | None:
    try:
        remembered = json.loads(path.read_text(encoding="utf-8"))
        return ModelFacts(**{**remembered, "tags": tuple(remembered["tags"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _read(spec: ModelSpec, checkpoint: Checkpoint) -> ModelFacts:
    from refutable.models.structure import find_structure

    config = read_config(spec, checkpoint)
    refuse_two(checkpoint.folder)
    model = build_empty(spec, config)
    structure = _named(spec, find_structure, model)
    positions = _positions(structure, checkpoint)
    return facts_of(spec, model, read_tokenizer(spec, checkpoint), structure, positions)


def facts_of(
    spec: ModelSpec,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    structure: Structure,
    positions: str,
) -> ModelFacts:
    """Return what config, modules and tokenizer say of a model, with weights or without."""
    from refutable.models.positions import usable_context
    from refutable.models.structure import text_config

    inner = text_config(model)
    _refuse_encoder(spec, model, inner)
    head = structure.unembedding
    tied = head is not None and getattr(head, "weight", None) is structure.embedding.weight
    return ModelFacts(
        id=spec.id,
        architecture=type(model).__name__,
        norm_kind=structure.norm_kind,
        blocks=len(structure.blocks),
        heads=structure.heads,
        d_model=structure.d_model,
        d_vocab=structure.d_vocab,
        context=usable_context(inner, _table(structure)) or NO_LIMIT,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        tied=tied,
        positions=positions,
        attention_interface=structure.attention_interface,
        bos=_bos(tokenizer, inner, structure.d_vocab),
        tokenizer=tokenizer is not None,
    )


def _refuse_encoder(spec: ModelSpec, model: PreTrainedModel, config: PreTrainedConfig) -> None:
    """Refuse what its own config says predicts no next token, before anything is asked of it.

    A model whose config does not say so is found out when the last token of a prompt is replaced.
    """
    saved = [str(name) for name in getattr(model.config, "architectures", None) or ()]
    told = next((name for name in saved if name.endswith("ForMaskedLM")), "")
    seeing = getattr(config, "is_causal", None) is False
    seeing = seeing or bool(getattr(config, "use_bidirectional_attention", None) in (True, "all"))
    if told or seeing:
        why = f"it was saved as {told}" if told else "its config states bidirectional attention"
        raise ModelError(
            f"{spec.id} predicts no next token ({why}): only causal language models can be measured"
        )


def _table(structure: Structure) -> nn.Embedding | None:
    from torch import nn

    table = structure.position_embedding
    return table if isinstance(table, nn.Embedding) else None


def _named(spec: ModelSpec, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return function(*args, **kwargs)
    except ModelError as problem:
        raise ModelError(f"{spec.id}: {problem}") from None


def _bos(
    tokenizer: PreTrainedTokenizerBase | None, config: PreTrainedConfig, d_vocab: int
) -> int | None:
    if tokenizer is not None:
        token = tokenizer.bos_token_id
    else:
        token = getattr(config, "bos_token_id", None)
    return token if isinstance(token, int) and 0 <= token < d_vocab else None


def _positions(structure: Structure, checkpoint: Checkpoint) -> str:
    if structure.positions != "learned":
        return str(structure.positions)
    # A table of zeros, kept so by a frozen parameter or by the recipe, is no learned one; only its
    # values tell.
    from safetensors import SafetensorError, safe_open

    wanted = f"{structure.position_path}.weight"
    for path in checkpoint.weights if checkpoint.safe else ():
        try:
            with safe_open(path, framework="pt") as tensors:
                for name in tensors.keys():
                    if name == wanted or wanted.endswith("." + name):
                        return "learned" if bool(tensors.get_tensor(name).any()) else "none"
        except SafetensorError:
            # A damaged file is told of when the weights are loaded, in one line.
            continue
    return "learned"
