"""A transformers model that is in memory already, measured as it stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from refutable.errors import ModelError
from refutable.models.identify import Identity, facts_of
from refutable.models.load import DTYPES, LoadedModel
from refutable.models.spec import ModelSource, ModelSpec
from refutable.models.structure import find_structure
from refutable.records import InstrumentCheck

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def adopt(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None, *, name: str = ""
) -> tuple[LoadedModel, Identity]:
    """Take a model as the caller holds it: same object, same device, same type of numbers.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model.
    tokenizer : transformers tokenizer, optional
        Without one, prompts are token ids.
    name : str
        Its id in results; by default the name of its class.

    Returns
    -------
    loaded : LoadedModel
        Holds the caller's object; see `as_measured` for the state in which it is measured.
    identity : Identity
        Digests of the tensors in memory: the same weights read the same observations.

    Raises
    ------
    ModelError
        If it is no causal decoder, or holds a type of numbers that cannot be measured.
    """
    if not isinstance(model, torch.nn.Module) or not hasattr(model, "config"):
        raise ModelError(
            f"expected a transformers model, got {type(model).__name__}: give a model with a "
            "config, or a name, folder or file"
        )
    first = next(model.parameters())
    kinds = {kind: text for text, kind in DTYPES.items()}
    if first.dtype not in kinds:
        raise ModelError(
            f"the model's parameters are {first.dtype}: convert it to one of {', '.join(DTYPES)}"
        )
    spec = ModelSpec(name or type(model).__name__, ModelSource.LOCAL, "in memory")
    structure = find_structure(model)
    positions = structure.positions
    table = getattr(structure.position_embedding, "weight", None)
    if positions == "learned" and table is not None and not bool(table.any()):
        positions = "none"
    facts = facts_of(spec, model, tokenizer, structure, positions)
    config = model.config.to_dict()
    for volatile in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        config.pop(volatile, None)
    identity = Identity(
        weights_digest=f"memory-{_digest(model)}",
        tokenizer_digest=_tokenizer_digest(tokenizer),
        facts=facts,
        config_digest=_hash(json.dumps(config, sort_keys=True, default=str).encode()),
    )
    loaded = LoadedModel(
        spec=spec,
        model=model,
        tokenizer=tokenizer,
        facts=facts,
        weights_digest=identity.weights_digest,
        tokenizer_digest=identity.tokenizer_digest,
        device=str(first.device),
        dtype=kinds[first.dtype],
        checks=(_finite(model),),
    )
    return loaded, identity


@contextmanager
def as_measured(model: PreTrainedModel) -> Iterator[None]:
    """Put a model into evaluation mode without a cache, and back as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    cache = getattr(model.config, "use_cache", None)
    frozen = [(p, p.requires_grad) for p in model.parameters()]
    model.eval()
    model.config.use_cache = False
    model.requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        model.config.use_cache = cache
        for parameter, wanted in frozen:
            parameter.requires_grad_(wanted)


def _digest(model: PreTrainedModel) -> str:
    """Hash class, names, shapes and values of everything that the model computes with."""
    digest = hashlib.sha256(type(model).__qualname__.encode())
    tensors = (*model.named_parameters(), *model.named_buffers())
    for name, tensor in sorted(tensors, key=lambda pair: str(pair[0])):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    return digest.hexdigest()


def _tokenizer_digest(tokenizer: PreTrainedTokenizerBase | None) -> str:
    if tokenizer is None:
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return f"memory-{_hash(backend.to_str().encode())}"
    words = json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return f"memory-{_hash(f'{type(tokenizer).__qualname__}{words}'.encode())}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _finite(model: PreTrainedModel) -> InstrumentCheck:
    bad = [name for name, p in model.named_parameters() if not bool(p.isfinite().all())]
    detail = f"these parameters hold NaN or infinite values: {', '.join(bad[:3])}" if bad else ""
    return InstrumentCheck("weights-finite", not bad, detail=detail)
