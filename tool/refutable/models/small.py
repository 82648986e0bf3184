"""A small random copy of an architecture: two blocks, made from a config alone in a second."""

from __future__ import annotations

import functools
import inspect
import tomllib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from refutable.errors import ModelError, near, one_line
from refutable.models.build import quiet
from refutable.system.paths import fixtures

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


VOCABULARY = 97
_MOST = 32_000_000
"""Parameters of what still counts as small."""
_COMMON: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "sliding_window": 8,
    # What a large default states of blocks that a small copy has not.
    "per_layer_config": {},
    "ffn_dim": 96,
    "n_inner": 96,
    # mixtures of experts
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "shared_expert_intermediate_size": 48,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
    # linear attention and state spaces
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "mamba_d_state": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_expand": 2,
    "mamba_d_conv": 4,
    "mamba_dt_rank": 8,
    "mamba_n_groups": 1,
    "mamba_d_ssm": 128,
}
_LATENT: Mapping[str, Any] = {
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "v_head_dim": 16,
    "num_key_value_heads": 4,
}
_PICTURES: Mapping[str, Any] = {
    "image_size": 28,
    "patch_size": 14,
    "depth": 2,
    "num_layers": 2,
    "num_heads": 4,
    "num_global_layers": 1,
    "out_hidden_size": 64,
    "encoder_layers": 2,
    "embed_dim": 64,
}
# What a config states besides sizes is kept in a copy of it; these hang on sizes or on files.
_OF_SIZE = ("dtype", "name", "path", "version", "architectures", "rope", "token", "revision", "map")


@functools.cache
def _own_sizes() -> dict[str, dict[str, Any]]:
    path = fixtures() / "architectures.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def causal_types() -> tuple[str, ...]:
    """Model types of which transformers has a causal language model, in order."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


def small_config(model_type: str) -> PreTrainedConfig:
    """Make a config of two small blocks.

    Raises
    ------
    ModelError
        If transformers has no such type, or refuses these sizes.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        raise ModelError(f"unknown architecture {model_type!r}: {near(model_type, causal_types())}")
    kind = CONFIG_MAPPING[model_type]
    try:
        with quiet():
            return kind(**_given(kind, model_type))
    # A config class checks its fields in any way it likes.
    except Exception as problem:
        raise ModelError(
            f"no small config of {model_type} is known ({one_line(problem)}): add its sizes to "
            "fixtures/architectures.toml"
        ) from None


def _given(kind: type[PreTrainedConfig], model_type: str) -> dict[str, Any]:
    """Sizes for a config class, and for the configs of its parts: text, pictures, sound."""
    known = _fields(kind)
    stated = dict(_own_sizes().get(model_type, {}))
    without = stated.pop("without", ())
    sizes = {**_COMMON, **(_LATENT if "kv_lora_rank" in known else {})}
    # Made here: of a dict a class fills in what it states of its own large default.
    parts = {
        name: part(**(_pictures(part) | _given(part, part.model_type)))
        for name, part in _parts(kind)
        if name not in (*stated, *without)
    }
    return {n: v for n, v in sizes.items() if n in known and n not in without} | parts | stated


def _parts(kind: type[PreTrainedConfig]) -> Iterator[tuple[str, type[PreTrainedConfig]]]:
    """Yield the configs that a config class holds, by field: of text, pictures, sound."""
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    defaults = getattr(kind, "sub_configs_defaults", {})
    for name, part in getattr(kind, "sub_configs", {}).items():
        if part is not AutoConfig:
            yield name, part
        elif model_type := getattr(defaults.get(name), "model_type", None):
            # Any decoder would do; this is the one that the class takes by itself.
            yield name, CONFIG_MAPPING[model_type]


def _pictures(kind: type[PreTrainedConfig]) -> dict[str, Any]:
    known = _fields(kind)
    return {n: v for n, v in _PICTURES.items() if n in known}


def like(config: PreTrainedConfig) -> PreTrainedConfig:
    """Make a small config with everything that a config states but its sizes.

    Parameters
    ----------
    config : transformers.PretrainedConfig
        Of a model of any size.
    """
    stated = config.get_text_config()
    small = small_config(config.model_type)
    inner = small.get_text_config()
    plain = stated.to_dict()
    for name, value in plain.items():
        switch = isinstance(value, bool | str) or value is None or isinstance(value, float)
        if switch and hasattr(inner, name) and not any(word in name for word in _OF_SIZE):
            try:
                setattr(inner, name, value)
            # Some fields are read-only or checked against sizes.
            except Exception:  # noqa: S112
                continue
    return small


def build_small(config: PreTrainedConfig, seed: int = 0) -> PreTrainedModel:
    """Build a model with random weights that are far from their initialisation.

    Raises
    ------
    ModelError
        If its class refuses the config.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with quiet(), torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        size = sum(parameter.numel() for parameter in empty.parameters())
        if size > _MOST:
            raise ValueError(f"it has {size:,} parameters")
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except Exception as problem:
        raise ModelError(
            f"a small copy of {config.model_type} cannot be built ({one_line(problem)}): add its "
            "sizes to fixtures/architectures.toml"
        ) from None
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=source)
            if parameter.dim() > 1 and not name.endswith("A_log"):
                parameter.copy_(noise / parameter.shape[-1] ** 0.5)
            elif parameter.is_floating_point():
                parameter.add_(0.05 * noise)
    built: PreTrainedModel = model.eval().requires_grad_(False)
    return built


def _fields(kind: type) -> set[str]:
    """Names that a config class takes, under its own words and transformers' common ones."""
    names: set[str] = set(getattr(kind, "attribute_map", {}))
    for base in kind.__mro__:
        names |= set(getattr(base, "__annotations__", {}))
        try:
            names |= set(inspect.signature(base).parameters)
        except (TypeError, ValueError):
            continue
    return names
