"""Scoring the beginnings of candidates in the passes of the candidates themselves.

In a causal model the states after a prompt's first k tokens are those of these k tokens as a prompt
of their own. One forward pass of a candidate of n tokens therefore scores n prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from refutable.capture.measure import nested_passes_of
from refutable.capture.plan import Plan, make_plan

if TYPE_CHECKING:
    from refutable.capture.packing import Pack
    from refutable.falsify.objective import Objective, Scored
    from refutable.falsify.vocabulary import Ids

_TOLERANCE = 1e-3
"""Largest difference, relative above 1, of a beginning's value from that of the prompt alone."""
_COMPARED = 24


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
        lengths = {len(ids): self._lengths(ids) for ids in prompts}
        self.scored += sum(len(lengths[len(ids)]) for ids in prompts)
        return self._objective.remembered(prompts, self._worst)

    def _worst(self, prompts: list[Ids]) -> list[Scored]:
        """Score prompts with their beginnings, those of like length in one pass."""
        ordered = sorted(prompts, key=lambda ids: (len(ids), ids))
        every, packs = self._lay_out(ordered)
        scored = iter(self._objective.measured(every, packs=packs))
        worst = {
            ids: max(
                islice(scored, len(self._lengths(ids))),
                key=lambda one: (one.margin, -len(one.ids)),
            )
            for ids in ordered
        }
        return [worst[ids] for ids in prompts]

    def _lay_out(self, prompts: Sequence[Ids]) -> tuple[list[Ids], tuple[Pack, ...]]:
        """Return the prompts with their beginnings, and the passes that score them."""
        objective, ahead = self._objective, int(self._objective.subject.bos is not None)
        assert self._plan is not None  # noqa: S101  (only asked for where beginnings are scored)
        parts = [self._lengths(ids) for ids in prompts]
        packs = nested_passes_of(
            objective.subject.loaded.model,
            objective.encoded(prompts),
            [[n + ahead for n in lengths] for lengths in parts],
            self._plan,
            objective.subject.layout,
        )
        every = [ids[:n] for ids, lengths in zip(prompts, parts, strict=True) for n in lengths]
        return every, packs

    def _lengths(self, ids: Ids) -> list[int]:
        """Lengths of a prompt and of its beginnings, the longest first."""
        return [len(ids), *range(len(ids) - 1, self._least - 1, -1)]

    def _compare(self, prompts: Sequence[Ids]) -> None:
        """Score some beginnings both ways."""
        self._compared = True
        some = sorted(set(prompts), key=lambda ids: (-len(ids), ids))[: _COMPARED // 3]
        every, packs = self._lay_out(some)
        shared = self._objective.measured(every, packs=packs)
        chosen = sorted({*range(0, len(every), max(1, len(every) // _COMPARED))})
        alone = self._objective.measured([every[i] for i in chosen])
        together = np.array([shared[i].value for i in chosen])
        one_by_one = np.array([one.value for one in alone])
        if not np.allclose(together, one_by_one, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
            self.problem = "their values differ from those of the same prompts alone"
