"""Keeps what was last found on a model: two observables ask for the same one after the other."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from transformers import PreTrainedModel

T = TypeVar("T")


class LastAnswer(Generic[T]):
    """One answer for each model, for as long as its weights stay as they are."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[PreTrainedModel, tuple[Hashable, T]] = WeakKeyDictionary()

    def of(self, model: PreTrainedModel, question: Hashable, find: Callable[[], T]) -> T:
        """Return the answer to a question about a model, found again only if it is another one.

        Parameters
        ----------
        model : transformers.PreTrainedModel
            The model; it is not kept alive.
        question : hashable
            What was asked, such as the prompts.
        find : callable
            Finds the answer.
        """
        from refutable.capture.plain import written

        key = (written(model), question)
        known = self._known.get(model)
        if known is None or known[0] != key:
            answer = find()
            # Finding it may move the weights and put them back, which counts as writing them.
            known = ((written(model), question), answer)
            self._known[model] = known
        return known[1]
