"""Loss on held-out public-domain prose, clean and with noise, document by document.

Each document of ``fixtures/twins/heldout.txt`` is a family: it is read in windows of the model's
context, at most 128 tokens, and its loss is the mean over their predictions in nats per token.
Losses of models with different tokenizers are not comparable; changes of loss are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from refutable.errors import NotAvailableError
from refutable.models.large import is_large, reads_as_a_copy
from refutable.observables.registry import observable
from refutable.training.corpus import shipped_excerpt

if TYPE_CHECKING:
    import numpy as np
    import torch
    import xarray as xr

    from refutable.models.load import LoadedModel

WINDOWS = 3
"""Windows of each document."""
NOISY_WINDOWS = 2
"""Windows of each document with noise: seven losses are taken of each."""
_MOST_LOGITS = 1 << 26
"""Logits of one batch, 256 MB in float32."""
SMALL = 10_000_000
"""Parameters above which a model reads one window of a document with noise."""
CONTROL_EVERY = 7
"""Of the documents, those that an untrained copy of a larger model reads: five copies cost what
the model costs, and what noise does to a model that knows nothing varies little."""
LENGTH = 128
NOISY_LENGTH_LARGE = 48
"""Tokens of a document with noise that a large model reads (`refutable.models.large`)."""
RATES = (0.0, 0.05, 0.1, 0.2)
NOISE_SEED = 11


def windows_of(loaded: LoadedModel, text: str, windows: int = WINDOWS) -> torch.Tensor:
    """Return token ids of the first windows of a text, ``(window, token)``, on the model's device.

    Raises
    ------
    NotAvailableError
        When the model has no tokenizer, or the text is shorter than one window.
    """
    import torch

    if loaded.tokenizer is None:
        raise NotAvailableError(f"{loaded.spec.id} has no tokenizer: it cannot read the prose")
    length = min(LENGTH, loaded.facts.context)
    ids = loaded.tokenizer(text[: 40 * length * windows], add_special_tokens=False, verbose=False)[
        "input_ids"
    ]
    count = min(windows, len(ids) // length)
    if count == 0:
        raise NotAvailableError(f"a held-out document is shorter than {length} tokens")
    return torch.tensor(ids[: count * length], device=loaded.device).reshape(count, length)


def document_losses(
    loaded: LoadedModel, texts: list[str], windows: int = WINDOWS, *, tokens: int = LENGTH
) -> np.ndarray:
    """Mean loss of the first windows of each text in nats per token, ``(text,)``.

    Parameters
    ----------
    loaded : LoadedModel
        The model.
    texts : list of str
        Each fills a window or more.
    windows : int
        Windows of each text, at most.
    tokens : int
        Only the first so many tokens of each window are read.
    """
    import numpy as np
    import torch
    from torch.nn.functional import cross_entropy

    parts = [windows_of(loaded, text, windows) for text in texts]
    rows = torch.cat(parts)[:, :tokens]
    vocabulary = int(loaded.facts.d_vocab)
    losses = []
    with torch.no_grad():
        for batch in rows.split(max(1, min(32, _MOST_LOGITS // (rows.shape[1] * vocabulary)))):
            logits = loaded.model(input_ids=batch, use_cache=False).logits[:, :-1]
            targets = batch[:, 1:]
            # Token by token: with the vocabulary last in memory it takes half the time.
            each = cross_entropy(
                logits.reshape(-1, logits.shape[-1]).float(), targets.flatten(), reduction="none"
            )
            losses.append(each.view(targets.shape).mean(1))
    per_row = torch.cat(losses).double().cpu().numpy()
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return np.array([piece.mean() for piece in np.split(per_row, ends)])


def noisy_words(text: str, rate: float, seed: int) -> str:
    """Replace exactly ``round(rate * words)`` words by other words drawn from the same text."""
    import numpy as np

    words = text.split(" ")
    random = np.random.default_rng([seed, 1])
    order = random.permutation(len(words))
    drawn = random.integers(0, len(words), len(words))
    for place in order[: round(rate * len(words))]:
        others = (words[(drawn[place] + step) % len(words)] for step in range(len(words)))
        words[place] = next((w for w in others if w != words[place]), words[place])
    return " ".join(words)


def swapped_characters(text: str, rate: float, seed: int) -> str:
    """Swap two neighbouring unequal letters in each of ``round(rate * words)`` words, if it can."""
    import numpy as np

    words = text.split(" ")
    random = np.random.default_rng([seed, 2])
    left = round(rate * len(words))
    for place in random.permutation(len(words)):
        word = words[place]
        spots = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
        if left == 0:
            break
        if not spots:
            continue
        at = spots[int(random.integers(len(spots)))]
        words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        left -= 1
    return " ".join(words)


def documents() -> tuple[list[str], list[str]]:
    """Names and texts of the excerpt's documents that fill at least one window."""
    texts = [text for text in shipped_excerpt() if len(text) >= 2000]
    return [f"document-{i:02d}" for i in range(len(texts))], texts


@observable(source="model", dims=("text",), unit="nats")
def held_out_loss(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Loss on each document of held-out public-domain prose."""
    import xarray as xr

    names, texts = documents()
    coords = {"text": names, "family": ("text", names)}
    return xr.DataArray(document_losses(loaded, texts), dims=("text",), coords=coords)


@observable(source="model", dims=("noise", "rate", "text"), unit="nats", version=2, economical=True)
def noisy_loss(loaded: LoadedModel, prompts: None) -> xr.DataArray:
    """Loss on held-out prose with 0, 5, 10 and 20 % of words replaced, or with letters swapped.

    Notes
    -----
    A model of 10 million parameters or more reads one window of a document instead of two; one of
    more than 20 million the first 48 tokens of it. Untrained copies, the null control, read one
    window too (of every seventh document where the model is of 10 million or more). What swapped
    letters do is asked of the shipped twins; large models, and copies, read the words alone.
    """
    import numpy as np
    import xarray as xr

    names, texts = documents()
    copy = reads_as_a_copy(loaded)
    small = loaded.facts.parameters < SMALL
    seeds = NOISE_SEED + np.arange(len(texts))
    if copy and not small:
        some = slice(None, None, CONTROL_EVERY)
        names, texts, seeds = names[some], texts[some], seeds[some]
    short = [text[:1500] for text in texts]
    windows = NOISY_WINDOWS if small and not copy else 1
    tokens = NOISY_LENGTH_LARGE if is_large(loaded.facts) else LENGTH
    clean = document_losses(loaded, short, windows, tokens=tokens)

    def loss(change: Callable[[str, float, int], str], rate: float) -> np.ndarray:
        noisy = [change(t, rate, int(n)) for t, n in zip(short, seeds, strict=True)]
        return document_losses(loaded, noisy, windows, tokens=tokens)

    noises = {"words": noisy_words, "characters": swapped_characters}
    if copy or is_large(loaded.facts):
        del noises["characters"]
    rows = [[clean, *(loss(change, rate) for rate in RATES[1:])] for change in noises.values()]
    coords = {
        "noise": list(noises),
        "rate": list(RATES),
        "text": names,
        "family": ("text", names),
    }
    return xr.DataArray(np.array(rows), dims=("noise", "rate", "text"), coords=coords)


def noise_slope(noisy: xr.DataArray, noise: str) -> xr.DataArray:
    """Least-squares slope of `noisy_loss` over the share of words that one noise changed."""
    loss = noisy.sel(noise=noise, drop=True)
    rate = loss["rate"] - loss["rate"].mean()
    return ((loss * rate).sum("rate") / (rate**2).sum()).rename(text="prompt")
