"""Circuits, logit attribution and exact identities of the no-position model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.observables.registry import observable
from refutable.studies.no_position.circuits import (
    centre_unembedding,
    centre_writing,
    direct_logit_attribution,
    fold_norms,
    forward,
    ov_circuit,
    ov_circuit_as_published,
    qk_circuit,
    qk_circuit_as_published,
    read_gpt2,
)
from refutable.studies.no_position.observables.subject import held_out, in_double

if TYPE_CHECKING:
    import torch
    import xarray as xr

    from refutable.models.load import LoadedModel

_FORMS = ["published", "composed"]
_TOKENS = slice(1, 61)
"""Tokens of the maps that are kept: all 299 behave alike, being drawn alike."""


@observable(source="model", dims=("part", "position"), unit="nats")
def previous_token_attribution(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Direct attribution of the correct token's logit, mean over 64 held-out sequences."""
    import xarray as xr

    parts, values, _, _ = _attribution(loaded)
    return xr.DataArray(
        values.mean(dim=1).cpu().numpy(),
        dims=("part", "position"),
        coords={"part": list(parts), "position": list(range(1, values.shape[-1] + 1))},
    )


@observable(source="model", dims=(), unit="nats")
def attribution_gap(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Largest difference of the sum of all parts and the centred logit, in float64."""
    import xarray as xr

    _, values, logits, targets = _attribution(loaded)
    centred = logits - logits.mean(dim=-1, keepdim=True)
    of_target = centred.gather(-1, targets[..., None])[..., 0]
    return xr.DataArray(float((values.sum(dim=0) - of_target).abs().max()))


def _attribution(
    loaded: LoadedModel,
) -> tuple[tuple[str, ...], torch.Tensor, torch.Tensor, torch.Tensor]:
    """Parts, values (part, batch, position >= 1), the model's logits there, and the targets."""
    import torch

    tokens = held_out(loaded, 64)
    model = in_double(loaded)
    weights = read_gpt2(model)
    # The target of position t is the token before; position 0 has none and is dropped.
    targets = tokens.roll(1, dims=1)
    attribution = direct_logit_attribution(weights, forward(weights, tokens), targets)
    with torch.no_grad():
        logits = model(tokens).logits
    return attribution.parts, attribution.values[..., 1:], logits[:, 1:], targets[:, 1:]


@observable(source="model", dims=("rewriting",), unit="nats")
def rewriting_gap(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Largest change of a log-probability by folding norms and centring weights, in float64."""
    import torch
    import xarray as xr

    tokens = held_out(loaded, 64)
    model = in_double(loaded)
    with torch.no_grad():
        logs = model(tokens).logits.log_softmax(dim=-1)
    weights = read_gpt2(model)
    rewritten = {
        "folded": fold_norms(weights),
        "writing centred": centre_writing(weights),
        "unembedding centred": centre_unembedding(weights),
        "all": centre_unembedding(centre_writing(fold_norms(weights))),
    }
    gaps = [
        float((forward(new, tokens).logits.log_softmax(dim=-1) - logs).abs().max())
        for new in rewritten.values()
    ]
    return xr.DataArray(gaps, dims=("rewriting",), coords={"rewriting": list(rewritten)})


@observable(source="model", dims=("form", "layer"), unit="correlation")
def score_agreement(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Correlation of a QK map's entries with the model's own attention scores.

    Both are centred over the keys each query sees, as softmax does not see a constant. Forms:
    the published product of raw weights, and the composed map of `circuits.qk_circuit`.
    """
    import xarray as xr

    tokens = held_out(loaded, 64)
    weights = read_gpt2(loaded.model)
    sites = forward(weights, tokens).sites
    rows = [
        [
            _agreement(sites[f"blocks.{layer}.attn.scores"][:, 0], make(weights, layer)[0], tokens)
            for layer in range(len(weights.blocks))
        ]
        for make in (qk_circuit_as_published, qk_circuit)
    ]
    return xr.DataArray(rows, dims=("form", "layer"), coords={"form": _FORMS})


def _agreement(scores: torch.Tensor, circuit: torch.Tensor, tokens: torch.Tensor) -> float:
    import torch

    predicted = circuit[tokens[:, :, None], tokens[:, None, :]].double()
    visible = ~torch.isneginf(scores)
    return _correlation(
        _centred(scores.double(), visible)[visible], _centred(predicted, visible)[visible]
    )


def _centred(scores: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    kept = scores.masked_fill(~visible, 0.0)
    return kept - kept.sum(dim=-1, keepdim=True) / visible.sum(dim=-1, keepdim=True)


def _correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    import torch

    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


@observable(source="model", dims=("form", "layer", "query", "key"), unit="score")
def query_key_map(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """QK map over tokens 1 to 60, as published and composed."""
    import xarray as xr

    weights = read_gpt2(loaded.model)
    rows = [
        [make(weights, layer)[0, _TOKENS, _TOKENS].tolist() for layer in range(len(weights.blocks))]
        for make in (qk_circuit_as_published, qk_circuit)
    ]
    return xr.DataArray(rows, dims=("form", "layer", "query", "key"), coords={"form": _FORMS})


@observable(source="model", dims=("form", "layer", "token", "neuron"))
def output_value_map(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """OV map from tokens 1 to 60 to 64 neurons, as published and composed.

    Published: raw weights, read by the W_in of layer 0 in both layers. Composed: with norm and
    value bias, from the direct path, read by the layer's own W_in.
    """
    import xarray as xr

    weights = read_gpt2(loaded.model)
    published = [ov_circuit_as_published(weights, layer) for layer in range(len(weights.blocks))]
    composed = [
        ov_circuit(weights, layer, reader=block.w_in) for layer, block in enumerate(weights.blocks)
    ]
    rows = [[one[0, _TOKENS, :64].tolist() for one in form] for form in (published, composed)]
    return xr.DataArray(rows, dims=("form", "layer", "token", "neuron"), coords={"form": _FORMS})


@observable(dims=("layer",), unit="correlation")
def query_key_map_agreement(query_key_map: xr.DataArray) -> xr.DataArray:
    """Correlation of the published QK map with the composed one, both centred over the keys."""
    import xarray as xr

    centred = query_key_map - query_key_map.mean("key")
    published, composed = (centred.sel(form=form, drop=True) for form in _FORMS)
    return xr.corr(published, composed, dim=("query", "key"))


@observable(dims=("layer",), unit="correlation")
def output_value_map_agreement(output_value_map: xr.DataArray) -> xr.DataArray:
    """Correlation of the published OV map with the composed one."""
    import xarray as xr

    published, composed = (output_value_map.sel(form=form, drop=True) for form in _FORMS)
    return xr.corr(published, composed, dim=("token", "neuron"))
