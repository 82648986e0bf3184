"""Rewrite a decoder into an equal one that is easier to read: fold the norms, centre the weights.

Each function leaves the log-probabilities as they are.

Notes
-----
A LayerNorm centres the stream, divides by its standard deviation, then applies gain g and shift s.
The next matrix W sees (x g + s) W + b = x (g W) + (s W + b), so g and s can live in the next
layer's weights. As every reader of the stream centres it, its mean over d_model is never read:
what each layer writes may be centred. A softmax does not see a constant: the unembedding may be
centred over the vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from refutable.studies.no_position.circuits.weights import BlockWeights, DecoderWeights, Norm

if TYPE_CHECKING:
    import torch


def fold_norms(weights: DecoderWeights) -> DecoderWeights:
    """Return an equal decoder whose norms have gain 1 and shift 0."""
    final = weights.final_norm
    return replace(
        weights,
        blocks=tuple(_fold_block(block) for block in weights.blocks),
        final_norm=_plain(final),
        w_u=final.gain[:, None] * weights.w_u,
        b_u=final.shift @ weights.w_u + weights.b_u,
    )


def centre_writing(weights: DecoderWeights) -> DecoderWeights:
    """Return an equal decoder in which nothing written to the stream has a mean over d_model."""
    return replace(
        weights,
        w_e=_centred(weights.w_e),
        w_pos=_centred(weights.w_pos),
        blocks=tuple(
            replace(
                block,
                w_o=_centred(block.w_o),
                b_o=_centred(block.b_o),
                w_out=_centred(block.w_out),
                b_out=_centred(block.b_out),
            )
            for block in weights.blocks
        ),
    )


def centre_unembedding(weights: DecoderWeights) -> DecoderWeights:
    """Return a decoder of equal log-probabilities whose logits have mean 0 over the vocabulary.

    The logits themselves move by a constant per position.

    Notes
    -----
    For a mean of exactly 0 fold the norms first, or the shift of the final norm adds to it; both
    orders leave the log-probabilities alone.
    """
    return replace(weights, w_u=_centred(weights.w_u), b_u=_centred(weights.b_u))


def _centred(tensor: torch.Tensor) -> torch.Tensor:
    return tensor - tensor.mean(dim=-1, keepdim=True)


def _plain(norm: Norm) -> Norm:
    import torch

    return replace(norm, gain=torch.ones_like(norm.gain), shift=torch.zeros_like(norm.shift))


def _fold_block(block: BlockWeights) -> BlockWeights:
    first, second = block.norm1, block.norm2
    gain = first.gain[None, :, None]
    return replace(
        block,
        norm1=_plain(first),
        w_q=gain * block.w_q,
        b_q=first.shift @ block.w_q + block.b_q,
        w_k=gain * block.w_k,
        b_k=first.shift @ block.w_k + block.b_k,
        w_v=gain * block.w_v,
        b_v=first.shift @ block.w_v + block.b_v,
        norm2=_plain(second),
        w_in=second.gain[:, None] * block.w_in,
        b_in=second.shift @ block.w_in + block.b_in,
    )
