"""Measuring what the store lacks of one model: weights, the packed pass, experiments, controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from refutable.capture.last_states import LAST_STATES, handing_over
from refutable.capture.measure import measure
from refutable.errors import NotAvailableError, NotHereError, told
from refutable.measurement.archive import (
    ObservationArchive,
    measured_on_a_model,
    recorded_only,
)
from refutable.measurement.available import checked_apart, lacking
from refutable.measurement.control_prompts import few_of_each_family, thinned
from refutable.measurement.costs import CostLedger
from refutable.measurement.needs import ControlCopy
from refutable.models.encode import encode
from refutable.models.weights.reading import WeightReader
from refutable.observables.registry import REGISTRY, Observable
from refutable.system.progress import Say

if TYPE_CHECKING:
    import xarray as xr

    from refutable.capture.measure import Made
    from refutable.capture.recorder import Recordable
    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel
    from refutable.models.sites import Sites
    from refutable.models.spec import ModelSpec


_IN_MEMORY = NotHereError(
    "observables of weights read a checkpoint: save the model with save_pretrained and name "
    "its folder"
)

_SPREAD = NotHereError(
    "the model is spread over devices (--claim-device-map), and this edits it or reads its "
    "weights: leave the option out, where one device holds the model"
)


class ModelRunner:
    """Loads one model, once, and measures what is missing on it and on its null controls.

    Parameters
    ----------
    archive : ObservationArchive
        What is planned, and what the store holds of it.
    say : callable
        Told in one line what long work begins.
    """

    def __init__(self, archive: ObservationArchive, say: Say) -> None:
        self.archive = archive
        self.state = archive.state
        self._say = say
        self._done = 0
        self._loaded: LoadedModel | None = None
        self._sites: tuple[LoadedModel, Sites] | None = None
        self._longest = 0
        """Tokens of the longest prompt of a set in this run of which it was found that prompts
        share passes rightly."""
        self._ledger = CostLedger(archive.settings.profile)
        self._made: Made = {}
        """Passes over the prompts at hand that were made to check the instrument."""

    def say(self, line: str) -> None:
        """Tell what begins, and how many of the passes over this model lie behind it."""
        self._say(line, done=self._done, of=1 + len(self._controls("untrained")))

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

        self._from_weights()
        # A shuffled control is measured on the model itself, so it may be all that is missing.
        needed = (None, *self._controls("shuffled"))
        groups = self.archive.groups
        with threads_for(self.state.facts.parameters):
            if any(self._missing_on_model(*group, one) for group in groups for one in needed):
                self._on_the_model()
            for control in self._controls("untrained"):
                self._done += 1
                self._on_a_control(control)

    def _controls(self, kind: str) -> list[ControlCopy]:
        controls = {c for by in self.archive.groups.values() for c in by if c is not None}
        return sorted(c for c in controls if c.kind == kind)

    def _missing_on_model(self, prompts: str, arm: str, control: ControlCopy | None) -> set[str]:
        """Names to measure on a model: of the packed pass all or none, so that one pass serves."""
        wanted = measured_on_a_model(self.archive.groups[prompts, arm].get(control, ()))
        role = control.name if control else ""
        lacking = self.archive.missing(prompts, arm, role, wanted)
        if lacking & recorded_only(wanted) or (
            control is None and wanted and self.archive.notes(prompts, arm) is None
        ):
            lacking |= recorded_only(wanted)
            if self.archive.notes(prompts, arm) is not None:
                return lacking - self.archive.unavailable(prompts, arm, role, lacking)
            # Without notes an empty plan of recorded arrays still has its checks to leave.
            return lacking or wanted
        return lacking

    # -- weights -----------------------------------------------------------------------------

    def _from_weights(self) -> None:
        """Measure observables of weights alone, without building the model."""
        reader: WeightReader | None = None
        for (prompts, arm), by_control in self.archive.groups.items():
            for control, names in by_control.items():
                role = control.name if control else ""
                wanted = set(names) - measured_on_a_model(names)
                for name in sorted(self.archive.missing(prompts, arm, role, wanted)):
                    if self.state.loaded is not None:
                        self.archive.put_reason(name, prompts, arm, role, _IN_MEMORY)
                        continue
                    if reader is None:
                        self.say(f"reading the weights of {self.state.facts.id}")
                        reader = _open(self.state.spec)
                    subject = reader
                    if control is not None and control.kind == "untrained":
                        subject = reader.untrained(control.seed)
                    function = REGISTRY[name].weights
                    assert function is not None  # noqa: S101  (chosen by this field)
                    self._keep(name, prompts, arm, role, partial(function, subject))

    def _keep(
        self, name: str, prompts: str, arm: str, role: str, make: Callable[[], xr.DataArray]
    ) -> None:
        """Store one array, or the reason why this model has no such observable."""
        try:
            with self._ledger.of(name, prompts, arm, role):
                array = self._shared(name, make) if REGISTRY[name].of_config else make()
        except NotAvailableError as problem:
            self.archive.put_reason(name, prompts, arm, role, problem)
        except OSError:
            raise
        # One observable that fails costs the claims that ask for it, and no others.
        except Exception as problem:
            self.archive.put_failure(name, prompts, arm, role, told(problem))
        else:
            self.archive.put(name, prompts, arm, role, array)

    def _shared(self, name: str, make: Callable[[], xr.DataArray]) -> xr.DataArray:
        """Read what another model of this config has left, or make it and leave it."""
        key = replace(
            self.archive.key(REGISTRY[name], "", "", ""),
            weights=self.state.config_digest,
            tokenizer="",
        )
        array = self.archive.store.get(key)
        if array is None:
            array = make()
            self.archive.store.put(key, array)
        return array

    # -- the model itself --------------------------------------------------------------------

    def _model(self) -> LoadedModel:
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

    def _on_the_model(self) -> None:
        loaded = self._model()
        for (prompts, arm), by_control in self.archive.groups.items():
            names = self._missing_on_model(prompts, arm, None)
            if names:
                self._made = {}
                names = names - self._check(prompts, arm, names)
                self._measure(loaded, prompts, arm, "", names)
                self._made = {}
            for control in by_control:
                if control is not None and control.kind == "shuffled":
                    lacking = self._missing_on_model(prompts, arm, control)
                    self._measure(loaded, prompts, arm, control.name, lacking, shuffle=control.seed)

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
            checking = partial(
                check, loaded, sites, encoded, longest_before=self._longest, riding=riding
            )
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
        if checks.layout == "packed":
            self._longest = max(self._longest, *(len(ids) for ids in encoded.ids))
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
        return encode(
            self.archive.prompts(prompts), loaded.tokenizer, loaded.facts, arm, shuffle_seed=shuffle
        )

    def _sites_of(self, loaded: LoadedModel) -> Sites:
        # Finding sites runs the model, so it is done once for each set of weights.
        from refutable.models.sites import find_sites

        if self._sites is None or self._sites[0] is not loaded:
            self._sites = (loaded, find_sites(loaded.model))
        return self._sites[1]


def _open(spec: ModelSpec) -> WeightReader:
    return WeightReader.from_spec(spec)
