"""What can be read off the residual stream by linear probes, beside a control task.

Probes are ridge regressions on one-hot classes, cross-validated by document. The control task is
that of Hewitt and Liang, "Designing and Interpreting Probes with Control Tasks", EMNLP 2019: a
random class for each token type, which can only be memorised. Labels come from the characters of
held-out prose and need no annotation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from refutable.capture.recorder import EMBED, RESID_POST, BlockRecorder
from refutable.observables.registry import Observable, experiment

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    import xarray as xr

    from refutable.capture.packing import Pack
    from refutable.capture.recorder import Tokens

    Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
    Integers = np.ndarray[Any, np.dtype[np.integer[Any]]]

LABELS = {
    "token class": ("word", "number", "punctuation", "space"),
    "capitalisation": ("no letter", "lower case", "capital"),
    "place in word": ("outside", "first", "later"),
    "next character": ("letter", "digit", "punctuation", "space"),
    "bracket depth": ("outside", "inside"),
}
"""Classes of each label."""
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


# -- labels ----------------------------------------------------------------------------------


def token_spans(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """Characters of each token of a text, as ``(start, end)``.

    Taken from the tokenizer's offsets; where it gives none, each token is decoded and looked for
    after the one before it.
    """
    try:
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [(int(start), int(end)) for start, end in found["offset_mapping"]]
    except (NotImplementedError, KeyError, TypeError):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    spans, at = [], 0
    for token in ids:
        piece = tokenizer.decode([token])
        start = text.find(piece, at)
        if start < 0 or start > at + 2:
            piece = piece.strip()
            start = text.find(piece, at)
        if start < 0 or start > at + 2:
            # A part of a character, or a normalized one: it stands where it must.
            start, piece = at, text[at : at + 1]
        at = start + len(piece)
        spans.append((start, at))
    return spans


def labels_of(text: str, spans: Sequence[tuple[int, int]]) -> Integers:
    """Classes of tokens, from their characters alone: ``(label, token)``.

    Parameters
    ----------
    text : str
        The whole text.
    spans : sequence of (int, int)
        Characters of consecutive tokens. White space at a token's ends is not part of it.

    Notes
    -----
    Bracket depth is that of brackets and double quotation marks open since the paragraph began; a
    mark that opens or closes counts as inside and outside respectively.
    """
    seen = text.rfind("\n", 0, spans[0][0]) + 1 if spans else 0
    depth, quoted = 0, False
    rows = []
    for start, end in spans:
        piece = text[start:end]
        first = start + len(piece) - len(piece.lstrip())
        core = piece.strip()
        until = first + 1 if core else first
        for character in text[seen:until]:
            depth, quoted = _depth(character, depth, quoted)
        seen = max(seen, until)
        kind = _character(core[:1])
        before = text[first - 1 : first]
        place = ("later" if before.isalnum() else "first") if core[:1].isalnum() else "outside"
        named = {
            "token class": {"letter": "word", "digit": "number"}.get(kind, kind),
            "capitalisation": _case(core),
            "place in word": place,
            "next character": _character(text[first + len(core) :][:1]),
            "bracket depth": "inside" if depth or quoted else "outside",
        }
        rows.append([LABELS[label].index(named[label]) for label in LABELS])
    return np.array(rows, dtype=np.int64).reshape(len(spans), len(LABELS)).T


def _character(character: str) -> str:
    if not character or character.isspace():
        return "space"
    if character.isalpha():
        return "letter"
    return "digit" if character.isdigit() else "punctuation"


def _case(core: str) -> str:
    if not any(character.isalpha() for character in core):
        return "no letter"
    return "capital" if any(character.isupper() for character in core) else "lower case"


def _depth(character: str, depth: int, quoted: bool) -> tuple[int, bool]:
    """Brackets open after a character, and whether a quotation is."""
    if character == "\n":
        return 0, False
    if character in "([{":
        depth += 1
    elif character in ")]}":
        depth = max(0, depth - 1)
    elif character in "\u201c\u201d":
        quoted = character == "\u201c"
    elif character == '"':
        quoted = not quoted
    return depth, quoted


# -- vectors ---------------------------------------------------------------------------------


def _recorder(keep: Integers) -> type[BlockRecorder]:
    """Make a recorder of the residual stream at some positions of prompts of one length."""

    class Residuals(BlockRecorder):
        name = "residuals"
        reads = (EMBED, RESID_POST)

        def read(self, site: str, layer: int, view: Tokens) -> None:
            import torch

            vectors = view.all().float()
            rows = vectors.reshape(len(view.pack.segments), -1, vectors.shape[-1])
            kept = rows[:, torch.as_tensor(keep, device=rows.device)]
            if site == EMBED:
                self._embedded = kept
            else:
                self.keep(layer, kept)

        def take(self, pack: Pack, blocks: int) -> torch.Tensor:
            import torch

            after = super().take(pack, blocks)
            return torch.cat([self._embedded[:, None], after], dim=1)

    return Residuals


def _vectors(loaded: Any, windows: Integers, keep: Integers) -> Floats:
    """Vectors before the first block and after each block: ``(window, layer, token, dim)``."""
    from refutable.capture.measure import measure
    from refutable.models.encode import Encoded
    from refutable.models.sites import find_sites

    names = tuple(f"window/{i}" for i in range(len(windows)))
    ids = tuple(tuple(int(i) for i in row) for row in windows)
    item = Observable(
        name="residuals",
        says="Residual stream at some tokens.",
        dims=("prompt", "layer", "token", "dim"),
        unit="",
        version=1,
        recorder=_recorder(keep),
    )
    # Rows of one length are not padded, so a batch is right for any architecture.
    found = measure(
        loaded.model,
        find_sites(loaded.model),
        Encoded(ids, names, names, "no-bos", None),
        [item],
        layout="padded",
    )
    vectors: Floats = found["residuals"].values
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
    found, place = np.unique(types, return_inverse=True)
    drawn: Integers = np.random.default_rng(seed).choice(len(shares), len(found), p=shares)
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
        Classes of each label.
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
    Ridge regression on standardized dims and one-hot classes. A token gets the class whose
    prediction is largest relative to the class's share of the training tokens, so that rare
    classes count as much as frequent ones.
    """
    from sklearn.linear_model import Ridge  # type: ignore[import-untyped]
    from sklearn.model_selection import GroupKFold  # type: ignore[import-untyped]
    from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

    targets = np.concatenate(
        [np.eye(size, dtype=vectors.dtype)[row] for row, size in zip(classes, sizes, strict=True)],
        axis=1,
    )
    ends = np.cumsum(sizes)
    given = np.empty_like(classes)
    for train, test in GroupKFold(FOLDS).split(vectors, groups=groups):
        scale = StandardScaler().fit(vectors[train])
        probe = Ridge(RIDGE).fit(scale.transform(vectors[train]), targets[train])
        shares = targets[train].mean(0)
        scores = probe.predict(scale.transform(vectors[test])) / np.where(
            shares > 0, shares, np.inf
        )
        for label, (start, end) in enumerate(zip(ends - sizes, ends, strict=True)):
            given[label, test] = scores[:, start:end].argmax(1)
    recalls: list[Floats] = []
    for row, right, size in zip(classes, given == classes, sizes, strict=True):
        with np.errstate(invalid="ignore"):
            recalls.append(np.bincount(row, right, size) / np.bincount(row, minlength=size))
    return recalls


