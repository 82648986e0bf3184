"""The one owner of models: it plans, checks, measures and stores, model by model.

A claim never sees a model. It names observables; the harness knows for every model the union of
what all selected claims asked for, records it in one pass, and hands out labelled arrays.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from refutable.errors import InstrumentError, ModelError, NotMeasurableError, RefutableError
from refutable.measurement.archive import ObservationArchive
from refutable.measurement.completion import complete
from refutable.measurement.needs import ControlCopy, Need, Plan, not_applicable
from refutable.measurement.room import is_streamed
from refutable.measurement.state import COMMITTED, Role, Settings, Sources, State
from refutable.measurement.subject import Observations, Subject
from refutable.models.identify import Identity, identify, is_unchanged
from refutable.models.registry import resolve
from refutable.models.sources import locate, weights_available
from refutable.models.sources.twin import measured_when_trained
from refutable.observables.registry import REGISTRY
from refutable.records import ModelFacts, ModelReport
from refutable.spec.prompts import PromptSet
from refutable.store.committed import committed_in
from refutable.store.store import Store
from refutable.system.paths import cache_dir, fixtures
from refutable.system.progress import Say, silent

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.load import LoadedModel
    from refutable.models.spec import ModelSpec
    from refutable.store.committed import CommittedModel


_KEPT_BYTES = 1 << 28
"""Size of measured arrays above which a model's are dropped when it is left."""


def open_harness(
    prompts: Callable[[str], PromptSet],
    settings: Settings | None = None,
    *,
    models: Mapping[str, str] | None = None,
    say: Say = silent,
    store: Store | None = None,
) -> Harness:
    """Return a harness over the store of this machine and the observations that are shipped.

    Parameters
    ----------
    prompts : callable
        Gives the prompt set of a name, e.g. a `refutable.spec.prompts.PromptLibrary`.
    settings : Settings, optional
        Device and dtype; the CPU in float32 unless given.
    models : mapping, optional
        The models of the run, where any were named: ids to what the user called them.
    say : callable, optional
        Told in one line what long work begins.
    store : Store, optional
        Where observations are kept, in place of the store of this machine.
    """
    sources = Sources(
        Store(cache_dir() / "observations") if store is None else store,
        committed_in(fixtures()),
        prompts,
        settings or Settings(),
    )
    return Harness(sources, models=models, say=say)


