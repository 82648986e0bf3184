"""Attacking one claim on one model of a run: what is known, what is searched, what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from refutable.capture.packing import LAYOUTS
from refutable.errors import RefutableError
from refutable.falsify.budget import Budget
from refutable.falsify.cell import Attack as Attack
from refutable.falsify.cell import CellAttack
from refutable.falsify.cell import Target as Target
from refutable.falsify.counterexamples import CounterexampleStore
from refutable.falsify.objective import (
    NotAttackableError,
    Subject,
    reason_against,
)
from refutable.falsify.vocabulary import Vocabulary, vocabulary
from refutable.records import SearchReport

if TYPE_CHECKING:
    from refutable.measurement.harness import Harness
    from refutable.spec.claim import Claim


class Attacker:
    """Searches for counterexamples on the models of a run.

    Parameters
    ----------
    harness : Harness
        Knows the models, the prompt sets and the store; an attack loads its model once more.
    kept : CounterexampleStore
        What was found before.
    budget : Budget
        What one search may spend.
    certify : int
        Size of the fresh sample drawn where a search finds nothing; 0 for none.
    """

    def __init__(
        self,
        harness: Harness,
        kept: CounterexampleStore,
        budget: Budget,
        *,
        certify: int = 0,
    ) -> None:
        self.harness = harness
        self.kept = kept
        self.budget = budget
        self.certify = certify
        self._loaded: tuple[str, Subject, Vocabulary] | None = None

    def leave(self) -> None:
        """Drop the model that was searched last."""
        self._loaded = None

    def wants(self, claim: Claim) -> bool:
        """Whether a claim is attacked in this run: universal ones, and means where asked for."""
        universal = claim.predicts.kind == "every"
        return universal or (self.budget.stated and not self.budget.nothing)

    def __call__(self, target: Target) -> Attack | None:
        """Attack a claim; ``None`` where nothing of the kind was asked for.

        Raises
        ------
        RefutableError
            If the model cannot be loaded or what was found not be kept.
        """
        claim = target.claim
        if not self.wants(claim):
            return None
        reason = reason_against(claim)
        state = self.harness.state(target.model)
        if not reason and not state.weights_available:
            reason = f"the weights of {target.model} are not here"
        if reason:
            return Attack(SearchReport(self.budget.shown, reason=f"not attacked: {reason}"))
        try:
            return CellAttack(self, target, state).attack()
        except NotAttackableError as problem:
            reason = str(problem)
        except RefutableError:
            raise
        except Exception as problem:
            # A body may ask for what only the run's own prompts have, such as their register.
            what = " ".join(f"{type(problem).__name__}: {problem}".split())[:200]
            reason = f"its body cannot be called on other prompts ({what})"
        return Attack(SearchReport(self.budget.shown, reason=f"not attacked: {reason}"))

    @contextmanager
    def threads(self, parameters: int) -> Iterator[None]:
        """Search a small model with one thread while a ``with`` block lasts."""
        # Imports torch, which a run that reads every search from the store does without.
        from refutable.capture.threads import threads_for

        with threads_for(parameters):
            yield

    def subject(self, model: str, bos: int | None) -> tuple[Subject, Vocabulary]:
        """Return a model ready to be searched; the one before is dropped first."""
        if self._loaded is None or self._loaded[0] != model:
            self._loaded = None
            self._loaded = (model, *self._load(model))
        _, subject, words = self._loaded
        return replace(subject, bos=bos), words

    def _load(self, model: str) -> tuple[Subject, Vocabulary]:
        from refutable.models.load import load
        from refutable.models.sites import find_sites

        state, settings = self.harness.state(model), self.harness.sources.settings
        loaded = load(state.spec, device=settings.device, dtype=settings.dtype)
        layout = state.report.layout if state.report.layout in LAYOUTS else "single"
        subject = Subject(loaded, find_sites(loaded.model), layout)
        return subject, vocabulary(loaded.tokenizer, loaded.facts)
