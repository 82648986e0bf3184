"""Measuring what the store lacks of one model: weights, the packed pass, experiments, controls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from refutable.capture.last_states import LAST_STATES, handing_over
from refutable.capture.measure import measure
from refutable.errors import InstrumentError, NotAvailableError, NotHereError
from refutable.measurement.archive import (
    ObservationArchive,
    apart,
    apart_by_module,
    measured_on_a_model,
    recorded_only,
)
from refutable.measurement.available import checked_apart, lacking
from refutable.measurement.control_prompts import few_of_each_family, thinned
from refutable.measurement.needs import ControlCopy
from refutable.measurement.units import Turns, Unit, work_through
from refutable.measurement.weights_runner import WeightsRunner
from refutable.models.encode import encode
from refutable.observables.registry import REGISTRY, Observable
from refutable.system.progress import Say

if TYPE_CHECKING:
    import xarray as xr

    from refutable.capture.measure import Made
    from refutable.capture.recorder import Recordable
    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel
    from refutable.models.sites import Sites


_WAIT = 0.05
"""Seconds between looks for what the other process leaves."""
_SPREAD = NotHereError(
    "the model is spread over devices (--claim-device-map), and this edits it or reads its "
    "weights: leave the option out, where one device holds the model"
)


class ModelRunner(WeightsRunner):
    """Loads one model, once, and measures what is missing on it and on its null controls.

    Parameters
    ----------
    archive : ObservationArchive
        What is planned, and what the store holds of it.
    say : callable
        Told in one line what long work begins.
    turns : Turns, optional
        Shared with another process that does the same.
    """

    def __init__(self, archive: ObservationArchive, say: Say, turns: Turns | None = None) -> None:
        super().__init__(archive, say)
        self._turns = turns
        self._texts: dict[tuple[str, str, int | None], Encoded] = {}
        self._loaded: LoadedModel | None = None
        self._sites: tuple[LoadedModel, Sites] | None = None
        self._made: Made = {}
        """Passes over the prompts at hand that were made to check the instrument."""

    def run(self) -> None:
        """Measure; what is done is stored at once, so that a killed run goes on from there."""
        try:
            with self._ledger.clocked():
                self._all()
        finally:
            # A model must not live on in a frame or a traceback.
            self._loaded = None
            self._sites = None
            self.state.costs += self._ledger.costs

    def _all(self) -> None:
        # Imports torch, which a run that reads everything from the store does without.
        from refutable.capture.threads import threads_for

        with threads_for(self.state.facts.parameters):
            work_through(self._units(), self._turns)

    def _units(self) -> list[Unit]:
        """All that there is to do, in pieces."""
        controls = [
            Unit(control.name, partial(self._on_a_control, control))
            for control in self._controls("untrained")
        ]
        weights = [
            Unit(f"weights: {name}", partial(self._from_weights, name))
            for name in sorted({n for by in self.archive.groups.values() for of in by.values()
                                for n in set(of) - measured_on_a_model(of)})
        ]  # fmt: skip
        if self._turns is None:
            # What reads weights builds no model, so that neither is in memory for the other.
            return [*weights, *self._units_of_model(), *controls]
        return [*self._units_of_model(), *controls, *weights]

    def _units_of_model(self) -> list[Unit]:
        groups = self.archive.groups
        units = [Unit(f"pass on {group}", partial(self._pass, *group)) for group in groups]
        for group, by_control in groups.items():
            units += [
                Unit(f"{module} on {group}", partial(self._apart, *group, names))
                for module, names in apart_by_module(by_control.get(None, ())).items()
            ]
        for group, by_control in groups.items():
            units += [
                Unit(f"{control.name} on {group}", partial(self._on_shuffled, *group, control))
                for control in by_control
                if control is not None and control.kind == "shuffled"
            ]
        return units

    # -- the model itself --------------------------------------------------------------------

    def _model(self) -> LoadedModel:
        self._weights = None
        if self._loaded is None and self.state.loaded is not None:
            self._loaded = self.state.loaded
            self.archive.checks = list(self._loaded.checks)
            self.archive.refuse_failed()
        if self._loaded is None:
            from refutable.models.load import load

            facts, settings = self.state.facts, self.archive.settings
            size = f"{facts.blocks} blocks, {facts.parameters:,} parameters"
            self.say(f"measuring {facts.id} ({size})")
            with self._ledger.of("load"):
                self._loaded = load(
                    self.state.spec,
                    device=settings.device,
                    dtype=settings.dtype,
                    device_map=settings.device_map,
                    memory=settings.memory,
                )
            self.archive.checks = list(self._loaded.checks)
            self.archive.refuse_failed()
        return self._loaded

    def _pass(self, prompts: str, arm: str) -> None:
        """Check the instrument on a set of prompts, and record all that a pass records of them."""
        names = self._missing_on_model(prompts, arm, None)
        together = names - apart(names)
        if not together and (not names or self.archive.notes(prompts, arm) is not None):
            return
        loaded = self._model()
        self._made = {}
        together -= self._check(prompts, arm, names)
        self._measure(loaded, prompts, arm, "", together)
        self._made = {}

    def _apart(self, prompts: str, arm: str, names: set[str]) -> None:
        """Measure experiments that need nothing of the pass."""
        if lacking := self.archive.missing(prompts, arm, "", names):
            self._measure(self._model(), prompts, arm, "", lacking)

    def _on_shuffled(self, prompts: str, arm: str, control: ControlCopy) -> None:
        self._await_checks((prompts, arm))
        if lacking := self._missing_on_model(prompts, arm, control):
            seed = control.seed
            self._measure(self._model(), prompts, arm, control.name, lacking, shuffle=seed)

    def _await_checks(self, *groups: tuple[str, str]) -> None:
        """Wait until the other process has checked the instrument on sets of prompts."""
        if self._turns is None or self._turns.first:
            return
        for group in groups:
            while self.archive.notes(*group) is None:
                if self._turns.finished:
                    raise InstrumentError(f"{group} is not checked: there is nothing to do on it")
                time.sleep(_WAIT)

    def _longest_before(self, prompts: str, arm: str) -> int:
        """Tokens of the longest prompt of the set that is checked first, if passes were right."""
        recorded = (g for g, by in self.archive.groups.items() if recorded_only(by.get(None, ())))
        first = next(recorded, None)
        if first is None or first == (prompts, arm):
            return 0
        self._await_checks(first)
        notes = self.archive.notes(*first)
        if notes is None or notes["layout"] != "packed":
            return 0
        return max(len(ids) for ids in self._encoded(self._model(), *first, None).ids)

    def _check(self, prompts: str, arm: str, names: set[str]) -> set[str]:
        """Check the instrument on these prompts before anything measured on them counts.

        Returns
        -------
        set of str
            Those that the model does not have, or of which the instrument is not right.
        """
        from refutable.measurement.instrument import check

        recorded = [REGISTRY[name] for name in sorted(recorded_only(names))]
        if not recorded:
            if self.archive.notes(prompts, arm) is None:
                self.archive.put_notes(prompts, arm, "none", "none")
            return set()
        if not self.archive.settings.check:
            # One prompt at a time needs no check of how prompts share a pass.
            self.archive.put_notes(prompts, arm, "single", "unchecked")
            return set()
        loaded = self._model()
        encoded, sites = self._encoded(loaded, prompts, arm, None), self._sites_of(loaded)
        with self._ledger.of("instrument check", prompts, arm):
            riding = self._riding(names)
            before = self._longest_before(prompts, arm)
            checking = partial(check, loaded, sites, encoded, longest_before=before, riding=riding)
            checks, reasons = checked_apart(recorded, sites, checking)
        for name, reason in reasons.items():
            for control in self.archive.groups[prompts, arm]:
                role = control.name if control else ""
                self.archive.put_reason(name, prompts, arm, role, NotAvailableError(reason))
        tag = f" [{prompts}, {arm}]"
        self.archive.checks += [replace(c, name=c.name + tag) for c in checks.checks]
        self.archive.refuse_failed()
        for role, arrays in (("check-chosen", checks.packed), ("check-single", checks.reference)):
            for name, array in arrays.items():
                self.archive.put(name, prompts, arm, role, array)
        self.archive.put_notes(prompts, arm, checks.layout, checks.attention)
        self._made = checks.made
        return set(reasons)

    def _layout(self, prompts: str, arm: str) -> str:
        notes = self.archive.notes(prompts, arm)
        # A control has the architecture of the model, for which the layout was checked.
        return "single" if notes is None or notes["layout"] == "none" else str(notes["layout"])

    def _measure(
        self,
        loaded: LoadedModel,
        prompts: str,
        arm: str,
        role: str,
        names: set[str],
        *,
        shuffle: int | None = None,
    ) -> None:
        items = [REGISTRY[name] for name in sorted(names)]
        recorded = [item for item in items if item.recorder is not None]
        encoded: Encoded | None = None
        states: xr.DataArray | None = None
        if recorded or any(item.per_prompt for item in items):
            encoded = self._encoded(loaded, prompts, arm, shuffle)
            if thinned(role, self.state.spec, self.state.facts):
                encoded = few_of_each_family(encoded)
        if recorded and encoded is not None:
            layout = self._layout(prompts, arm)
            with self._ledger.of("one pass", prompts, arm, role):
                sites = self._sites_of(loaded)
                made = {} if role else self._made
                wanted: list[Recordable] = [*recorded, *self._riding(names)]
                arrays = measure(
                    loaded.model, sites, encoded, wanted, layout=layout, made=made, say=self.say
                )
            states = arrays.pop(LAST_STATES.name, None)
            for name, array in arrays.items():
                self.archive.put(name, prompts, arm, role, array)
        with handing_over(loaded.model, encoded, states) if encoded else nullcontext():
            self._experiments(items, loaded, encoded, (prompts, arm, role))

    def _riding(self, names: set[str]) -> list[Recordable]:
        """What the pass records besides, for observables that read the last tokens' states."""
        asked = any(REGISTRY[name].last_states for name in names)
        there = asked and not lacking(LAST_STATES, self._sites_of(self._model()))
        return [LAST_STATES] if there else []

    def _experiments(
        self,
        items: Sequence[Observable],
        loaded: LoadedModel,
        encoded: Encoded | None,
        place: tuple[str, str, str],
    ) -> None:
        prompts, arm, role = place
        for item in sorted(items, key=lambda one: one.turn):
            if item.experiment is not None and getattr(loaded.model, "hf_device_map", None):
                self.archive.put_reason(item.name, prompts, arm, role, _SPREAD)
            elif item.experiment is not None:
                make = partial(item.experiment, loaded, encoded if item.per_prompt else None)
                self._keep(item.name, prompts, arm, role, make)

    # -- null controls -----------------------------------------------------------------------

    def _on_a_control(self, control: ControlCopy) -> None:
        from refutable.models.load import untrained

        self._done = 1 + control.seed
        groups = self.archive.groups.items()
        self._await_checks(*(g for g, by in groups if recorded_only(by.get(control, ()))))
        work = {
            group: lacking
            for group in self.archive.groups
            if (lacking := self._missing_on_model(*group, control))
        }
        if not work:
            return
        model = self._model()
        self.say(f"measuring control {control.name} of {self.state.facts.id}")
        with self._ledger.of("untrained weights", role=control.name):
            copy = untrained(model, control.seed)
        for (prompts, arm), names in work.items():
            self._measure(copy, prompts, arm, control.name, names)

    # -- helpers -----------------------------------------------------------------------------

    def _encoded(self, loaded: LoadedModel, prompts: str, arm: str, shuffle: int | None) -> Encoded:
        # A copy reads what the model reads.
        if (key := (prompts, arm, shuffle)) not in self._texts:
            self._texts[key] = encode(
                self.archive.prompts(prompts),
                loaded.tokenizer,
                loaded.facts,
                arm,
                shuffle_seed=shuffle,
            )
        return self._texts[key]

    def _sites_of(self, loaded: LoadedModel) -> Sites:
        # Finding sites runs the model, so it is done once for each set of weights.
        from refutable.models.sites import find_sites

        if self._sites is None or self._sites[0] is not loaded:
            self._sites = (loaded, find_sites(loaded.model))
        return self._sites[1]
