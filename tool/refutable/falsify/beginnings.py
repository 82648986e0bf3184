"""Scoring the beginnings of candidates in the passes of the candidates themselves.

In a causal model the states after a prompt's first k tokens are those of these k tokens as a prompt
of their own. One forward pass of a candidate of n tokens therefore scores n prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from refutable.capture.measure import nested_passes_of
from refutable.capture.plan import Plan, make_plan
from refutable.falsify.objective import Floats, NotAttackableError, Objective, Scored

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from refutable.falsify.vocabulary import Ids

_TOLERANCE = 1e-3
"""Largest difference, relative above 1, of a beginning's value from that of the prompt alone."""
_COMPARED = 16
_ALIKE, _LONGEST = 8, 3
"""Prompts cut to one length, and long ones, of which beginnings are scored both ways."""


class Beginnings:
    """Scores prompts together with their beginnings, for one claim on one model.

    Parameters
    ----------
    objective : Objective
        Scores single prompts.
    least : int
        Tokens of the shortest beginning.

    Notes
    -----
    What is recorded must be read at single tokens of the stream: attention patterns and logits at
    every token would cost more than the passes they save. On the first batch some beginnings are
    scored both ways; where the values differ no passes are shared.
    """

    def __init__(self, objective: Objective, least: int) -> None:
        self._objective = objective
        self._least = least
        self._compared = False
        self._plan: Plan | None = None
        self.problem = ""
        """Why beginnings are not scored; empty as long as they are."""
        if not objective.experiments:
            self._plan = make_plan(objective.recorded)
        if self._plan is None or self._plan.attention or self._plan.logits == "all":
            self.problem = "what is recorded is not read at single tokens"
        self.scored = 0
        """Prompts scored, beginnings included."""

    def __call__(self, prompts: Sequence[Ids]) -> list[Scored]:
        """Score prompts; of each and its beginnings the worst is returned, the shortest of equals.

        Parameters
        ----------
        prompts : sequence of tuple of int
            Token ids without BOS.

        Returns
        -------
        list of Scored
            In the order of the prompts; each of the prompt itself or of its first tokens.
        """
        if not self.problem and not self._compared:
            self._compare(prompts)
        if self.problem:
            self.scored += len(prompts)
            return self._objective(prompts)
        self.scored += sum(len(ids) - self._shortest(ids) + 1 for ids in prompts)
        return self._objective.remembered(prompts, self._worst)

    def _worst(self, prompts: list[Ids]) -> list[Scored]:
        """Score prompts with their beginnings, those of one length in one pass."""
        margins, values, counts = self._judged(prompts)
        first = np.cumsum(counts) - counts
        highest = np.maximum.reduceat(margins, first)
        # The longest of a prompt's beginnings comes first: of equals the last is the shortest.
        at = np.where(margins == np.repeat(highest, counts), np.arange(len(margins)), -1)
        chosen = np.maximum.reduceat(at, first)
        dropped = (chosen - first).tolist()
        return [
            Scored(ids[: len(ids) - gone], margin, value)
            for ids, gone, margin, value in zip(
                prompts, dropped, highest.tolist(), values[chosen].tolist(), strict=True
            )
        ]

    def _judged(self, prompts: Sequence[Ids]) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Margins and values of each prompt and its beginnings, the longest first; how many."""
        objective, ahead = self._objective, int(self._objective.subject.bos is not None)
        assert self._plan is not None  # noqa: S101  (only asked for where beginnings are scored)
        lengths = [len(ids) + ahead for ids in prompts]
        parts = [range(len(ids) + ahead, self._shortest(ids) + ahead - 1, -1) for ids in prompts]
        counts = np.array([len(part) for part in parts])
        packs = nested_passes_of(
            objective.subject.loaded.model, lengths, parts, self._plan, objective.subject.layout
        )
        repeated = [ids for ids, count in zip(prompts, counts, strict=True) for _ in range(count)]
        margins, values = objective.in_passes(objective.encoded(repeated), packs)
        return margins, values, counts

    def _shortest(self, ids: Ids) -> int:
        """Tokens of the shortest beginning of a prompt that is scored."""
        return min(len(ids), self._least)

    def _compare(self, prompts: Sequence[Ids]) -> None:
        """Score some beginnings both ways, in rows of one length and in a pass of many."""
        middle = sorted(map(len, prompts))[len(prompts) // 2]
        self._compared = middle > 1
        alike = dict.fromkeys(ids[:middle] for ids in prompts if len(ids) >= middle)
        longest = sorted(set(prompts), key=lambda ids: (-len(ids), ids))[:_LONGEST]
        some = [*dict.fromkeys([*list(alike)[:_ALIKE], *longest])]
        try:
            _, shared, counts = self._judged(some)
        except NotAttackableError:
            raise
        # An architecture may refuse rows in any way it likes; candidates are then scored whole.
        except Exception as error:
            self.problem = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            return
        every = [ids[: len(ids) - k] for ids, n in zip(some, counts, strict=True) for k in range(n)]
        chosen = [*range(0, len(every), max(1, len(every) // _COMPARED))]
        alone = self._objective.measured([every[i] for i in chosen])
        one_by_one = np.array([one.value for one in alone])
        if not np.allclose(
            shared[chosen], one_by_one, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True
        ):
            self.problem = "their values differ from those of the same prompts alone"
