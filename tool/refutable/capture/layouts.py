"""Trying a layout: passes of the run itself against the same prompts alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from refutable.capture.compare import Difference, compare
from refutable.capture.measure import measure, passes_of
from refutable.capture.plan import make_plan
from refutable.capture.recorder import LOGITS, Recordable, Recorder
from refutable.capture.selection import (
    MOST_PACKS,
    MOST_PACKS_AGAIN,
    checked_packs,
    compared_prompts,
    switches_of,
)

if TYPE_CHECKING:
    import torch
    import xarray as xr
    from transformers import PreTrainedModel

    from refutable.capture.measure import Made
    from refutable.capture.packing import Pack
    from refutable.capture.views import LogitView
    from refutable.models.encode import Encoded
    from refutable.models.sites import Sites

    Arrays = dict[str, xr.DataArray]


class LastLogits(Recorder):
    """Logits after each prompt's last token, whole."""

    name: ClassVar[str] = "check_logits"
    reads: ClassVar[tuple[str, ...]] = (LOGITS,)

    def read(self, site: str, layer: int, view: LogitView) -> None:
        """Keep them."""
        self._value = view.last()

    def take(self, pack: Pack, blocks: int) -> torch.Tensor:
        """Hand them over: prompt, vocab."""
        return self._value


class Trial:
    """Runs passes as a run of these prompts would make them, and compares.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In eval mode.
    sites : Sites
        Its parts.
    encoded : Encoded
        All prompts of the run.
    asked : sequence of Recordable
        What the run records: it decides how many prompts share a pass.
    probes : sequence of Recordable
        What is compared besides.
    riding : sequence of Recordable
        What the run's passes record besides; it is kept in `made` and not compared.
    bound : float
        Largest relative difference that counts as equal.
    most_packs : tuple of int
        Passes of a set too large to be checked whole, and how many of the passes are made without
        reading attention, too; 0 where the model is known to be right without it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        sites: Sites,
        encoded: Encoded,
        *,
        asked: Sequence[Recordable],
        probes: Sequence[Recordable],
        riding: Sequence[Recordable] = (),
        bound: float,
        most_packs: tuple[int, int] = (MOST_PACKS, MOST_PACKS_AGAIN),
    ) -> None:
        self._most_packs, self._most_plain = most_packs
        self._model, self._sites, self._encoded = model, sites, encoded
        self._asked, self._probes, self._bound = asked, probes, bound
        self._riding = riding
        self._lengths = [len(ids) for ids in encoded.ids]
        self.made: Made = {}
        """What the passes of the layout tried last gave: they need not be made again."""

    def run(self, layout: str) -> tuple[Arrays | None, Arrays, Difference]:
        """Compare a layout with single prompts.

        Returns
        -------
        measured, alone, difference
            Of the compared prompts; ``None`` where no two prompts share a pass, so that there is
            nothing to compare.
        """
        plan = make_plan(self._asked or self._probes)
        packs = passes_of(self._model, self._encoded, plan, layout)
        switches = switches_of(self._model.config.get_text_config(), max(self._lengths))
        packs = checked_packs(packs, self._lengths, switches, self._most_packs)
        if not packs:
            return None, {}, Difference(0.0)
        indices = compared_prompts(packs, self._lengths, switches)
        chosen = self._encoded.only(indices)
        ran = self._encoded.only(sorted(prompt for pack in packs for prompt in pack.prompts))
        items = {item.name: item for item in (*self._asked, *self._probes)}.values()
        self.made = {}
        measured = self._measure([*items, *self._riding], packs, self.made)
        for item in self._riding:
            measured.pop(item.name, None)
        measured = only(measured, chosen, ran)
        alone = measure(
            self._model, self._sites, chosen, list(items), layout="single", finite=False
        )
        difference = compare(measured, alone, ranged=LastLogits.name)
        if plan.attention and self._most_plain and difference.value <= self._bound:
            # Read through our own function, attention is right even where the model's own mask
            # lets packed prompts see each other; the model must be right without it too.
            packs = packs[: self._most_plain]
            inside = {prompt for pack in packs for prompt in pack.prompts}
            some = self._encoded.only([place for place in indices if place in inside])
            probed = only(
                self._measure(self._probes, packs), some, self._encoded.only(sorted(inside))
            )
            wanted = only({item.name: alone[item.name] for item in self._probes}, some, chosen)
            other = compare(probed, wanted, ranged=LastLogits.name)
            difference = max(difference, other, key=lambda item: item.value)
        return measured, alone, difference

    def _measure(
        self, items: Sequence[Recordable], packs: Sequence[Pack], made: Made | None = None
    ) -> Arrays:
        return measure(
            self._model, self._sites, self._encoded, items, packs=packs, finite=False, made=made
        )


def only(arrays: Arrays, chosen: Encoded, ran: Encoded) -> Arrays:
    """Keep some prompts, and the positions that they have.

    Parameters
    ----------
    arrays : mapping of str to xarray.DataArray
        Measured on the prompts of `ran`, in their order.
    chosen : Encoded
        Some of these, in the same order.
    ran : Encoded
        All prompts of the passes.
    """
    longest = max(len(ids) for ids in chosen.ids)
    wanted = set(chosen.prompt_ids)
    rows = np.repeat([name in wanted for name in ran.prompt_ids], [len(ids) for ids in ran.ids])
    kept = {}
    for name, array in arrays.items():
        if array.dims[:1] == ("token",):
            # A row for each token, prompt after prompt: no label says whose it is.
            array = array[rows]
        if "prompt" in array.dims:
            array = array.sel(prompt=list(chosen.prompt_ids))
        if "position" in array.dims:
            array = array.isel(position=slice(longest))
        kept[name] = array
    return kept
