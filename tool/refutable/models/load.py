"""Models with weights, checked against their checkpoint."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from refutable.errors import ModelError, NotAvailableError, one_line
from refutable.models.build import quiet, read_config, read_tokenizer
from refutable.models.checkpoint import Checkpoint
from refutable.models.device import usable_device
from refutable.models.fidelity import LoadingReport, fidelity_checks
from refutable.models.held import missing_expert
from refutable.models.identify import identify_checkpoint
from refutable.models.placement import DeviceMap, spread
from refutable.models.sources import locate
from refutable.models.spec import ModelSpec
from refutable.records import InstrumentCheck, ModelFacts
from refutable.system.garbage import look_as_usual
from refutable.system.memory import keep_freed_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model ready to be measured."""

    spec: ModelSpec
    model: PreTrainedModel = field(repr=False)
    """In evaluation mode, without gradients and without a cache of keys and values."""
    tokenizer: PreTrainedTokenizerBase | None = field(repr=False)
    """``None`` for a model without one: prompts are then token ids."""
    facts: ModelFacts
    weights_digest: str
    tokenizer_digest: str
    device: str
    dtype: str
    checks: tuple[InstrumentCheck, ...] = ()
    """Fidelity to the checkpoint; a failed one says what to do."""

    def reader(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer, for what reads text.

        Raises
        ------
        NotAvailableError
            If the model has none.
        """
        if self.tokenizer is None:
            raise NotAvailableError(f"{self.facts.id} has no tokenizer to read text with")
        return self.tokenizer


def load(
    spec: ModelSpec,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    device_map: DeviceMap = "",
    memory: int = 0,
) -> LoadedModel:
    """Load a model and check that it is what its checkpoint holds.

    Parameters
    ----------
    spec : ModelSpec
        From `refutable.models.registry.resolve`.
    device : str
        A torch device, e.g. ``cpu`` or ``cuda``.
    dtype : {"float32", "bfloat16", "float16"}
        Type of the weights in memory.
    device_map : str or mapping
        How accelerate spreads the model over devices of the kind that `device` names, as
        `refutable.models.placement.spread` takes it; empty for one device.
    memory : int
        Bytes of main memory that a spread model may take; 0 for all that is free.

    Returns
    -------
    LoadedModel
        Ignored or re-initialised tensors, wrong norms and values that are not finite are failed
        checks, not exceptions.

    Raises
    ------
    ModelError
        If the model cannot be loaded at all, in one line.
    """
    keep_freed_memory()
    place, kind = usable_device(device), _dtype(dtype)
    checkpoint = locate(spec)
    identity = identify_checkpoint(spec, checkpoint)
    model, report = _from_checkpoint(spec, checkpoint, kind)
    # Not before: importing its libraries makes half a million objects that stay.
    look_as_usual()
    facts = _facts_of(identity.facts, model)
    checks = fidelity_checks(model, report, checkpoint, spec, facts)
    return LoadedModel(
        spec=spec,
        model=_ready(model, place, device_map, memory),
        tokenizer=read_tokenizer(spec, checkpoint),
        facts=facts,
        weights_digest=identity.weights_digest,
        tokenizer_digest=identity.tokenizer_digest,
        device=device,
        dtype=dtype,
        checks=checks,
    )


def untrained(loaded: LoadedModel, seed: int) -> LoadedModel:
    """Make a model of the same class and config with fresh weights.

    Parameters
    ----------
    loaded : LoadedModel
        No tensor of it is kept but the tokenizer's vocabulary.
    seed : int
        Of the initialisation; the same seed gives the same weights on every device.

    Returns
    -------
    LoadedModel
        With an id and a digest of its own.
    """
    config = copy.deepcopy(loaded.model.config)
    with torch.random.fork_rng(devices=[]), quiet(), _nothing_unset():
        torch.manual_seed(seed)
        model = type(loaded.model)._from_config(config, dtype=torch.float32)
    # A sum reads memory once and is a number where every summand is one.
    unset = [
        name
        for name, value in model.named_parameters()
        if bool(value.sum().isnan()) and bool(value.isnan().any())
    ]
    if unset:
        raise ModelError(
            f"no untrained copy of {loaded.spec.id}: {type(model).__name__} leaves {unset[0]} "
            "without a value: give the class an _init_weights that sets it"
        )
    name = f"{loaded.spec.id}@untrained-{seed}"
    # A copy lies where the model does.
    like = getattr(loaded.model, "hf_device_map", None) or ""
    return LoadedModel(
        spec=dataclasses.replace(loaded.spec, id=name, seed=seed),
        model=_ready(model.to(DTYPES[loaded.dtype]), torch.device(loaded.device), like),
        tokenizer=loaded.tokenizer,
        facts=dataclasses.replace(loaded.facts, id=name, seed=seed),
        weights_digest=f"untrained-{seed}-{_config_digest(model)}",
        tokenizer_digest=loaded.tokenizer_digest,
        device=loaded.device,
        dtype=loaded.dtype,
    )


@contextmanager
def _nothing_unset() -> Iterator[None]:
    """Fill memory that torch hands out with NaN, so that what no initialiser sets is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def _facts_of(facts: ModelFacts, model: PreTrainedModel) -> ModelFacts:
    # A config may say that embedding and unembedding are one while the checkpoint holds two
    # that differ; transformers then keeps both, and the weights decide.
    head = model.get_output_embeddings()
    return dataclasses.replace(
        facts,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        tied=head is not None and head.weight is model.get_input_embeddings().weight,
    )


def _config_digest(model: PreTrainedModel) -> str:
    stated = model.config.to_dict()
    for name in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        stated.pop(name, None)
    text = json.dumps(stated, sort_keys=True, default=str)
    return hashlib.sha256(f"{type(model).__name__}\n{text}".encode()).hexdigest()


def _ready(
    model: PreTrainedModel, device: torch.device, device_map: DeviceMap, memory: int = 0
) -> PreTrainedModel:
    model.requires_grad_(False)
    model.config.use_cache = False
    ready: PreTrainedModel = model.eval()
    if device_map:
        return spread(ready, device, device_map, memory)
    ready.to(device)  # type: ignore[arg-type]
    return ready


def _from_checkpoint(
    spec: ModelSpec, checkpoint: Checkpoint, dtype: torch.dtype
) -> tuple[PreTrainedModel, LoadingReport]:
    from transformers import AutoModelForCausalLM

    config = read_config(spec, checkpoint)
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                checkpoint.folder,
                config=config,
                dtype=dtype,
                use_safetensors=checkpoint.safe,
                weights_only=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except pickle.UnpicklingError:
        raise ModelError(
            f"the weights of {spec.id} are a pickle that holds code besides tensors; it was not "
            "run: save the model as safetensors"
        ) from None
    except ImportError as problem:
        raise ModelError(
            f"the weights of {spec.id} are quantized in a way that needs a package which is not "
            f"here ({one_line(problem)}): install it, or use the original checkpoint"
        ) from None
    except Exception as problem:
        told = missing_expert(checkpoint) or one_line(problem)
        raise ModelError(
            f"the weights of {spec.id} cannot be read ({told}): download or save the checkpoint "
            "again"
        ) from None
    model, report = loaded
    return model, report


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise ModelError(f"expected dtype to be one of {', '.join(DTYPES)}, got dtype={name!r}")
    return DTYPES[name]
