"""One search: what is stored is replayed, then exploration, Hypothesis, shrinking, verification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from refutable.falsify import by_hypothesis
from refutable.falsify.beginnings import Beginnings
from refutable.falsify.budget import Budget, Meter
from refutable.falsify.explore import Explorer
from refutable.falsify.gradient import Gradients
from refutable.falsify.objective import Objective, Scored
from refutable.falsify.proposals import Domain
from refutable.falsify.shrink import SIMPLER, Shrinker
from refutable.falsify.verify import Verifier
from refutable.falsify.vocabulary import Ids

_EXPLORED = 0.9
"""Least share of the budget that is explored before Hypothesis takes over."""
_MOST_EXAMPLES = 100
"""Examples of Hypothesis: it scores one at a time, which costs a forward pass each."""
_OF_EXPERIMENT = 36
_OF_PATTERNS = 9
"""By how much the default budget is smaller where a candidate costs several passes of its own, and
where it is scored without its beginnings."""
_REFUSED = 8
"""Packed violations that fail alone, after which their packed values are not believed."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A verified counterexample and its history."""

    scored: Scored
    """From the prompt alone, in float32."""
    how: str
    """Where the first violating prompt came from."""
    tokens_before: int
    """Tokens of the first violating prompt."""
    complete: bool
    """Whether it is locally minimal."""


@dataclass(slots=True)
class Searched:
    """What a search did."""

    violation: Violation | None = None
    worst: Scored | None = None
    """The prompt nearest to a violation, or beyond it: its packed value."""
    candidates: int = 0
    """Prompts scored in the search itself."""
    how: dict[str, int] = field(default_factory=dict)
    """Of these, how many by where they came from."""
    shrinking: int = 0
    """Prompts scored to shrink what was found."""
    scored: int = 0
    """Prompts scored in all: candidates with their beginnings, shrinking included."""
    undefined: int = 0
    """Candidates for which the body gave no finite value."""
    notes: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    """One line for each stored counterexample that holds no longer."""


class Search:
    """Looks for the smallest prompt that violates a claim on one model.

    Parameters
    ----------
    objective : Objective
        The claim on the model.
    domain : Domain
        Which prompts may be tried.
    bound : float
        What a violation must exceed; infinite to look for the worst prompt alone.
    seed : int
        Of every random choice.
    keep : callable, optional
        Told of each verified violation as soon as it is found, and of each smaller one.
    """

    def __init__(
        self,
        objective: Objective,
        domain: Domain,
        *,
        bound: float,
        seed: int,
        keep: Callable[[Violation], None] | None = None,
    ) -> None:
        self._objective = objective
        self._domain = domain
        self._bound = bound
        self._seed = seed
        self._keep = keep
        self._verify = Verifier(objective)
        self._score = Beginnings(objective, domain.min_size)
        self._refused = 0
        self.result = Searched()

    def replay(self, ids: Ids) -> Scored | None:
        """Run a stored counterexample alone; ``None`` when it violates no longer."""
        replayed = self._verify(ids)
        return replayed if replayed.margin > self._bound else None

    def run(self, seeds: Sequence[Ids], budget: Budget) -> Searched:
        """Search within a budget, beginning with `seeds`, and shrink what is found."""
        parameters = self._objective.subject.loaded.facts.parameters
        passes = _OF_PATTERNS if self._score.problem else 1
        if self._objective.experiments:
            passes = _OF_EXPERIMENT
        meter = Meter(budget.of(parameters, passes), budget.seconds)
        if budget.nothing:
            return self.result
        gradients = Gradients(self._objective, self._domain.vocabulary)
        explorer = Explorer(
            self._checked,
            self._domain,
            meter,
            np.random.default_rng(self._seed),
            bound=self._bound,
            propose=gradients,
            fill=not self._score.problem,
        )
        trace = explorer.run(seeds, until=self._explored(meter))
        how = dict(trace.how)
        best = trace.best[0] if trace.best else None
        origin = trace.origin.get(best.ids, "") if best else ""
        if not explorer.violated and meter.left > 0:
            drawn = self._by_hypothesis(trace.best, meter, how)
            if drawn is not None and (best is None or drawn.margin > best.margin):
                best, origin = drawn, "Hypothesis"
        if gradients.problem:
            self.result.notes.append(f"no gradient proposals: {gradients.problem}")
        if self._score.problem:
            self.result.notes.append(f"beginnings are not scored: {self._score.problem}")
        self.result.worst = best
        self.result.candidates = sum(how.values())
        self.result.how = dict(sorted(how.items()))
        self.result.undefined = self._objective.undefined
        self.result.scored = self._score.scored
        if best is not None and best.margin > self._bound:
            self.shrink(best, origin or "seed", len(best.ids), budget)
        return self.result

    def _explored(self, meter: Meter) -> float:
        """Share of the budget after which Hypothesis takes over: it scores one prompt a pass."""
        most = _EXPLORED if meter.candidates is None else 1 - _MOST_EXAMPLES / meter.candidates
        return max(_EXPLORED, most)

    def shrink(self, start: Scored, how: str, before: int, budget: Budget) -> None:
        """Shrink a prompt that violates alone; the smallest that does goes into the result."""
        self.result.violation = Violation(start, how, before, complete=False)
        self._tell()
        shrinker = Shrinker(
            self._checked,
            self._domain,
            self._bound,
            simpler=max(SIMPLER, (budget.candidates or 0) // 16),
        )
        done = shrinker(start, self._smaller)
        self.result.shrinking += done.candidates
        self.result.scored = self._score.scored
        self.result.violation = replace(self.result.violation, complete=done.complete)
        self._tell()

    def _smaller(self, scored: Scored) -> None:
        assert self.result.violation is not None  # noqa: S101  (set before shrinking)
        self.result.violation = replace(self.result.violation, scored=scored)
        self._tell()

    def _tell(self) -> None:
        if self._keep is not None and self.result.violation is not None:
            self._keep(self.result.violation)

    def _checked(self, prompts: Sequence[Ids]) -> list[Scored]:
        """Score prompts with their beginnings; of those that violate the simplest is run alone.

        It alone counts as a violation, if it is one: the others are told as lying on the bound.
        """
        scored = self._score(prompts)
        over = [i for i, one in enumerate(scored) if one.margin > self._bound]
        confirmed = False
        for i in sorted(over, key=lambda i: self._domain.vocabulary.size_of(scored[i].ids)):
            one = scored[i]
            scored[i] = replace(one, margin=self._bound)
            if confirmed or self._refused >= _REFUSED:
                continue
            alone = self._verify(one.ids)
            confirmed = alone.margin > self._bound
            if confirmed:
                scored[i] = alone
            else:
                self._refused += 1
        return scored

    def _by_hypothesis(
        self, best: Sequence[Scored], meter: Meter, how: dict[str, int]
    ) -> Scored | None:
        """Let Hypothesis try from the best; what ends it early is noted."""

        def score(prompts: Sequence[Ids]) -> list[Scored]:
            if meter.left <= 0:
                return []
            meter.spend(len(prompts))
            how["Hypothesis"] = how.get("Hypothesis", 0) + len(prompts)
            return self._checked(prompts)

        done = by_hypothesis.search(
            score,
            self._domain,
            [one.ids for one in best[:8]],
            bound=self._bound,
            examples=min(_MOST_EXAMPLES, meter.left),
            seed=self._seed,
        )
        if done.problem:
            self.result.notes.append(f"Hypothesis ended early: {done.problem}")
        return done.violation
