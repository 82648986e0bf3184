"""Models and prompts of a call: named, or in memory, opened for its length and put back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, TypeAlias

from refutable.errors import PromptError
from refutable.measurement.harness import Harness, open_harness
from refutable.measurement.state import Settings
from refutable.models import registry
from refutable.spec.prompts import PromptLibrary, PromptSet, prompt_set
from refutable.store.store import Store
from refutable.system.plugins import shared_data

Model: TypeAlias = Any
"""A name, hub id, folder or file; a transformers model; or a pair (model, tokenizer)."""

Prompts: TypeAlias = str | PromptSet | Sequence[str] | Sequence[Sequence[int]]
"""Name or file of a prompt set, a prompt set, texts, or token ids."""


@cache
def _process_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="refutable-")


def process_store() -> Store:
    """Return a store that ends with this process.

    For what is seen once, such as weights in the middle of a training, which would fill the
    store of the machine.
    """
    return Store(_process_folder().name)


@contextmanager
def opened(
    models: Sequence[Model], settings: Settings, *, store: Store | None = None
) -> Iterator[tuple[Harness, PromptLibrary, tuple[str, ...]]]:
    """Open a harness over some models; those in memory are put back as they were.

    Yields
    ------
    harness : Harness
    library : PromptLibrary
        Of the prompt sets that refutable ships.
    names : tuple of str
        Ids of the models in their order, the shipped ones where none is given.
    """
    library = PromptLibrary(shared_data())
    with ExitStack() as stack:
        if not settings.check:
            # What was not checked must not be read by those who check.
            store = Store(stack.enter_context(tempfile.TemporaryDirectory()))
        named = {registry.resolve(m).id: m for m in models if isinstance(m, str)}
        harness = open_harness(library, settings, models=named or None, store=store)
        ids = {m: name for name, m in named.items()}
        names = [
            ids[m] if isinstance(m, str) else _adopted(m, place, harness, stack)
            for place, m in enumerate(models, start=1)
        ]
        yield harness, library, tuple(names or (spec.id for spec in registry.defaults()))


def _adopted(item: Model, place: int, harness: Harness, stack: ExitStack) -> str:
    """Hand a model that is in memory to the harness; return its id."""
    from refutable.models.in_memory import adopt, as_measured

    model, tokenizer = item if isinstance(item, tuple) else (item, None)
    name = type(model).__name__ + ("" if place == 1 else f"-{place}")
    loaded, identity = adopt(model, tokenizer, name=name)
    stack.enter_context(as_measured(model))
    harness.adopt(loaded, identity)
    return name


def named_prompts(library: PromptLibrary, prompts: Prompts) -> str:
    """Make prompts known to a library, and return their name there."""
    if isinstance(prompts, str):
        library(prompts)
        return prompts
    if not isinstance(prompts, PromptSet):
        if not prompts:
            raise PromptError("there are no prompts: give at least one text or list of token ids")
        prompts = prompt_set(prompts)
    library.add(prompts.name, prompts)
    return prompts.name
