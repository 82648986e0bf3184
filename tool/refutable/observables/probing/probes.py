"""What can be read off the residual stream by linear probes, beside a control task.

Probes are ridge regressions on one-hot classes, cross-validated by document. The control task is
that of Hewitt and Liang, "Designing and Interpreting Probes with Control Tasks", EMNLP 2019: a
random class for each token type, which can only be memorised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refutable.models.large import is_large, reads_as_a_copy
from refutable.observables.probing.token_labels import LABELS, labels_of, token_spans
from refutable.observables.prose.text import LENGTH, WINDOWS, documents, windows_of
from refutable.observables.registry import observable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    import xarray as xr
    from numpy.typing import NDArray
    from torch import nn

    from refutable.models.load import LoadedModel

    Floats = NDArray[np.floating]
    Integers = NDArray[np.integer]

KINDS = ("task", "control")
HALVES = 2
"""Halves of the documents; probes of one half see nothing of the other."""
FOLDS = 5
LEAST = 20
"""Tokens that a class must have in each half to count."""
RIDGE = 10.0
"""Penalty on standardized dims; a few thousand tokens outweigh it."""
_CONTROL_SEED = 17
# Numbers of all captured vectors (512 MB in float32); a large model is probed on fewer tokens.
_MOST_NUMBERS = 1 << 27
_WINDOWS = 16
"""Windows of one forward pass."""
WINDOWS_LARGE = 1
"""Windows of each document that a large model reads (`refutable.models.large`)."""


# -- vectors ---------------------------------------------------------------------------------


def _vectors(loaded: LoadedModel, windows: torch.Tensor, keep: Integers) -> Floats:
    """Vectors before the first block and after each block: ``(layer, window, token, dim)``.

    Windows are of one length, so a batch of them needs no padding and is right for any model.
    """
    import torch

    from refutable.models.sites import find_sites

    sites = find_sites(loaded.model)
    indices = torch.as_tensor(keep, device=windows.device)
    kept: list[list[torch.Tensor]] = [[] for _ in range(len(sites.blocks) + 1)]

    def before(
        module: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]
    ) -> None:
        given = args[0] if args else kwargs["hidden_states"]
        kept[0].append(given[:, indices].float().cpu())

    def after(layer: int) -> Callable[..., None]:
        def hook(
            module: nn.Module, args: object, made: torch.Tensor | tuple[torch.Tensor, ...]
        ) -> None:
            made = made[0] if isinstance(made, tuple) else made
            kept[layer].append(made[:, indices].float().cpu())

        return hook

    handles = [sites.blocks[0].register_forward_pre_hook(before, with_kwargs=True)]
    try:
        handles += [b.register_forward_hook(after(i + 1)) for i, b in enumerate(sites.blocks)]
        with torch.no_grad():
            for batch in windows.split(_WINDOWS):
                loaded.model.base_model(input_ids=batch, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    vectors: Floats = torch.stack([torch.cat(parts) for parts in kept]).numpy()
    return vectors


# -- probes ----------------------------------------------------------------------------------


def control_classes(classes: Integers, types: Integers, seed: int) -> Integers:
    """Give every token type a random class, drawn as often as it occurs among the tokens.

    Parameters
    ----------
    classes : array of int, (token,)
        Classes of the task.
    types : array of int, (token,)
        Token ids.
    seed : int
        Of the draw.
    """
    shares = np.bincount(classes) / len(classes)
    different, place = np.unique(types, return_inverse=True)
    drawn: Integers = np.random.default_rng(seed).choice(len(shares), len(different), p=shares)
    return drawn[place]


def probe_recalls(
    vectors: Floats, classes: Integers, sizes: Sequence[int], groups: Integers
) -> list[Floats]:
    """Cross-validated recall of each class of several labels, from one regression.

    Parameters
    ----------
    vectors : array, (token, dim)
        Representations.
    classes : array of int, (label, token)
        Classes of each label; -1 for tokens that have none.
    sizes : sequence of int
        Number of classes of each label.
    groups : array, (token,)
        What is held out together, such as documents.

    Returns
    -------
    list of array, each (class,)
        Share of a class's tokens that were given it; NaN for a class without tokens.

    Notes
    -----
    Ridge regression on standardized dims and one-hot classes, all labels at once. A token gets the
    class whose mean is nearest in the regression's metric (that of the inverse of the penalized
    covariance), so that rare classes count as much as frequent ones: the prediction less half that
    at the class's mean, divided by the class's share.
    """
    from sklearn.linear_model import Ridge  # type: ignore[import-untyped]
    from sklearn.model_selection import GroupKFold  # type: ignore[import-untyped]
    from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

    # Class -1 picks the last row of each identity, whose column is left out.
    targets = np.concatenate(
        [
            np.eye(size + 1, size, dtype=vectors.dtype)[row]
            for row, size in zip(classes, sizes, strict=True)
        ],
        axis=1,
    )
    ends = np.cumsum(sizes)
    given = np.empty_like(classes)
    for train, test in GroupKFold(FOLDS).split(vectors, groups=groups):
        scale = StandardScaler(copy=False)
        rows = scale.fit_transform(vectors[train])
        # Without an intercept: the dims are centred, and a share cancels between classes' scores.
        probe = Ridge(RIDGE, fit_intercept=False).fit(rows, targets[train])
        counts = targets[train].sum(0)
        known = counts > 0
        counts = np.where(known, counts, 1)
        middle = np.diagonal(probe.predict(targets[train].T @ rows / counts[:, None]))
        told = probe.predict(scale.transform(vectors[test]))
        scores = (told - middle / 2) * (len(train) / counts)
        scores[:, ~known] = -np.inf
        for label, (start, end) in enumerate(zip(ends - sizes, ends, strict=True)):
            given[label, test] = scores[:, start:end].argmax(1)
    recalls: list[Floats] = []
    for row, right, size in zip(classes, given == classes, sizes, strict=True):
        with np.errstate(invalid="ignore"):
            hits = np.bincount(row[row >= 0], right[row >= 0], size)
            recalls.append(hits / np.bincount(row[row >= 0], minlength=size))
    return recalls


def countable(classes: Integers, size: int, halves: Integers) -> Integers:
    """Return classes with -1 for those that have too few tokens in a half."""
    counts = [np.bincount(classes[halves == half], minlength=size) for half in range(HALVES)]
    return np.where((np.min(counts, axis=0) >= LEAST)[classes], classes, -1)


def _balanced(recall: Floats) -> float:
    """Mean recall over the classes that there are; NaN for fewer than two."""
    finite = recall[np.isfinite(recall)]
    return float(finite.mean()) if len(finite) > 1 else float("nan")


@observable(
    source="model",
    dims=("label", "kind", "layer", "half"),
    unit="share",
    version=2,
    economical=True,
)
def probe_accuracy(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Balanced accuracy of linear probes for labels of tokens, and for the control task.

    Notes
    -----
    Layer -1 is the residual stream as it enters the first block, layer l that after block l,
    before the final norm. Text are the held-out documents, of a large model one window of each, of
    its untrained copies half of the documents; the first token of each window, where the attention
    sink is, is left out. Documents are dealt to two halves in turn, and all of a half's probes are
    cross-validated within it, by document. Accuracy is the mean over classes of the share of their
    tokens that were told right, so that chance is
    one over the number of classes; tokens of a class that has fewer than 20 in either half are left
    out. ``kind`` is ``task``, or ``control``: a random class for each token type.
    """
    import xarray as xr

    prose = _prose(loaded)
    vectors = _vectors(loaded, prose.windows, prose.keep)
    by_layer = vectors.reshape(len(vectors), -1, vectors.shape[-1])
    sizes = [len(classes) for classes in LABELS.values()] * len(KINDS)
    halves = prose.documents % HALVES
    classes = np.stack(
        [countable(row, size, halves) for row, size in zip(prose.classes, sizes, strict=True)]
    )
    values = np.empty((len(KINDS), len(LABELS), len(by_layer), HALVES))
    for half in range(HALVES):
        chosen = halves == half
        for layer, rows in enumerate(by_layer):
            recalls = probe_recalls(
                rows[chosen], classes[:, chosen], sizes, prose.documents[chosen]
            )
            accuracies = [_balanced(recall) for recall in recalls]
            values[:, :, layer, half] = np.reshape(accuracies, values.shape[:2])
    return xr.DataArray(
        values.swapaxes(0, 1).astype(np.float32),
        dims=("label", "kind", "layer", "half"),
        coords={
            "label": list(LABELS),
            "kind": list(KINDS),
            "layer": np.arange(len(by_layer)) - 1,
            "half": range(HALVES),
        },
    )