class Harness:
    """Measures what claims need, each model once.

    Parameters
    ----------
    sources : Sources
        Where observations are kept, prompt sets, device and dtype.
    models : mapping, optional
        The models of the run, where any were named: ids to what
        `refutable.models.registry.resolve` takes, e.g. a path.
    say : callable, optional
        Told in one line what long work begins.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        models: Mapping[str, str] | None = None,
        say: Say = silent,
    ) -> None:
        self.sources = sources
        self.models = models
        self.say = say
        self._needs: dict[str, dict[object, Need]] = defaultdict(dict)
        self._asked: dict[str, dict[tuple[str, str], set[str]]] = defaultdict(dict)
        self.releases: dict[str, str] = {}
        """Models to be recorded as releases, and the prompts that they are recorded on."""
        self._states: dict[str, State] = {}
        self._broken: dict[str, str] = {}

    def name_of(self, model: str) -> str:
        """Return what the user called a model."""
        return (self.models or {}).get(model, model)

    def plan(self, needs: Iterable[Need]) -> None:
        """Take up what claims need, best before anything is measured.

        A model that is measured already is read again, and completed, when it is next asked for.
        """
        for need in needs:
            key = (need.claim.id, id(need.claim), need.prompts, need.arm, need.controlled)
            planned = self._needs[need.model]
            if key not in planned:
                planned[key] = need
                if need.model in self._states:
                    self._states[need.model].measured = False

    def ask(self, model: str, prompts: str, arm: str, names: Iterable[str]) -> None:
        """Plan observables without a claim; derived ones are planned by what they rest on."""
        wanted = set(REGISTRY.recorded(names, drawn=False))
        self._asked[model].setdefault((prompts, arm), set()).update(wanted)
        if model in self._states:
            self._states[model].measured = False

    def observations(self, model: str, prompts: str, arm: str) -> Observations:
        """Return everything measured of a model on prompts in an arm.

        Raises
        ------
        NotMeasurableError
            If the model does not have an observable that was asked for.
        """
        state = self.measure(model)
        for name in sorted(self._asked[model].get((prompts, arm), ())):
            reason = state.unavailable.get((prompts, arm, "", name))
            if reason is not None:
                raise NotMeasurableError(f"{name} of {model}: {reason}")
        return Observations(state.arrays[prompts, arm, ""])

    def adopt(self, loaded: LoadedModel, identity: Identity) -> None:
        """Take a model that the caller holds in memory; it is measured as it stands."""
        report = self._report(loaded.spec, identity, loaded.facts)
        report = replace(report, device=loaded.device, dtype=loaded.dtype)
        self._states[loaded.facts.id] = State(
            loaded.spec, loaded.facts, report, identity.config_digest, loaded=loaded
        )

    def facts(self, model: str) -> ModelFacts:
        """Return what is known of a model from its files, without measuring it.

        Raises
        ------
        ModelError
            If the model cannot be found or read; the same line each time.
        """
        return self.state(model).facts

    def report(self, model: str) -> ModelReport | None:
        """Return how a model was measured, or ``None`` if it was never touched."""
        state = self._states.get(model)
        if state is not None:
            return state.report
        if model in self._broken:
            return ModelReport(model, "", "", "", None, error=self._broken[model])
        return None

    def subject(self, need: Need) -> Subject:
        """Return the observations a claim is evaluated on, measuring the model if need be.

        Raises
        ------
        NotMeasurableError
            If the model does not have an observable that the claim rests on; others may go on.
        """
        state = self.measure(need.model)
        prompts, arm, controls = need.prompts, need.arm, need.controls
        for role in ("", *(control.name for control in controls)):
            for name in sorted(need.observables):
                reason = state.unavailable.get((prompts, arm, role, name))
                if reason is not None and not REGISTRY[name].recorded_with:
                    raise NotMeasurableError(f"{name} of {need.model}: {reason}")
                failure = state.failed.get((prompts, arm, role, name))
                if failure is not None and not REGISTRY[name].recorded_with:
                    raise InstrumentError(f"measuring {name} of {need.model} failed: {failure}")

        def observed(role: str) -> Observations:
            arrays = state.arrays[prompts, arm, role]
            measured = {n: arrays[n] for n in need.observables if n in arrays}
            return Observations(measured, self.derived(need.model, (prompts, arm, role)))

        checks = [
            observed(role)
            for role in ("check-chosen", "check-single")
            if (prompts, arm, role) in state.arrays
        ]
        return Subject(
            observations=observed(""),
            controls=tuple(observed(control.name) for control in controls),
            control_names=tuple(
                f"{need.model}@{c.name}{_label(state, prompts, arm, c)}" for c in controls
            ),
            check=(checks[0], checks[1]) if len(checks) == 2 else None,
            dtype=self.sources.settings.dtype,
        )

    def source_of(self, need: Need, subject: Subject) -> str:
        """Say where what a claim rests on came from; what only illustrates it does not count."""
        rests_on = need.of_controls & set(subject.observations)
        if any(subject.observations[name].attrs.get(COMMITTED) for name in rests_on):
            return "committed"
        report = self.report(need.model)
        return "store" if report is None else report.origin

    def arrays(self, model: str) -> Mapping[Role, Mapping[str, xr.DataArray]]:
        """All arrays of a model by (prompts, arm, role); role is empty for the model itself."""
        return self._states[model].arrays if model in self._states else {}

    def derived(self, model: str, role: Role) -> dict[str, xr.DataArray]:
        """Return what claims have made of the arrays of a role so far; it may be added to."""
        return self.state(model).derived.setdefault(role, {})

    def forget(self, model: str) -> None:
        """Drop a model's arrays when those of all models fill memory; the store keeps them.

        Claims over training seeds come back to the same models again and again.
        """
        state = self._states.get(model)
        held = sum(one.nbytes for one in self._states.values() if one.measured)
        if state is not None and held > _KEPT_BYTES:
            state.forget()
            state.measured = False

    def state(self, model: str) -> State:
        """Return what is known of a model, found out when first asked for; see `facts`."""
        if model in self._broken:
            raise ModelError(self._broken[model])
        if model not in self._states:
            settings = self.sources.settings
            try:
                spec = resolve(self.name_of(model), revision=settings.revision)
                known = self.replayable(spec)
                identity = known or self.described(spec) or identify(spec)
            except RefutableError as problem:
                self._broken[model] = str(problem)
                raise
            facts = replace(identity.facts, id=model)
            report = self._report(spec, identity, facts)
            self._states[model] = State(
                spec, facts, report, identity.config_digest, weights_available=known is None
            )
        return self._states[model]

    def _report(
        self, spec: ModelSpec, identity: Identity | CommittedModel, facts: ModelFacts
    ) -> ModelReport:
        return ModelReport(
            id=facts.id,
            source=spec.source,
            weights_digest=identity.weights_digest,
            tokenizer_digest=identity.tokenizer_digest,
            facts=facts,
            device=self.sources.settings.device,
            dtype=self.sources.settings.dtype,
        )

    def replayable(self, spec: ModelSpec) -> CommittedModel | None:
        """Return what is committed of a model, if its weights are not here."""
        if self.sources.committed is None or weights_available(spec):
            return None
        committed = self.sources.committed.model(spec.id)
        if committed is None:
            return None
        facts = replace(committed.facts, group=spec.group, seed=spec.seed, tags=spec.tags)
        return replace(committed, facts=facts)

    def described(self, spec: ModelSpec) -> Identity | None:
        """Return what is committed of a model that is here, unchanged, and need not be measured.

        Its config and modules were read when its observations were taken; torch is not imported.
        """
        if self.sources.committed is None or not measured_when_trained(spec):
            return None
        committed = self.sources.committed.model(spec.id)
        if committed is None or not weights_available(spec):
            return None
        facts = replace(committed.facts, group=spec.group, seed=spec.seed, tags=spec.tags)
        known = Identity(
            committed.weights_digest, committed.tokenizer_digest, facts, committed.config_digest
        )
        return known if is_unchanged(locate(spec), known) else None

    def archive(self, model: str) -> ObservationArchive:
        """Return the archive of what is planned of a model."""
        return ObservationArchive(self.sources, self.state(model), self.plan_for(model))

    def measure(self, model: str) -> State:
        """Measure what the plan asks of a model, or read it from the store.

        Raises
        ------
        InstrumentError
            If a check of the instrument failed, now or when the stored arrays were measured.
        """
        state = self.state(model)
        if state.error:
            raise InstrumentError(state.error)
        if not state.measured:
            started = time.perf_counter()
            try:
                complete(self.archive(model), self.say)
            except RefutableError as problem:
                state.error = str(problem)
                state.report = replace(state.report, error=state.error)
                raise
            state.measured = True
            state.nbytes = sum(
                a.nbytes for arrays in state.arrays.values() for a in arrays.values()
            )
            state.report = replace(
                state.report, seconds=time.perf_counter() - started, costs=tuple(state.costs)
            )
        return state

    def plan_for(self, model: str) -> Plan:
        """Return the union of what is asked of a model."""
        plan = Plan()
        for need in self._needs[model].values():
            if not_applicable(need, self.facts(model)) is None:
                plan.add(need)
        for (prompts, arm), names in self._asked[model].items():
            plan.wanted[prompts, arm, None] |= names
        release = self.releases.get(model)
        if release is not None and is_streamed(self.state(model), self.sources.settings):
            release = None
        if release is not None and release in {name for name, _, _ in plan.wanted}:
            # What a release is known by rides in the passes that claims make.
            plan.add_release(self.facts(model), release)
        return plan


def _label(state: State, prompts: str, arm: str, control: ControlCopy) -> str:
    return " (committed)" if (prompts, arm, control.name) in state.replayed else ""
