"""Token streams of the corpus and the rows that are cut from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from refutable.system.files import draft
from refutable.system.paths import cache_dir
from refutable.training.corpus import Document, build
from refutable.training.recipe import TwinRecipe
from refutable.training.tokenizer import shipped_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TwinData:
    """Both sides of the split as token streams."""

    train: Tokens
    """Documents in order, each after one begin-of-sequence token; dim ``token``."""
    held_out: Tokens
    corpus_digest: str


def stream(
    documents: Iterable[Document], tokenizer: PreTrainedTokenizerFast
) -> npt.NDArray[np.uint16]:
    """Return the token ids of documents in order, each after one begin-of-sequence token."""
    encode = tokenizer.backend_tokenizer.encode
    pieces = [
        np.array([tokenizer.bos_token_id, *encode(d.text, add_special_tokens=False).ids], np.uint16)
        for d in documents
    ]
    return np.concatenate(pieces)


def load_data(folder: Path | None = None) -> TwinData:
    """Return the tokenized corpus, from the cache or built.

    Parameters
    ----------
    folder
        Cache folder; by default ``twins`` in refutable's own.
    """
    folder = folder or cache_dir() / "twins"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "tokens.npz"
    if not kept.exists():
        corpus = build(folder)
        tokenizer = shipped_tokenizer()
        # A file that is open: numpy would add its ending to a name.
        with draft(kept) as partial, partial.open("wb") as file:
            np.savez(
                file,
                train=stream(corpus.split(held_out=False), tokenizer),
                held_out=stream(corpus.split(held_out=True), tokenizer),
                digest=np.array(corpus.digest),
            )
    with np.load(kept) as arrays:
        return TwinData(
            arrays["train"].astype(np.int64),
            arrays["held_out"].astype(np.int64),
            str(arrays["digest"]),
        )


def _rows(tokens: Tokens, starts: npt.NDArray[np.int64], length: int) -> Tokens:
    rows: Tokens = tokens[starts[:, None] + np.arange(length)]
    return rows


def training_rows(tokens: Tokens, recipe: TwinRecipe, seed: int, bos: int = 0) -> Tokens:
    """Return every row of a training run in its order, the same for all variants of a seed.

    Windows of ``context + 1`` tokens, side by side from an offset drawn by the seed, are visited
    in an order drawn by the seed. In half of the rows, drawn by the seed, the first token is
    replaced by the begin-of-sequence token, so that a twin knows prompts with it and without.

    Returns
    -------
    ndarray
        Integers, ``(steps * batch, context + 1)``; over again from the start of the order when
        the stream has fewer windows.
    """
    starts, marked = training_windows(tokens, recipe, seed)
    rows = _rows(tokens, starts, recipe.context + 1)
    rows[marked, 0] = bos
    return rows


def training_windows(
    tokens: Tokens, recipe: TwinRecipe, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return where each row of a training run starts, and whether its first token is replaced.

    See `training_rows`; both are ``(steps * batch,)``.
    """
    random = np.random.default_rng([seed, 0x7717])
    offset = int(random.integers(recipe.context))
    order = random.permutation(_windows(tokens, recipe, offset))
    needed = recipe.steps * recipe.batch
    chosen = np.resize(order, needed)
    return offset + chosen * recipe.context, random.random(needed) < 0.5


def rows_of_one_pass(tokens: Tokens, recipe: TwinRecipe, seed: int) -> int:
    """Number of rows of `training_rows` after which they come over again."""
    offset = int(np.random.default_rng([seed, 0x7717]).integers(recipe.context))
    return _windows(tokens, recipe, offset)


def _windows(tokens: Tokens, recipe: TwinRecipe, offset: int) -> int:
    return (len(tokens) - 1 - offset) // recipe.context


def held_out_rows(tokens: Tokens, rows: int, context: int, bos: int = 0) -> Tokens:
    """Return evenly spaced held-out rows, ``(rows, context + 1)``; every other one starts with bos.

    Rows are fewer when the stream is shorter.
    """
    windows = (len(tokens) - 1) // context
    count = min(rows, windows)
    starts = np.floor(np.arange(count) * windows / count).astype(np.int64) * context
    chosen = _rows(tokens, starts, context + 1)
    chosen[::2, 0] = bos
    return chosen
