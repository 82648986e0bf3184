"""The tensors of a decoder with sequential blocks, in one layout whatever model they came from.

Matrices act on rows from the right (``x @ w``), heads have a dimension of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from refutable.errors import NotAvailableError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """A normalization before a sublayer or before the unembedding."""

    gain: torch.Tensor
    """Shape (d_model)."""
    shift: torch.Tensor
    """Shape (d_model)."""
    epsilon: float

    def scale(self, stream: torch.Tensor) -> torch.Tensor:
        """Return the divisor: the standard deviation over d_model, shape (..., 1)."""
        variance = stream.var(dim=-1, unbiased=False, keepdim=True)
        return (variance + self.epsilon).sqrt()

    def __call__(self, stream: torch.Tensor) -> torch.Tensor:
        """Return the stream (..., d_model) centred, divided by its scale, with gain and shift."""
        centred = stream - stream.mean(dim=-1, keepdim=True)
        return centred / self.scale(stream) * self.gain + self.shift


@dataclass(frozen=True, slots=True, eq=False)
class BlockWeights:
    """One block: attention, then a feed-forward layer of two matrices."""

    norm1: Norm
    w_q: torch.Tensor
    """Shape (head, d_model, d_head); so are `w_k` and `w_v`."""
    b_q: torch.Tensor
    """Shape (head, d_head); so are `b_k` and `b_v`."""
    w_k: torch.Tensor
    b_k: torch.Tensor
    w_v: torch.Tensor
    b_v: torch.Tensor
    w_o: torch.Tensor
    """Shape (head, d_head, d_model)."""
    b_o: torch.Tensor
    """Shape (d_model)."""
    norm2: Norm
    w_in: torch.Tensor
    """Shape (d_model, d_mlp)."""
    b_in: torch.Tensor
    """Shape (d_mlp)."""
    w_out: torch.Tensor
    """Shape (d_mlp, d_model)."""
    b_out: torch.Tensor
    """Shape (d_model)."""


@dataclass(frozen=True, slots=True, eq=False)
class DecoderWeights:
    """A whole decoder with LayerNorm before each sublayer and before the unembedding."""

    w_e: torch.Tensor
    """Token embedding, shape (vocabulary, d_model)."""
    w_pos: torch.Tensor
    """Position embedding, shape (position, d_model)."""
    blocks: tuple[BlockWeights, ...]
    final_norm: Norm
    w_u: torch.Tensor
    """Unembedding, shape (d_model, vocabulary)."""
    b_u: torch.Tensor
    """Shape (vocabulary); zero where the model has none."""
    activation: str
    """Name of the feed-forward activation, as transformers spells it."""


def read_gpt2(model: PreTrainedModel) -> DecoderWeights:
    """Read a model that stores GPT-2's tensors under GPT-2's names.

    Parameters
    ----------
    model
        A loaded model; its weights are shared, not copied.

    Raises
    ------
    NotAvailableError
        When the model does not have those tensors (no LayerNorm shift, gated feed-forward,
        rotary positions, or other names).
    """
    import torch

    tensors = {name: value.detach() for name, value in model.state_dict().items()}
    config = model.config
    try:
        final_norm = _norm(tensors, "transformer.ln_f", config.layer_norm_epsilon)
        blocks = tuple(
            _block(tensors, f"transformer.h.{layer}", config) for layer in range(config.n_layer)
        )
        unembedding = tensors["lm_head.weight"].T
        return DecoderWeights(
            w_e=tensors["transformer.wte.weight"],
            w_pos=tensors["transformer.wpe.weight"],
            blocks=blocks,
            final_norm=final_norm,
            w_u=unembedding,
            b_u=torch.zeros(unembedding.shape[1], dtype=unembedding.dtype),
            activation=config.activation_function,
        )
    except (KeyError, AttributeError) as error:
        raise NotAvailableError(
            f"circuits need GPT-2's tensors, and {type(model).__name__} has none called {error}: "
            "build DecoderWeights from its own tensors"
        ) from None


def _norm(tensors: dict[str, torch.Tensor], name: str, epsilon: float) -> Norm:
    return Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"], float(epsilon))


def _block(tensors: dict[str, torch.Tensor], at: str, config: object) -> BlockWeights:
    """Split GPT-2's fused query-key-value matrix and give each head its dimension."""
    import torch

    heads: int = config.n_head  # type: ignore[attr-defined]
    epsilon: float = config.layer_norm_epsilon  # type: ignore[attr-defined]
    w_qkv, b_qkv = tensors[f"{at}.attn.c_attn.weight"], tensors[f"{at}.attn.c_attn.bias"]
    width = w_qkv.shape[0]
    per_head = width // heads
    w_q, w_k, w_v = (
        part.reshape(width, heads, per_head).transpose(0, 1)
        for part in torch.split(w_qkv, width, dim=1)
    )
    b_q, b_k, b_v = (part.reshape(heads, per_head) for part in torch.split(b_qkv, width))
    return BlockWeights(
        norm1=_norm(tensors, f"{at}.ln_1", epsilon),
        w_q=w_q,
        b_q=b_q,
        w_k=w_k,
        b_k=b_k,
        w_v=w_v,
        b_v=b_v,
        w_o=tensors[f"{at}.attn.c_proj.weight"].reshape(heads, per_head, width),
        b_o=tensors[f"{at}.attn.c_proj.bias"],
        norm2=_norm(tensors, f"{at}.ln_2", epsilon),
        w_in=tensors[f"{at}.mlp.c_fc.weight"],
        b_in=tensors[f"{at}.mlp.c_fc.bias"],
        w_out=tensors[f"{at}.mlp.c_proj.weight"],
        b_out=tensors[f"{at}.mlp.c_proj.bias"],
    )
