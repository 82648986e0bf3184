"""GPT-2-shaped models whose normalization (kind and place) and positions are config fields.

Importing this module registers the pair with transformers' Auto classes, so that
``AutoModelForCausalLM.from_pretrained`` and every observer treat a twin as any other model.
"""

from __future__ import annotations

import hashlib
import math
from typing import Literal, get_args

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from refutable.errors import RefutableError

NormKind = Literal["layernorm", "rmsnorm", "dyt"]
NormPlace = Literal["both", "attention", "ffn", "none"]
Positions = Literal["learned", "none"]


DYT_ALPHA = 2.0
"""Initial alpha of every `DynamicTanh`; docs/twins.md has the rule that chose it."""


class DynamicTanh(nn.Module):
    """``weight * tanh(alpha * x) + bias`` over ``dim``, in the place of a norm.

    References
    ----------
    J. Zhu et al., Transformers without normalization, 2025 (arXiv 2503.10622).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), DYT_ALPHA))
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the squashed stream, ``(..., dim)``."""
        return torch.addcmul(self.bias, torch.tanh(self.alpha * x), self.weight)


class TwinConfig(GPT2Config):
    """Config of a twin: GPT-2's fields and three of its own.

    Attributes
    ----------
    norm_kind : {"layernorm", "rmsnorm", "dyt"}
        Kind of every norm of the model, the final one included; ``"dyt"`` is `DynamicTanh`,
        which takes a norm's place and normalizes nothing.
    norm_place : {"both", "attention", "ffn", "none"}
        Which sublayers of each block have a norm before them. The final norm before the
        unembedding is there in every place, ``"none"`` included.
    positions : {"learned", "none"}
        ``"none"`` keeps the table of position embeddings at exactly zero, without gradient.
    """

    model_type = "refutable-twin"

    norm_kind: str = "layernorm"
    norm_place: str = "both"
    positions: str = "learned"

    def __post_init__(self, **kwargs: object) -> None:
        """Refuse a value that names no twin.

        Raises
        ------
        RefutableError
            When one of the three fields has an unknown value.
        """
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        for field, allowed in (
            ("norm_kind", get_args(NormKind)),
            ("norm_place", get_args(NormPlace)),
            ("positions", get_args(Positions)),
        ):
            value = getattr(self, field)
            if value not in allowed:
                raise RefutableError(f"expected {field} in {', '.join(allowed)}, got {value!r}")


def _norm(config: TwinConfig) -> nn.Module:
    """Build one norm of the config's kind over the residual stream's ``dim``."""
    if config.norm_kind == "dyt":
        return DynamicTanh(config.n_embd)
    if config.norm_kind == "rmsnorm":
        return nn.RMSNorm(config.n_embd, eps=config.layer_norm_epsilon)
    return nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)


class TwinLMHeadModel(GPT2LMHeadModel):
    """GPT-2 language model with the norms of a :class:`TwinConfig`.

    A norm that is left out is ``torch.nn.Identity``: it holds no parameter, so a checkpoint of
    such a twin has no tensor under its name.
    """

    config_class = TwinConfig

    def __init__(self, config: TwinConfig) -> None:
        super().__init__(config)
        for block in self.transformer.h:
            before_attention = config.norm_place in ("both", "attention")
            before_ffn = config.norm_place in ("both", "ffn")
            block.ln_1 = _norm(config) if before_attention else nn.Identity()
            block.ln_2 = _norm(config) if before_ffn else nn.Identity()
        self.transformer.ln_f = _norm(config)  # type: ignore[assignment]
        if config.positions == "none":
            self.transformer.wpe.weight.requires_grad_(False)
            if not self.transformer.wpe.weight.is_meta:
                nn.init.zeros_(self.transformer.wpe.weight)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        # Loading fills tensors that a checkpoint lacks through this method; the table of a twin
        # without positions must be zero on that path too.
        if self.config.positions == "none" and module is self.transformer.wpe:
            nn.init.zeros_(module.weight)
        if isinstance(module, DynamicTanh):
            nn.init.constant_(module.alpha, DYT_ALPHA)
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


AutoConfig.register(TwinConfig.model_type, TwinConfig, exist_ok=True)
AutoModelForCausalLM.register(TwinConfig, TwinLMHeadModel, exist_ok=True)


def _tensor_seed(seed: int, name: str) -> int:
    """63-bit generator seed of one tensor, the same for every variant that has the tensor."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@torch.no_grad()
def initialise(model: TwinLMHeadModel, seed: int) -> None:
    """Give every parameter its initial value, drawn per tensor from ``(seed, tensor name)``.

    Tensors that two variants share therefore start bit-identical, whatever other tensors the
    variants have. Distributions are GPT-2's: matrices normal with ``initializer_range``, those
    that write into the residual stream divided by ``sqrt(2 * blocks)``; biases 0, norm gains 1.

    Parameters
    ----------
    model : TwinLMHeadModel
        Changed in place; its parameters must be float32 on the CPU.
    seed : int
        Seed of the initialisation.
    """
    config = model.config
    residual_std = config.initializer_range / math.sqrt(2 * config.n_layer)
    for name, parameter in model.named_parameters():
        is_norm = ".ln_" in name
        if name.endswith(".bias"):
            parameter.zero_()
        elif name.endswith(".alpha"):
            parameter.fill_(DYT_ALPHA)
        elif is_norm:
            parameter.fill_(1.0)
        elif name.endswith("wpe.weight") and config.positions == "none":
            parameter.zero_()
        else:
            generator = torch.Generator().manual_seed(_tensor_seed(seed, name))
            std = residual_std if name.endswith("c_proj.weight") else config.initializer_range
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
