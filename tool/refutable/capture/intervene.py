"""Replace, ablate or patch an activation at a named site and see what the model then says.

Sites carry TransformerLens's names, with or without its ``hook_``:

===================================  ===========================================  ================
site                                 what                                         shape
===================================  ===========================================  ================
``embed``, ``pos_embed``             token and position embedding                 batch pos model
``blocks.L.resid_pre``               residual stream before block L               batch pos model
``blocks.L.ln1.scale``               divisor of the norm before attention         batch pos 1
``blocks.L.ln1.normalized``          what attention reads                         batch pos model
``blocks.L.attn.q``, ``k``, ``v``    queries, keys, values                        batch pos head d
``blocks.L.attn.rot_q``, ``rot_k``   the same after rotation (rotary models)      batch pos head d
``blocks.L.attn.scores``             scores, -inf where masked                    batch head pos key
``blocks.L.attn.pattern``            attention weights                            batch head pos key
``blocks.L.attn.z``                  what the heads made, before mixing           batch pos head*d
``blocks.L.attn_out``                what attention adds to the stream            batch pos model
``blocks.L.resid_mid``               the stream between the sublayers             batch pos model
``blocks.L.ln2.scale``               divisor of the norm before the feed-forward  batch pos 1
``blocks.L.ln2.normalized``          what the feed-forward reads                  batch pos model
``blocks.L.mlp.pre``, ``mlp.post``   neurons before and after the nonlinearity    batch pos neuron
``blocks.L.mlp_out``                 what the feed-forward adds to the stream     batch pos model
``blocks.L.resid_post``              residual stream after block L                batch pos model
``ln_final.scale``, ``.normalized``  the norm before the unembedding              batch pos ...
===================================  ===========================================  ================

Which of them a model has is found from its modules; q, k, v, scores and pattern need a model whose
attention goes through transformers' attention interface. What is missing has a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from refutable.capture.edits import (
    Edit,
    block_outputs,
    reason_against,
    run_edited,
    starting_behind,
)
from refutable.errors import RefutableError
from refutable.models.site_names import canonical as canonical
from refutable.models.sites import find_sites
from refutable.system.progress import progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

How = Literal["mean", "mean-all", "zero", "resample"] | torch.Tensor
"""``mean``: over the batch, kept per position. ``mean-all``: over batch and positions. ``zero``.
``resample``: the activation of another sequence of the batch. A tensor: that value."""

_IN_BLOCK = (
    "resid_pre",
    "ln1.scale",
    "ln1.normalized",
    *(f"attn.{name}" for name in ("q", "k", "v", "rot_q", "rot_k", "scores", "pattern", "z")),
    "attn_out",
    "resid_mid",
    "ln2.scale",
    "ln2.normalized",
    "mlp.pre",
    "mlp.post",
    "mlp_out",
    "resid_post",
)
_BY_KEY = ("attn.scores", "attn.pattern")


@dataclass(frozen=True, slots=True, eq=False)
class Intervention:
    """One edit of one activation."""

    site: str
    how: How = "mean"
    positions: tuple[int, ...] | None = None
    """Positions to edit (query positions of scores and pattern); all by default."""
    seed: int = 0
    """Seed of ``resample``."""


def site_names(blocks: int) -> tuple[str, ...]:
    """Return every site of a decoder of so many blocks, in the order of computation."""
    inside = (f"blocks.{layer}.{name}" for layer in range(blocks) for name in _IN_BLOCK)
    return ("embed", "pos_embed", *inside, "ln_final.scale", "ln_final.normalized")


def available_sites(model: PreTrainedModel) -> dict[str, str]:
    """Return every site by name, with the reason why this model does not have it ("" if it does).

    Parameters
    ----------
    model
        A causal language model with weights, in evaluation mode.
    """
    sites = find_sites(model)
    return {name: reason_against(sites, name) for name in site_names(len(sites.blocks))}


def read(
    model: PreTrainedModel, tokens: torch.Tensor, sites: Iterable[str]
) -> dict[str, torch.Tensor]:
    """Return the activations at sites in one forward pass.

    Parameters
    ----------
    model
        A causal language model in evaluation mode.
    tokens
        Token ids of equally long sequences, shape (batch, position).
    sites
        Names from the table above.

    Raises
    ------
    NotAvailableError
        When the model does not have a site, with the reason.
    """
    kept: dict[str, torch.Tensor] = {}

    def keeper(name: str) -> Edit:
        def keep(value: torch.Tensor) -> torch.Tensor:
            kept[name] = value.detach().clone()
            return value

        return keep

    names = [canonical(site) for site in sites]
    run_edited(model, find_sites(model), tokens, {name: keeper(name) for name in names})
    return kept


def intervene(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    interventions: Intervention | Sequence[Intervention],
) -> torch.Tensor:
    """Return the logits with activations replaced, shape (batch, position, vocabulary).

    Parameters
    ----------
    model
        A causal language model in evaluation mode; nothing remains on it afterwards.
    tokens
        Token ids of equally long sequences, shape (batch, position). Means are taken over them.
    interventions
        One edit, or several that are made in the same pass. Means and other sequences'
        activations are those of this pass: an edit sees the edits made before it.

    Raises
    ------
    NotAvailableError
        When the model does not have a site, with the reason.
    RefutableError
        When an edit asks for a position or a value that does not fit.
    """
    asked = [interventions] if isinstance(interventions, Intervention) else list(interventions)
    if not asked:
        raise RefutableError("no intervention was given: name one site or more")
    sites = find_sites(model)
    edits: dict[str, Edit] = {}
    for item in asked:
        name = canonical(item.site)
        if name in edits:
            raise RefutableError(f"site {name} is edited twice: give its positions in one edit")
        edits[name] = _edit(name, item)
    return run_edited(model, sites, tokens, edits)


def sweep(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    sites: Iterable[str] | None = None,
    how: How = "mean",
    show_progress: bool = True,
) -> dict[str, float]:
    """Return the loss after editing one site at a time, and of the intact model as ``intact``.

    Parameters
    ----------
    model
        A causal language model in evaluation mode.
    tokens
        Shape (batch, position).
    loss
        Function of logits and tokens.
    sites
        Which sites; by default every one the model has (without the norms' scales for zero,
        as they divide).
    how
        What to put there.
    show_progress
        Show a bar (in a terminal) or a line for each tenth.
    """
    own_sites = find_sites(model)
    if sites is None:
        names = site_names(len(own_sites.blocks))
        chosen = [name for name in names if not reason_against(own_sites, name)]
        if isinstance(how, str) and how == "zero":
            chosen = [name for name in chosen if not name.endswith(".scale")]
    else:
        chosen = [canonical(name) for name in sites]
    losses = {"intact": float(loss(run_edited(model, own_sites, tokens, {}), tokens))}
    # Nothing before the edited block changes: its pass starts there.
    outputs = block_outputs(model, own_sites, tokens)
    with progress("sites replaced", len(chosen), show=show_progress) as advance:
        for done, name in enumerate(chosen, start=1):
            edit = _edit(name, Intervention(name, how))
            with starting_behind(
                own_sites, outputs or (), _blocks_before(name, len(own_sites.blocks))
            ):
                losses[name] = float(
                    loss(run_edited(model, own_sites, tokens, {name: edit}), tokens)
                )
            advance(done, name)
    return losses


def _blocks_before(site: str, blocks: int) -> int:
    """Return how many blocks a site lies behind."""
    if site.startswith("ln_final"):
        return blocks
    return int(site.split(".")[1]) if site.startswith("blocks.") else 0


def _edit(name: str, item: Intervention) -> Edit:
    by_key = name.endswith(_BY_KEY)

    def edit(value: torch.Tensor) -> torch.Tensor:
        new = _replacement(name, value, item, by_key=by_key)
        if item.positions is None:
            return new.contiguous()
        at = 2 if by_key else 1
        outside = [p for p in item.positions if not -value.shape[at] <= p < value.shape[at]]
        if outside:
            raise RefutableError(
                f"position {outside[0]} of {name} does not exist: sequences have "
                f"{value.shape[at]} tokens"
            )
        index = torch.tensor([p % value.shape[at] for p in item.positions], device=value.device)
        return value.index_copy(at, index, new.index_select(at, index)).contiguous()

    return edit


def _replacement(
    name: str, value: torch.Tensor, item: Intervention, *, by_key: bool
) -> torch.Tensor:
    if isinstance(item.how, torch.Tensor):
        try:
            return item.how.to(value).expand_as(value)
        except RuntimeError:
            raise RefutableError(
                f"the value for {name} has shape {tuple(item.how.shape)}: expected "
                f"{tuple(value.shape)} or a shape that expands to it"
            ) from None
    if item.how == "mean":
        return value.mean(dim=0, keepdim=True).expand_as(value)
    if item.how == "mean-all":
        return _mean_of_all(value, by_key=by_key)
    if item.how == "zero":
        if name.endswith(".scale"):
            raise RefutableError(f"{name} is a divisor and cannot be zero: choose mean")
        # A score of 0 at a masked key would let a position see its future.
        return torch.where(torch.isneginf(value), value, torch.zeros_like(value))
    if item.how == "resample":
        if value.shape[0] < 2:
            # GPT-2 computes one position embedding for the whole batch.
            if name == "pos_embed":
                return value
            raise RefutableError("resample needs a batch of two sequences or more")
        source = torch.Generator().manual_seed(item.seed)
        # A shift by a random amount gives every sequence another one's activation.
        shift = int(torch.randint(1, value.shape[0], (1,), generator=source))
        return value.roll(shift, dims=0)
    raise RefutableError(
        f"expected how to be mean, mean-all, zero, resample or a tensor, got how={item.how!r}"
    )


def _mean_of_all(value: torch.Tensor, *, by_key: bool) -> torch.Tensor:
    """Return the mean over batch and positions; of scores and pattern, over what is visible."""
    if not by_key:
        return value.mean(dim=(0, 1), keepdim=True).expand_as(value)
    visible = torch.ones_like(value, dtype=torch.bool).tril() & ~torch.isneginf(value)
    total = value.masked_fill(~visible, 0.0).sum(dim=(0, 2, 3), keepdim=True)
    mean = total / visible.sum(dim=(0, 2, 3), keepdim=True)
    return torch.where(visible, mean, value)
