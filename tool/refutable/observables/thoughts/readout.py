"""What a thought says when the unembedding reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.observables.registry import observable
from refutable.observables.thoughts.subject import THOUGHTS, by_prompt, is_latent, laid_out, scored

if TYPE_CHECKING:
    import torch
    import xarray as xr

    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel

READ = ("log-probability", "accuracy", "entropy")


@observable(source="model", dims=("prompt", "read", "thought"))
def thought_readout(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """The answer as a thought reads out: log-probability, whether it is first, entropy; nats.

    Of a latent thought the state that is fed, of a written one the last hidden state of its last
    token.
    """
    import torch

    logits = thought_logits(loaded, encoded)
    values = []
    for number in range(THOUGHTS):
        of_one = logits[:, number]
        chances = of_one.log_softmax(dim=-1)
        entropy = -(chances.exp() * chances).sum(dim=-1, keepdim=True)
        values.append(torch.cat([scored(of_one, encoded), entropy], dim=1))
    probabilities = torch.stack(values, dim=-1).double().cpu().numpy()
    return by_prompt(
        probabilities, encoded, ("read", "thought"), read=READ, thought=range(THOUGHTS)
    )


def thought_logits(loaded: LoadedModel, encoded: Encoded) -> torch.Tensor:
    """Return the logits that each thought reads out as, shape (prompt, thought, vocabulary)."""
    import torch

    model = loaded.model
    thoughts = laid_out(loaded, encoded)
    if is_latent(encoded):
        columns = [thoughts.columns(f"t{number}")[0] for number in range(THOUGHTS)]
        states = thoughts.embeddings[:, columns]
    else:
        from refutable.capture.answers import last_states

        masks = [thoughts.thought(number) for number in range(THOUGHTS)]
        positions = torch.arange(thoughts.present.shape[1], device=masks[0].device)
        last = torch.stack([torch.where(mask, positions, -1).amax(dim=1) for mask in masks], dim=1)
        hidden = last_states(model, thoughts)
        states = hidden.gather(1, last[..., None].expand(-1, -1, hidden.shape[-1]))
    with torch.no_grad():
        logits: torch.Tensor = model.get_output_embeddings()(states).float()
    return logits
