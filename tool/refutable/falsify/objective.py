"""A claim's body as an objective: token ids in, how far each violates the claim out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from refutable.capture.measure import measure
from refutable.errors import RefutableError
from refutable.falsify.vocabulary import Ids
from refutable.measurement.subject import Observations, call
from refutable.models.encode import Encoded
from refutable.observables.registry import REGISTRY
from refutable.predictions.every import Every

if TYPE_CHECKING:
    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel
    from refutable.spec.claim import Claim

Floats = np.ndarray[Any, np.dtype[np.float64]]
FAMILY = "searched"
"""Family of every candidate: a body sees no remark of any prompt set."""


class NotAttackableError(RefutableError):
    """No prompt can be judged alone by this claim; says why."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One prompt and what the claim's body gave for it."""

    ids: Ids
    """Without the BOS token that the arm puts first."""
    margin: float
    """How far it lies beyond the predicted region; negative inside, -inf where undefined."""
    value: float
    """The body's value there, the most extreme one over layers and heads."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A loaded model with what is needed to run prompts on it."""

    loaded: LoadedModel
    sites: Any
    layout: str
    """``packed``, ``padded`` or ``single``, as checked for this model."""
    bos: int | None = None
    """The token that the arm puts first."""


class Objective:
    """How far prompts violate a claim on one model.

    Parameters
    ----------
    claim : Claim
        Its body is called as it is, on observables of the candidates alone.
    subject : Subject
        The model.

    Raises
    ------
    NotAttackableError
        If the claim cannot be judged prompt by prompt; see `reason_against`.

    Notes
    -----
    A candidate that was scored is remembered: asking again costs nothing and counts as nothing.
    """

    def __init__(self, claim: Claim, subject: Subject) -> None:
        reason = reason_against(claim)
        if reason:
            raise NotAttackableError(reason)
        self.claim = claim
        self.subject = subject
        self.scored = 0
        self.undefined = 0
        self._beyond = Every(claim.predicts.region)
        names = REGISTRY.recorded(claim.observables, drawn=False)
        self._items = [REGISTRY[name] for name in sorted(names)]
        self._known: dict[Ids, Scored] = {}

    def __call__(self, prompts: Sequence[Ids], *, layout: str | None = None) -> list[Scored]:
        """Score prompts in as few forward passes as the model allows.

        Parameters
        ----------
        prompts : sequence of tuple of int
            Token ids without BOS; each holds one token or more.
        layout : str, optional
            Another layout than the subject's, such as ``single``; what is known is then not used.

        Returns
        -------
        list of Scored
            In the order of the prompts.
        """
        if layout is not None:
            return self._measure(list(prompts), layout)
        fresh = [ids for ids in dict.fromkeys(prompts) if ids not in self._known]
        if fresh:
            self.scored += len(fresh)
            found = self._measure(fresh, self.subject.layout)
            self.undefined += sum(not np.isfinite(one.margin) for one in found)
            self._known.update((one.ids, one) for one in found)
        return [self._known[ids] for ids in prompts]

    def knows(self, ids: Ids) -> bool:
        """Whether a prompt was scored before."""
        return ids in self._known

    def encoded(self, prompts: Sequence[Ids]) -> Encoded:
        """Return prompts as the model reads them, BOS put first where the arm has one."""
        first = () if self.subject.bos is None else (self.subject.bos,)
        return Encoded(
            ids=tuple((*first, *ids) for ids in prompts),
            prompt_ids=tuple(map(str, range(len(prompts)))),
            families=(FAMILY,) * len(prompts),
            arm="no-bos" if self.subject.bos is None else "bos",
            bos=self.subject.bos,
        )

    def judge(self, recorded: dict[str, Any], prompts: Sequence[Ids]) -> list[Scored]:
        """Score prompts whose recorded observables are known, as plain arrays by name."""
        import xarray as xr

        coords: dict[str, Any] = {
            "prompt": [str(i) for i in range(len(prompts))],
            "family": ("prompt", [FAMILY] * len(prompts)),
        }
        arrays = {}
        for item in self._items:
            values = recorded[item.name]
            counted = {
                dim: np.arange(size)
                for dim, size in zip(item.dims, np.shape(values), strict=True)
                if dim in ("layer", "head", "position")
            }
            own = {**coords, **counted} if item.per_prompt else counted
            arrays[item.name] = xr.DataArray(values, dims=item.dims, coords=own)
        return self._read(self._body(arrays), list(prompts))

    def _body(self, arrays: dict[str, Any]) -> Any:
        return call(self.claim.body, Observations(arrays), self.claim.observables)

    @property
    def recorded(self) -> list[Any]:
        """The recorded observables that the body rests on."""
        return self._items

    def _measure(self, prompts: list[Ids], layout: str) -> list[Scored]:
        # Prompts of like length share an attention call, and a pack is then evenly filled.
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
        ordered = [prompts[i] for i in order]
        arrays = measure(
            self.subject.loaded.model,
            self.subject.sites,
            self.encoded(ordered),
            self._items,
            layout=layout,
        )
        found = self._read(self._body(arrays), ordered)
        back = np.argsort(order)
        return [found[i] for i in back]

    def _read(self, values: Any, prompts: list[Ids]) -> list[Scored]:
        """Reduce the body's result to the worst margin of each prompt; a body may drop prompts."""
        dims = tuple(getattr(values, "dims", ()))
        if "prompt" not in dims or "prompt" not in values.coords:
            raise NotAttackableError(
                f"the body of {self.claim.id} gives no value per prompt (dims {dims})"
            )
        table = np.asarray(values.transpose("prompt", ...).values, dtype=float)
        table = table.reshape(table.shape[0], -1)
        margins = np.where(np.isfinite(table), self._beyond.violations(table), np.nan)
        found = [Scored(ids, float("-inf"), float("nan")) for ids in prompts]
        for row, name in enumerate(values["prompt"].values):
            at = int(name)
            if np.isnan(margins[row]).any() or not margins.shape[1]:
                continue
            column = int(margins[row].argmax())
            found[at] = Scored(prompts[at], float(margins[row, column]), float(table[row, column]))
        return found


def reason_against(claim: Claim) -> str:
    """Return why prompts cannot attack a claim; empty where they can."""
    if claim.predicts.grouped:
        return "it compares several models"
    if claim.predicts.kind not in ("every", "mean"):
        return f"it is about a {claim.predicts.kind}, which no single prompt can violate"
    if claim.kind != "observational":
        return f"it is {claim.kind}: what it measures is not read from one forward pass"
    for name in sorted(REGISTRY.recorded(claim.observables, drawn=False)):
        item = REGISTRY[name]
        if item.recorder is None:
            where = "the weights" if item.weights is not None else "an experiment of its own"
            return f"{name} is measured by {where}, not read from one forward pass"
    if not any(REGISTRY[name].per_prompt for name in claim.observables):
        return "it is a fact of the model alone"
    return ""
