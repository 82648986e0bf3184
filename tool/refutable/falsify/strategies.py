"""Hypothesis strategies for prompts; public as `refutable.strategies`.

A model may be given by its name, a folder or a `LoadedModel`: only its tokenizer is read, when the
first example is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from refutable.errors import PromptError
from refutable.falsify import edits
from refutable.falsify.grammar import sentences
from refutable.falsify.vocabulary import Ids, Vocabulary, decode, encode, readable, vocabulary
from refutable.models.build import read_tokenizer
from refutable.models.identify import identify
from refutable.models.registry import resolve
from refutable.models.sources import locate

if TYPE_CHECKING:
    from refutable.models.load import LoadedModel

__all__ = ["edits_of", "profile", "prompts", "sentences", "token_ids"]

profile = settings(deadline=None, max_examples=50)
"""Settings for a subject as slow as a model: no deadline, fifty examples. Used as a decorator; in
pytest also by ``--hypothesis-profile=refutable-slow`` where this module was imported."""
settings.register_profile("refutable-slow", profile)


def token_ids(
    model: str | LoadedModel, min_size: int = 1, max_size: int = 16, special: bool = False
) -> SearchStrategy[Ids]:
    """Token ids of a model's vocabulary.

    Parameters
    ----------
    model : str or LoadedModel
        A registry name, a hub id, a folder, a .gguf file, or a model that is loaded already.
    min_size, max_size : int
        Number of tokens.
    special : bool
        Whether tokens that stand for no text (BOS, padding, chat marks) are drawn too.

    Returns
    -------
    SearchStrategy of tuple of int
        Without a BOS token in front. Shrinks to fewer tokens, and to simpler ones: shorter text
        first, then lower ids, which are the commoner tokens.

    Raises
    ------
    PromptError
        If the sizes leave nothing to draw.
    """
    _check(min_size, max_size)
    return st.deferred(lambda: ids_of(vocabulary_of(model, special), min_size, max_size))


def ids_of(words: Vocabulary, min_size: int, max_size: int) -> SearchStrategy[Ids]:
    """Token ids of a vocabulary; see `token_ids`."""
    return st.lists(st.sampled_from(words.ordered), min_size=min_size, max_size=max_size).map(tuple)


def prompts(model: str | LoadedModel, min_size: int = 1, max_size: int = 16) -> SearchStrategy[str]:
    """Texts that a model's tokenizer gives back exactly as they were.

    Parameters
    ----------
    model : str or LoadedModel
        As for `token_ids`; it must have a tokenizer.
    min_size, max_size : int
        Number of tokens that the text is cut into.

    Returns
    -------
    SearchStrategy of str
        Made of tokens that are readable alone; whatever decodes to another text than it was
        encoded from is not drawn.

    Raises
    ------
    PromptError
        If the sizes leave nothing to draw; on the first draw if the model has no tokenizer.
    """
    _check(min_size, max_size)

    def make() -> SearchStrategy[str]:
        words = vocabulary_of(model, False)
        tokenizer = words.tokenizer
        if tokenizer is None:
            raise PromptError(f"{_name(model)} has no tokenizer: draw token_ids instead")
        texts = tokenizer.batch_decode([[i] for i in words.ordered])
        shown = [i for i, t in zip(words.ordered, texts, strict=True) if t and readable(t)]
        drawn = st.lists(st.sampled_from(shown), min_size=min_size, max_size=max_size)

        def fits(text: str) -> bool:
            ids = encode(tokenizer, text)
            return min_size <= len(ids) <= max_size and decode(tokenizer, ids) == text

        return drawn.map(lambda ids: decode(tokenizer, ids)).filter(fits)

    return st.deferred(make)


def edits_of(
    prompt: str | Sequence[int],
    *,
    most: int = 3,
    vocabulary: Vocabulary | None = None,
) -> SearchStrategy[str] | SearchStrategy[tuple[int, ...]]:
    """Small edits of a prompt: drop, swap, repeat, insert; of a text also case, digits and code.

    Parameters
    ----------
    prompt : str or sequence of int
        A text is edited word by word, token ids token by token.
    most : int
        Edits made at most; shrinks to fewer.
    vocabulary : Vocabulary, optional
        Tokens that an insertion may use; by default those of the prompt.

    Returns
    -------
    SearchStrategy of str or of tuple of int
        Of the kind of `prompt`. At least one edit is made and something is always left.

    Raises
    ------
    PromptError
        If the prompt is empty.
    """
    if isinstance(prompt, str):
        if not prompt.split():
            raise PromptError("the prompt to edit is empty: give a text of a word or more")
        return edits.of_text(prompt, most)
    ids = tuple(int(i) for i in prompt)
    if not ids:
        raise PromptError("the prompt to edit is empty: give a token or more")
    return edits.of_ids(ids, vocabulary.ordered if vocabulary else ids, most)


def vocabulary_of(model: str | LoadedModel, special: bool = False) -> Vocabulary:
    """Return the tokens of a model, read once for each name."""
    if isinstance(model, str):
        return _named(model, special)
    return vocabulary(model.tokenizer, model.facts, special=special)


@cache
def _named(model: str, special: bool) -> Vocabulary:
    spec = resolve(model)
    return vocabulary(
        read_tokenizer(spec, locate(spec)), identify(spec).facts, special=special
    )  # fmt: skip


def _name(model: str | LoadedModel) -> str:
    return model if isinstance(model, str) else model.facts.id


def _check(min_size: int, max_size: int) -> None:
    if not 1 <= min_size <= max_size:
        raise PromptError(
            f"expected 1 <= min_size <= max_size, got min_size={min_size}, max_size={max_size}"
        )
