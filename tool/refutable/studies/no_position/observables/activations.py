"""What the no-position model does inside: attention, replacements, neurons, implicit position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from refutable.observables.registry import observable
from refutable.studies.no_position.model import previous_token_loss
from refutable.studies.no_position.observables.subject import held_out, untrained_of

if TYPE_CHECKING:
    import numpy as np
    import torch
    import xarray as xr
    from transformers import PreTrainedModel

    from refutable.capture.intervene import How
    from refutable.models.load import LoadedModel

_PROBED = ("embed", "blocks.0.attn_out", "blocks.0.resid_post", "blocks.1.resid_post")


@observable(source="model", dims=("layer", "query", "key"), unit="share")
def mean_attention(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Attention pattern of each layer, averaged over 256 held-out sequences."""
    import torch
    import xarray as xr

    layers = range(loaded.facts.blocks)
    names = [f"blocks.{layer}.attn.pattern" for layer in layers]
    attention = _read(loaded.model, held_out(loaded), names)
    mean = torch.stack([attention[name].mean(dim=(0, 1)) for name in names])
    return xr.DataArray(
        mean.double().cpu().numpy(),
        dims=("layer", "query", "key"),
        coords={"layer": list(layers), "query": range(mean.shape[1]), "key": range(mean.shape[2])},
    )


@observable(dims=("back", "layer"), unit="share")
def attention_looking_back(mean_attention: xr.DataArray) -> xr.DataArray:
    """Attention weight that queries t >= 1 give, on average, to key t - back; back 0 to 3."""
    import numpy as np
    import xarray as xr

    rows = []
    for back in range(4):
        at = xr.DataArray(np.arange(max(back, 1), mean_attention.sizes["query"]), dims="at")
        weights = mean_attention.isel(query=at, key=at - back)
        rows.append(weights.drop_vars(("query", "key")).mean("at"))
    return xr.concat(rows, dim=xr.DataArray(range(4), dims="back", name="back"))


@observable(dims=("keys", "layer"), unit="share")
def distance_from_uniform(mean_attention: xr.DataArray) -> xr.DataArray:
    """Total variation distance of the mean pattern from equal weights, mean over queries t >= 1.

    Over all keys that a query sees, and over those that are not the BOS token (their weights made
    to sum to 1).
    """
    import xarray as xr

    rows = []
    for first in (0, 1):
        weights = mean_attention.where(mean_attention["key"] >= first, 0.0)
        weights = weights / weights.sum("key")
        seen = (weights["key"] >= first) & (weights["key"] <= weights["query"])
        distance = abs(weights - seen / seen.sum("key")).sum("key") / 2
        rows.append(distance.sel(query=slice(1, None)).mean("query"))
    return xr.concat(rows, dim=xr.DataArray(["all", "not BOS"], dims="keys", name="keys"))


@observable(source="model", dims=("site",), unit="nats", version=2)
def replaced_loss(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Loss with one site replaced by its mean over 128 sequences, kept per position."""
    from refutable.capture.intervene import available_sites

    available = available_sites(loaded.model)
    return _swept(loaded, [site for site, reason in available.items() if not reason], "mean")


@observable(source="model", dims=("site",), unit="nats")
def loss_without_position(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Loss with a layer's queries, keys or values replaced by one mean over all positions."""
    layers = range(loaded.facts.blocks)
    return _swept(loaded, [f"blocks.{n}.attn.{name}" for n in layers for name in "qkv"], "mean-all")


def _swept(loaded: LoadedModel, sites: Sequence[str], how: How) -> xr.DataArray:
    import xarray as xr

    from refutable.capture.intervene import sweep

    losses = sweep(loaded.model, held_out(loaded, 128), previous_token_loss, sites=sites, how=how)
    return xr.DataArray(list(losses.values()), dims=("site",), coords={"site": list(losses)})


@observable(source="model", dims=("statistic", "layer", "neuron", "position"))
def neuron_activity(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Share of 256 sequences in which a neuron is active, and its mean, at every 4th position."""
    import torch
    import xarray as xr

    layers = range(loaded.facts.blocks)
    names = [f"blocks.{layer}.mlp.post" for layer in layers]
    tokens = held_out(loaded)
    positions = range(1, tokens.shape[1], 4)
    activity = _read(loaded.model, tokens, names)
    post = torch.stack([activity[name][:, list(positions)] for name in names])
    values = torch.stack([(post > 0).double().mean(dim=1), post.double().mean(dim=1)])
    return xr.DataArray(
        values.transpose(-1, -2).cpu().numpy(),
        dims=("statistic", "layer", "neuron", "position"),
        coords={
            "statistic": ["share active", "mean"],
            "layer": list(layers),
            "position": list(positions),
        },
    )


@observable(source="model", dims=("training", "position"))
def attention_output_variance(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Variance over sequences of layer 0's attention output, summed over its dimensions."""
    import torch
    import xarray as xr

    tokens = held_out(loaded)
    rows = []
    for model in (untrained_of(loaded), loaded.model):
        out = _read(model, tokens, ["blocks.0.attn_out"])["blocks.0.attn_out"].double()
        rows.append(out.var(dim=0).sum(dim=-1))
    return xr.DataArray(
        torch.stack(rows).cpu().numpy(),
        dims=("training", "position"),
        coords={"training": ["untrained", "trained"]},
    )


@observable(source="model", dims=("probe", "site"), unit="R squared")
def position_readout(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """R squared of position, 1 to 49, read by ridge regression on sequences it has not seen.

    Probes: of the trained model, of the trained model with shuffled positions in the data the
    probe is fitted on, and of an untrained model.
    """
    import numpy as np
    import xarray as xr

    tokens = held_out(loaded, 128)
    shuffled = np.random.default_rng(loaded.spec.seed or 0)
    trained = _read(loaded.model, tokens, _PROBED)
    fresh = _read(untrained_of(loaded), tokens, _PROBED)
    rows = {
        "trained": [_probe(trained[site], None) for site in _PROBED],
        "shuffled": [_probe(trained[site], shuffled) for site in _PROBED],
        "untrained": [_probe(fresh[site], None) for site in _PROBED],
    }
    return xr.DataArray(
        list(rows.values()),
        dims=("probe", "site"),
        coords={"probe": list(rows), "site": list(_PROBED)},
    )


def _probe(activation: torch.Tensor, shuffled: np.random.Generator | None) -> float:
    """Fit on the first half of the sequences, score on the second."""
    import numpy as np
    from sklearn.linear_model import Ridge  # type: ignore[import-untyped]
    from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
    from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

    # Position 0 holds the BOS token and nothing else: any probe tells it apart.
    values = activation[:, 1:].double().cpu().numpy()
    half = len(values) // 2
    positions = np.tile(np.arange(1, values.shape[1] + 1), (len(values), 1)).astype(float)
    features = values.reshape(len(values), values.shape[1], -1)
    fitted_on = positions[:half].ravel()
    if shuffled is not None:
        fitted_on = shuffled.permutation(fitted_on)
    probe = make_pipeline(StandardScaler(), Ridge(alpha=1.0))
    probe.fit(features[:half].reshape(len(fitted_on), -1), fitted_on)
    unseen = positions[half:].ravel()
    return float(probe.score(features[half:].reshape(len(unseen), -1), unseen))


def _read(
    model: PreTrainedModel, tokens: torch.Tensor, sites: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Return what one pass computes at some sites; torch is loaded when something is measured."""
    from refutable.capture.intervene import read

    return read(model, tokens, sites)
