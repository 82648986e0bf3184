"""Direct logit attribution: how much each part of the residual stream adds to a logit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from refutable.studies.no_position.circuits.forward import Activations
from refutable.studies.no_position.circuits.weights import DecoderWeights

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """Parts that sum to a logit."""

    parts: tuple[str, ...]
    """``embed``, then ``attn L`` and ``mlp L`` of each layer, then ``bias``."""
    values: torch.Tensor
    """Shape (part, batch, position): nats, relative to the mean logit over the vocabulary."""


def direct_logit_attribution(
    weights: DecoderWeights, activations: Activations, targets: torch.Tensor
) -> Attribution:
    """Split the logit of one token at each position into what each layer wrote.

    Parameters
    ----------
    weights
        The decoder, folded or not.
    activations
        Of a forward pass of the same decoder.
    targets
        Token ids whose logits are split, shape (batch, position).

    Returns
    -------
    Attribution
        Its parts sum to logit - mean logit over the vocabulary.

    Notes
    -----
    The final norm's scale is that of the whole stream and is held fixed, which makes the logit
    linear in the parts. Each part goes through W_U scaled by the norm's gain and centred over the
    vocabulary. Output biases count with their layer; ``bias`` holds the final norm's shift and
    the unembedding's own bias.

    References
    ----------
    no-position T10.
    """
    import torch

    sites = activations.sites
    names, parts = ["embed"], [sites["embed"] + sites["pos_embed"]]
    for layer in range(len(weights.blocks)):
        for short, site in (("attn", "attn_out"), ("mlp", "mlp_out")):
            names.append(f"{short} {layer}")
            parts.append(sites[f"blocks.{layer}.{site}"])
    folded = weights.final_norm.gain[:, None] * weights.w_u
    folded_bias = weights.final_norm.shift @ weights.w_u + weights.b_u
    directions = (folded - folded.mean(dim=1, keepdim=True)).T[targets]
    bias = (folded_bias - folded_bias.mean())[targets]
    stacked = torch.stack(parts)
    centred = stacked - stacked.mean(dim=-1, keepdim=True)
    through = (centred / sites["ln_final.scale"] * directions).sum(dim=-1)
    return Attribution((*names, "bias"), torch.cat([through, bias[None]]))