@dataclass(frozen=True, slots=True)
class _Prose:
    windows: torch.Tensor
    """Token ids, (window, position)."""
    keep: Integers
    """Positions that are probed."""
    documents: Integers
    """Document of each probed token, window after window."""
    classes: Integers
    """(kind and label, probed token): the task's classes, then the control's."""


def _prose(loaded: LoadedModel) -> _Prose:
    """Windows of the held-out documents, with the classes of the tokens that are probed."""
    import torch

    windows, classes, indices = [], [], []
    large = is_large(loaded.facts)
    most, texts = WINDOWS_LARGE if large else WINDOWS, documents()[1]
    if large and reads_as_a_copy(loaded):
        # Pairs, so that both halves lose as many.
        texts = [text for place, text in enumerate(texts) if place % 4 < HALVES]
    for place, text in enumerate(texts):
        # A token takes some four characters; only where they are far longer the whole is read.
        ids = windows_of(loaded, text[: 12 * LENGTH * most], most)
        if len(ids) < most:
            ids = windows_of(loaded, text, most)
        size = ids.numel()
        spans = token_spans(loaded.reader(), text[: 12 * size])
        if len(spans) <= size:
            spans = token_spans(loaded.reader(), text)
        windows.append(ids)
        classes.append(labels_of(text, spans[:size]).reshape(len(LABELS), *ids.shape))
        indices.append(np.full(ids.shape, place))
    rows, where = torch.cat(windows), np.concatenate(indices)
    facts = loaded.facts
    numbers = rows.numel() * (facts.blocks + 1) * facts.d_model
    keep = np.arange(1, rows.shape[1], -(-numbers // _MOST_NUMBERS))
    task = np.concatenate(classes, axis=1)[:, :, keep].reshape(len(LABELS), -1)
    types = rows.cpu().numpy()[:, keep].ravel()
    control = [control_classes(row, types, _CONTROL_SEED + i) for i, row in enumerate(task)]
    return _Prose(rows, keep, where[:, keep].ravel(), np.concatenate([task, control]))


def best_minus_worst(probe_accuracy: xr.DataArray) -> xr.DataArray:
    """Mean over labels and halves of selectivity, best minus worst block, scored crosswise."""
    blocks = probe_accuracy.where(probe_accuracy["layer"] >= 0, drop=True)
    selectivity = blocks.sel(kind="task", drop=True) - blocks.sel(kind="control", drop=True)
    gaps = []
    for chosen, scored in ((0, 1), (1, 0)):
        by = selectivity.sel(half=chosen, drop=True)
        on = selectivity.sel(half=scored, drop=True)
        best, worst = on.sel(layer=by.idxmax("layer")), on.sel(layer=by.idxmin("layer"))
        gaps.append((best.drop_vars("layer") - worst.drop_vars("layer")).mean())
    mean: xr.DataArray = (gaps[0] + gaps[1]) / 2
    return mean
