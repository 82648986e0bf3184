"""A claim's body as an objective: token ids in, how far each violates the claim out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from refutable.capture.measure import join, measure, run_packs
from refutable.errors import RefutableError
from refutable.falsify.vocabulary import Ids
from refutable.measurement.subject import Observations, call
from refutable.models.encode import Encoded
from refutable.observables.registry import REGISTRY
from refutable.predictions.every import Every
from refutable.store.alike import Templates

if TYPE_CHECKING:
    from refutable.capture.packing import Pack
    from refutable.models.load import LoadedModel
    from refutable.models.sites import Sites
    from refutable.observables.registry import Observable
    from refutable.spec.claim import Claim

Floats = NDArray[np.float64]
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
    sites: Sites
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
        items = [REGISTRY[name] for name in sorted(names)]
        self._items = [item for item in items if item.recorder is not None]
        self.experiments = tuple(item for item in items if item.experiment is not None)
        """Observables that are measured prompt by prompt by experiments of their own."""
        self._known: dict[Ids, Scored] = {}
        self._prompts: xr.Coordinates | None = None
        self._templates = Templates()

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
            return self.measured(prompts, layout)
        return self.remembered(prompts, self.measured)

    def remembered(
        self, prompts: Sequence[Ids], score: Callable[[list[Ids]], list[Scored]]
    ) -> list[Scored]:
        """Score in some way what was not scored before; `undefined` and `scored` count it."""
        fresh = [ids for ids in dict.fromkeys(prompts) if ids not in self._known]
        if fresh:
            self.scored += len(fresh)
            scored = score(fresh)
            self.undefined += sum(not np.isfinite(one.margin) for one in scored)
            self._known.update(zip(fresh, scored, strict=True))
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

    def judge(
        self, recorded: Mapping[str, NDArray[np.generic]], count: int
    ) -> tuple[Floats, Floats]:
        """Judge prompts whose recorded observables are known, as plain arrays by name.

        Parameters
        ----------
        recorded : mapping of str to array
            The observables of `recorded`, prompt first where they have one.
        count : int
            Number of the prompts.

        Returns
        -------
        margins, values : array
            Those of `Scored`, by prompt.
        """
        arrays = {item.name: self._labelled(item, recorded[item.name]) for item in self._items}
        return self._read(self._body(arrays), count)

    def _labelled(self, item: Observable, values: NDArray[np.generic]) -> xr.DataArray:
        """Label one array as the engine does; those of one shape share their coordinates."""

        def make() -> xr.DataArray:
            coords: dict[str, object] = {
                dim: np.arange(size)
                for dim, size in zip(item.dims, values.shape, strict=True)
                if dim in ("layer", "head", "position", "expert")
            }
            if item.per_prompt:
                coords |= self._of_prompts(values.shape[0])
            return xr.DataArray(np.empty(values.shape), dims=item.dims, coords=coords)

        return self._templates.filled(item.dims, make, values, item.name, {})

    def _of_prompts(self, count: int) -> dict[str, object]:
        """Coordinates of so many prompts; arrays of one batch share them."""
        if self._prompts is None or self._prompts.sizes["prompt"] != count:
            family = ("prompt", np.full(count, FAMILY))
            self._prompts = xr.Coordinates({"prompt": np.arange(count), "family": family})
        return {str(name): self._prompts[name].variable for name in self._prompts}

    def _body(self, arrays: dict[str, xr.DataArray]) -> xr.DataArray:
        made: xr.DataArray = call(self.claim.body, Observations(arrays), self.claim.observables)
        return made

    @property
    def recorded(self) -> list[Observable]:
        """The recorded observables that the body rests on."""
        return self._items

    def measured(self, prompts: Sequence[Ids], layout: str | None = None) -> list[Scored]:
        """Score prompts whether they are known or not.

        Parameters
        ----------
        prompts : sequence of tuple of int
            Token ids without BOS.
        layout : str, optional
            Another layout than the subject's.
        """
        # Prompts of like length share an attention call, and a pack is then evenly filled.
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
        ordered = [prompts[i] for i in order]
        encoded = self.encoded(ordered)
        arrays = {
            item.name: item.experiment(self.subject.loaded, encoded)
            for item in self.experiments
            if item.experiment is not None
        }
        if self._items:
            arrays |= measure(
                self.subject.loaded.model,
                self.subject.sites,
                encoded,
                self._items,
                layout=layout or self.subject.layout,
            )
        margins, values = self._read(self._body(arrays), len(ordered))
        scored = map(Scored, ordered, margins.tolist(), values.tolist())
        made = dict(zip(order, scored, strict=True))
        return [made[i] for i in range(len(prompts))]

    def in_passes(self, encoded: Encoded, packs: Sequence[Pack]) -> tuple[Floats, Floats]:
        """Judge prompts in passes that the caller laid out, as plain arrays.

        Parameters
        ----------
        encoded : Encoded
            The token ids that lie at the prompts' places; a prompt may be the beginning of what
            lies at its own.
        packs : sequence of Pack
            They hold each of the prompts once.

        Returns
        -------
        margins, values : array
            Those of `Scored`, by prompt.
        """
        model, sites = self.subject.loaded.model, self.subject.sites
        ran, parts = run_packs(model, sites, encoded, self._items, packs=packs)
        order = np.argsort([prompt for pack in ran for prompt in pack.prompts])
        recorded = {item.name: join(item, parts[item.name], order) for item in self._items}
        return self.judge(recorded, len(order))

    def _read(self, values: xr.DataArray, count: int) -> tuple[Floats, Floats]:
        """Reduce the body's result to the worst margin of each prompt; a body may drop prompts."""
        dims = tuple(getattr(values, "dims", ()))
        if "prompt" not in dims or "prompt" not in values.coords:
            raise NotAttackableError(
                f"the body of {self.claim.id} gives no value per prompt (dims {dims})"
            )
        margins, extremes = np.full(count, -np.inf), np.full(count, np.nan)
        table = np.asarray(values.transpose("prompt", ...).values, dtype=float)
        if not table.size:
            # No prompt lies in the claim's domain.
            return margins, extremes
        table = table.reshape(table.shape[0], -1)
        beyond = np.where(np.isfinite(table), self._beyond.violations(table), np.nan)
        # Where a margin is undefined argmax gives it, so that the prompt stays undefined.
        columns = beyond.argmax(axis=1)
        rows = np.arange(len(table))
        worst = beyond[rows, columns]
        known = ~np.isnan(worst)
        indices = values["prompt"].values.astype(int)[known]
        margins[indices] = worst[known]
        extremes[indices] = table[rows, columns][known]
        return margins, extremes


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
        if item.recorder is None and not item.by_prompt:
            where = "the weights" if item.weights is not None else "an experiment of its own"
            return f"{name} is measured by {where}, not read from one forward pass"
    if not any(REGISTRY[name].per_prompt for name in claim.observables):
        return "it is a fact of the model alone"
    return ""
