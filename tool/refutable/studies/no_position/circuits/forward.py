"""The forward pass written out from weights, with every intermediate activation kept.

It shares no code with transformers' models, so it also serves to check what is captured from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from refutable.studies.no_position.circuits.weights import BlockWeights, DecoderWeights

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class Activations:
    """What one forward pass computed."""

    sites: dict[str, torch.Tensor]
    """Activations under TransformerLens's names, e.g. ``blocks.0.attn.pattern``. Shapes:
    (batch, position, d_model) for the residual stream and sublayer outputs,
    (batch, position, head, d_head) for q, k, v and z, (batch, head, query, key) for scores and
    pattern, (batch, position, d_mlp) inside the feed-forward layer, (batch, position, 1) for
    norm scales."""
    logits: torch.Tensor
    """Shape (batch, position, vocabulary)."""


def forward(weights: DecoderWeights, tokens: torch.Tensor) -> Activations:
    """Run the decoder on unpadded sequences, each from position 0.

    Parameters
    ----------
    weights
        The decoder.
    tokens
        Token ids, shape (batch, position).
    """
    positions = tokens.shape[1]
    sites = {"embed": weights.w_e[tokens]}
    sites["pos_embed"] = weights.w_pos[:positions].expand_as(sites["embed"])
    stream = sites["embed"] + sites["pos_embed"]
    for layer, block in enumerate(weights.blocks):
        here = _block(block, stream, weights.activation)
        stream = here["resid_post"]
        sites |= {f"blocks.{layer}.{name}": value for name, value in here.items()}
    scale = weights.final_norm.scale(stream)
    sites["ln_final.scale"] = scale
    sites["ln_final.normalized"] = weights.final_norm(stream)
    return Activations(sites, sites["ln_final.normalized"] @ weights.w_u + weights.b_u)


def _block(block: BlockWeights, stream: torch.Tensor, activation: str) -> dict[str, torch.Tensor]:
    import torch
    from transformers.activations import ACT2FN

    sites = {"resid_pre": stream, "ln1.scale": block.norm1.scale(stream)}
    sites["ln1.normalized"] = normalized = block.norm1(stream)
    for name, weight, bias in (
        ("q", block.w_q, block.b_q),
        ("k", block.w_k, block.b_k),
        ("v", block.w_v, block.b_v),
    ):
        sites[f"attn.{name}"] = torch.einsum("btd,hde->bthe", normalized, weight) + bias
    query, key = sites["attn.q"], sites["attn.k"]
    scores = torch.einsum("bqhe,bkhe->bhqk", query, key) / block.w_q.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    sites["attn.scores"] = scores.masked_fill(future, float("-inf"))
    sites["attn.pattern"] = pattern = sites["attn.scores"].softmax(dim=-1)
    sites["attn.z"] = torch.einsum("bhqk,bkhe->bqhe", pattern, sites["attn.v"])
    sites["attn_out"] = torch.einsum("bqhe,hed->bqd", sites["attn.z"], block.w_o) + block.b_o
    sites["resid_mid"] = middle = stream + sites["attn_out"]
    sites["ln2.scale"] = block.norm2.scale(middle)
    sites["ln2.normalized"] = block.norm2(middle)
    sites["mlp.pre"] = sites["ln2.normalized"] @ block.w_in + block.b_in
    sites["mlp.post"] = ACT2FN[activation](sites["mlp.pre"])
    sites["mlp_out"] = sites["mlp.post"] @ block.w_out + block.b_out
    sites["resid_post"] = middle + sites["mlp_out"]
    return sites
