"""Circuits over the vocabulary: which token attends to which (QK), and what attending moves (OV).

The published maps multiply raw weights: W_E W_Q W_K^T W_E^T and W_E W_V W_O W_in. For layer 0
they leave out the norm and the biases. For layer 1 they feed raw embeddings, although that layer
reads what block 0 wrote, and the published OV map of layer 1 reads through the W_in of *layer 0*.
Both forms are here; only the composed one gives the model's own scores and outputs.

References
----------
no-position T7. Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.studies.no_position.circuits.weights import DecoderWeights

if TYPE_CHECKING:
    import torch


def qk_circuit_as_published(weights: DecoderWeights, layer: int) -> torch.Tensor:
    """Return W_E W_Q W_K^T W_E^T, shape (head, query token, key token).

    No norm, no bias, no division by sqrt(d_head), and raw embeddings in every layer: for layer 1
    and up this is a wrong composition, kept to compare with the published maps.
    """
    block = weights.blocks[layer]
    query = weights.w_e @ block.w_q
    key = weights.w_e @ block.w_k
    return query @ key.transpose(-1, -2)


def ov_circuit_as_published(
    weights: DecoderWeights, layer: int, reading_layer: int = 0
) -> torch.Tensor:
    """Return W_E W_V W_O W_in, shape (head, token, d_mlp).

    Parameters
    ----------
    weights
        The decoder.
    layer
        Layer of W_V and W_O.
    reading_layer
        Layer of W_in. The study used 0 for both layers, so what it shows for layer 1 is read
        through a matrix that runs *before* layer 1.
    """
    block = weights.blocks[layer]
    return weights.w_e @ block.w_v @ block.w_o @ weights.blocks[reading_layer].w_in


def direct_path(weights: DecoderWeights, layer: int, own_weight: float = 0.0) -> torch.Tensor:
    """Return the stream that a lone token brings to a layer, shape (vocabulary, d_model).

    Parameters
    ----------
    weights
        The decoder. Its position embedding is left out.
    layer
        The layer that reads; 0 gives the embedding.
    own_weight
        How much each head of the layers below attends to the token itself. 0 leaves out what
        those heads move (but not their output bias); 1 is exact for a sequence of one token.
    """
    from transformers.activations import ACT2FN

    activation = ACT2FN[weights.activation]
    stream: torch.Tensor = weights.w_e
    for block in weights.blocks[:layer]:
        values = block.norm1(stream) @ block.w_v + block.b_v[:, None, :]
        attended = (values @ block.w_o).sum(dim=0)
        stream = stream + own_weight * attended + block.b_o
        hidden = activation(block.norm2(stream) @ block.w_in + block.b_in)
        stream = stream + hidden @ block.w_out + block.b_out
    return stream


def qk_circuit(
    weights: DecoderWeights, layer: int, stream: torch.Tensor | None = None
) -> torch.Tensor:
    """Return attention scores between tokens, shape (head, query token, key token).

    Parameters
    ----------
    weights
        The decoder.
    layer
        The layer that attends.
    stream
        What each token brings to the layer, (token, d_model); `direct_path` by default.

    Notes
    -----
    Norm, biases and the division by sqrt(d_head) are in. At layer 0 of a model without positions
    the score of positions t and s is exactly the entry at their tokens.
    """
    block = weights.blocks[layer]
    seen = block.norm1(direct_path(weights, layer) if stream is None else stream)
    query = seen @ block.w_q + block.b_q[:, None, :]
    key = seen @ block.w_k + block.b_k[:, None, :]
    scores: torch.Tensor = query @ key.transpose(-1, -2) / block.w_q.shape[-1] ** 0.5
    return scores


def ov_circuit(
    weights: DecoderWeights,
    layer: int,
    stream: torch.Tensor | None = None,
    reader: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return what attending to each token writes, shape (head, token, d_model or reader's width).

    Parameters
    ----------
    weights
        The decoder.
    layer
        The layer that attends.
    stream
        What each token brings to the layer, (token, d_model); `direct_path` by default.
    reader
        A matrix (d_model, width) the output is read through: the same layer's ``w_in``, or the
        unembedding. The output itself by default.

    Notes
    -----
    Norm and value bias are in, the output bias is not. At layer 0 of a model without positions the
    attention output is exactly the pattern times these rows, plus ``b_o``.
    """
    block = weights.blocks[layer]
    seen = block.norm1(direct_path(weights, layer) if stream is None else stream)
    written = (seen @ block.w_v + block.b_v[:, None, :]) @ block.w_o
    return written if reader is None else written @ reader