def _balanced(recalls: Sequence[Floats], counted: Sequence[Integers]) -> list[float]:
    """Mean recall over the classes that count; NaN where fewer than two do."""
    return [
        float(recall[classes].mean()) if len(classes) > 1 else float("nan")
        for recall, classes in zip(recalls, counted, strict=True)
    ]


def _counted(classes: Integers, size: int, halves: Integers) -> Integers:
    """Classes with enough tokens in each half."""
    counts = [np.bincount(classes[halves == half], minlength=size) for half in range(HALVES)]
    return np.flatnonzero(np.min(counts, axis=0) >= LEAST)


@experiment(dims=("label", "kind", "layer", "half"), unit="share", per_prompt=False)
def probe_accuracy(loaded: Any, prompts: None) -> xr.DataArray:
    """Balanced accuracy of linear probes for labels of tokens, and for the control task.

    Notes
    -----
    Layer -1 is the residual stream as it enters the first block, layer l that after block l,
    before the final norm. Text are the held-out documents; the first token of each window, where
    the attention sink is, is left out. Documents are dealt to two halves in turn, and all of a
    half's probes are cross-validated within it, by document. Accuracy is the mean over classes of
    the share of their tokens that were told right, so that chance is one over the number of
    classes; a class of fewer than 20 tokens in either half does not count. ``kind`` is ``task``,
    or ``control``: a random class for each token type.
    """
    import xarray as xr

    prose = _prose(loaded)
    vectors = _vectors(loaded, prose.windows, prose.keep)
    width = vectors.shape[-1]
    by_layer = vectors.swapaxes(0, 1).reshape(vectors.shape[1], -1, width)
    sizes = [len(classes) for classes in LABELS.values()] * len(KINDS)
    halves = prose.documents % HALVES
    counted = [_counted(c, s, halves) for c, s in zip(prose.classes, sizes, strict=True)]
    values = np.empty((len(KINDS), len(LABELS), len(by_layer), HALVES))
    for half in range(HALVES):
        own = halves == half
        for layer, rows in enumerate(by_layer):
            recalls = probe_recalls(rows[own], prose.classes[:, own], sizes, prose.documents[own])
            values[:, :, layer, half] = np.reshape(_balanced(recalls, counted), values.shape[:2])
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
    windows: Integers
    """Token ids, (window, position)."""
    keep: Integers
    """Positions that are probed."""
    documents: Integers
    """Document of each probed token, window after window."""
    classes: Integers
    """(kind and label, probed token): the task's classes, then the control's."""


def _prose(loaded: Any) -> _Prose:
    """Windows of the held-out documents, with the classes of the tokens that are probed."""
    from refutable.observables.norm_ablation.text import documents, windows_of

    windows, classes, places = [], [], []
    for place, text in enumerate(documents()[1]):
        ids = windows_of(loaded, text).cpu().numpy()
        # What the windows hold of a text needs no more than this much of it to be told.
        found = labels_of(text, token_spans(loaded.tokenizer, text[: 40 * ids.size])[: ids.size])
        windows.append(ids)
        classes.append(found.reshape(len(LABELS), *ids.shape))
        places.append(np.full(ids.shape, place))
    rows, where = np.concatenate(windows), np.concatenate(places)
    facts = loaded.facts
    numbers = rows.size * (facts.blocks + 1) * facts.d_model
    keep = np.arange(1, rows.shape[1], -(-numbers // _MOST_NUMBERS))
    task = np.concatenate(classes, axis=1)[:, :, keep].reshape(len(LABELS), -1)
    types = rows[:, keep].ravel()
    control = [control_classes(row, types, _CONTROL_SEED + i) for i, row in enumerate(task)]
    return _Prose(rows, keep, where[:, keep].ravel(), np.concatenate([task, control]))
