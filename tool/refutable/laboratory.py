"""The one owner of models: it plans, checks, measures and stores, model by model.

A claim never sees a model. It names observables; the laboratory knows for every model the union
of what all selected claims asked for, records it in one pass, and hands out labelled arrays.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from refutable.claim import Claim
from refutable.errors import InstrumentError, ModelError, RefutableError
from refutable.evaluate import Observations, Subject
from refutable.observables.registry import REGISTRY, Observable
from refutable.prompts import PromptSet
from refutable.records import InstrumentCheck, ModelFacts, ModelReport

if TYPE_CHECKING:
    from refutable.capture.store import Store
    from refutable.models.load import LoadedModel
    from refutable.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, order=True)
class Control:
    """One copy of a null control."""

    kind: str
    seed: int

    @property
    def name(self) -> str:
        """``untrained-3``."""
        return f"{self.kind}-{self.seed}"


@dataclass(frozen=True, slots=True)
class Need:
    """What one claim asks of one model."""

    claim: Claim
    model: str
    prompts: str
    arm: str

    @property
    def observables(self) -> frozenset[str]:
        """Names of the stored observables that the claim and its replication rest on."""
        import inspect

        names = set(self.claim.observables)
        if self.claim.replication is not None:
            names |= set(inspect.signature(self.claim.replication.body).parameters)
        return REGISTRY.recorded(names)

    @property
    def controls(self) -> tuple[Control, ...]:
        """The null controls the claim is read against."""
        spec = self.claim.control
        return tuple(Control(spec.kind, s) for s in range(spec.seeds)) if spec else ()


@dataclass(slots=True)
class Plan:
    """The union of what is asked of one model: (prompts, arm, control) to observables."""

    wanted: dict[tuple[str, str, Control | None], set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )

    def add(self, need: Need) -> None:
        """Take up one claim's needs."""
        for control in (None, *need.controls):
            self.wanted[need.prompts, need.arm, control] |= need.observables


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure."""

    device: str = "cpu"
    dtype: str = "float32"
    revision: str | None = None


@dataclass(slots=True)
class _State:
    """What is known of one model in this run."""

    spec: ModelSpec
    facts: ModelFacts
    report: ModelReport
    arrays: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    error: str = ""
    measured: bool = False


class Laboratory:
    """Measures what claims need, each model once.

    Parameters
    ----------
    store : Store
        Where observations are kept between runs.
    prompts : callable
        Gives the prompt set of a name.
    settings : Settings
        Device and dtype.
    say : callable, optional
        Told in one line what long work begins.
    """

    def __init__(
        self,
        store: Store,
        prompts: Callable[[str], PromptSet],
        settings: Settings,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.store = store
        self.settings = settings
        self._prompts = prompts
        self._say = say
        self._needs: dict[str, list[Need]] = defaultdict(list)
        self._states: dict[str, _State] = {}
        self._broken: dict[str, str] = {}

    def plan(self, needs: Iterable[Need]) -> None:
        """Take up what the selected claims need, before anything is measured."""
        for need in needs:
            self._needs[need.model].append(need)

    def facts(self, model: str) -> ModelFacts:
        """Return what is known of a model from its files, without measuring it.

        Raises
        ------
        ModelError
            If the model cannot be found or read; the same line each time.
        """
        return self._state(model).facts

    def report(self, model: str) -> ModelReport | None:
        """Return how a model was measured, or ``None`` if it was never touched."""
        state = self._states.get(model)
        if state is not None:
            return state.report
        if model in self._broken:
            return ModelReport(model, "", "", "", None, error=self._broken[model])
        return None

    def subject(self, need: Need) -> Subject:
        """Return the observations a claim is evaluated on, measuring the model if need be."""
        state = self._measured(need.model)
        names = need.observables
        prompts, arm = need.prompts, need.arm
        main = self._observations(state, prompts, arm, "", names)
        controls = need.controls
        checks = [
            self._observations(state, prompts, arm, role, names)
            for role in ("check-chosen", "check-single")
            if any((prompts, arm, role) == key for key in state.arrays)
        ]
        return Subject(
            observations=main,
            controls=tuple(
                self._observations(state, prompts, arm, c.name, names) for c in controls
            ),
            control_names=tuple(f"{need.model}@{c.name}" for c in controls),
            check=(checks[0], checks[1]) if len(checks) == 2 else None,
            dtype=self.settings.dtype,
        )

    def arrays(self, model: str) -> Mapping[tuple[str, str, str], Mapping[str, Any]]:
        """All arrays of a model by (prompts, arm, role); role is empty for the model itself."""
        state = self._states.get(model)
        return state.arrays if state else {}

    def forget(self, model: str) -> None:
        """Drop a model's arrays from memory; the store keeps them."""
        state = self._states.get(model)
        if state is not None:
            state.arrays.clear()
            state.measured = False

    def _observations(
        self, state: _State, prompts: str, arm: str, role: str, names: frozenset[str]
    ) -> Observations:
        arrays = state.arrays[prompts, arm, role]
        return Observations({name: arrays[name] for name in names if name in arrays})

    def _state(self, model: str) -> _State:
        if model in self._broken:
            raise ModelError(self._broken[model])
        if model not in self._states:
            from refutable.models.identify import identify
            from refutable.models.registry import resolve

            try:
                spec = resolve(model, revision=self.settings.revision)
                identity = identify(spec)
            except RefutableError as problem:
                self._broken[model] = str(problem)
                raise
            self._states[model] = _State(
                spec,
                replace(identity.facts, id=model),
                ModelReport(
                    id=model,
                    source=spec.source,
                    weights_digest=identity.weights_digest,
                    tokenizer_digest=identity.tokenizer_digest,
                    facts=replace(identity.facts, id=model),
                    device=self.settings.device,
                    dtype=self.settings.dtype,
                ),
            )
        return self._states[model]

    def _measured(self, model: str) -> _State:
        state = self._state(model)
        if state.error:
            raise InstrumentError(state.error)
        if not state.measured:
            started = time.perf_counter()
            try:
                _Run(self, state, self._plan_for(state)).complete()
            except RefutableError as problem:
                state.error = str(problem)
                state.report = replace(state.report, error=state.error)
                raise
            state.measured = True
            state.report = replace(state.report, seconds=time.perf_counter() - started)
        return state

    def _plan_for(self, state: _State) -> Plan:
        plan = Plan()
        for need in self._needs[state.facts.id]:
            if not_applicable(need, state.facts) is None:
                plan.add(need)
        return plan


def not_applicable(need: Need, facts: ModelFacts) -> str | None:
    """Return why a claim does not speak about a model in an arm, or ``None`` if it does."""
    if need.arm == "bos" and facts.bos is None:
        return f"{facts.id} has no BOS token, so it has no BOS arm"
    return need.claim.models.reason(facts)


class _Run:
    """Completes one model's plan from the store, loading the model only for what is missing."""

    def __init__(self, lab: Laboratory, state: _State, plan: Plan) -> None:
        self.lab = lab
        self.state = state
        self.plan = plan
        self.loaded: LoadedModel | None = None
        self.sites: Any = None
        self.checks: list[InstrumentCheck] = []

    def complete(self) -> None:
        groups = self._groups()
        try:
            if not self._read(groups):
                # Two workers may want the same model: the second waits and finds it done.
                with self.lab.store.locked(self.state.report.weights_digest[:32]):
                    if not self._read(groups):
                        self.state.arrays.clear()
                        self._measure(groups)
                        self._refuse_failed()
                        if not self._read(groups):
                            raise InstrumentError(
                                f"{self.state.facts.id}: the store did not keep what was measured: "
                                "free disk space or run `refutable cache --clear`"
                            )
                        origin = "live"
                    else:
                        origin = "store"
            else:
                origin = "store"
        finally:
            # A model must not live on in a traceback or a frame.
            self.loaded = None
            self.sites = None
        self.state.report = replace(self.state.report, checks=tuple(self.checks), origin=origin)
        self._refuse_failed()

    def _groups(self) -> dict[tuple[str, str], dict[Control | None, set[str]]]:
        groups: dict[tuple[str, str], dict[Control | None, set[str]]] = defaultdict(dict)
        for (prompts, arm, control), names in self.plan.wanted.items():
            groups[prompts, arm][control] = names
        return groups

    def _refuse_failed(self) -> None:
        failed = [c for c in self.checks if not c.passed]
        if failed:
            names = "; ".join(f"{c.name}: {c.detail}" for c in failed)
            self.state.report = replace(self.state.report, checks=tuple(self.checks))
            raise InstrumentError(f"{self.state.facts.id}: instrument check failed: {names}")

    # -- the store ---------------------------------------------------------------------------

    def _key(self, item: Observable, prompts: str, arm: str, role: str) -> Any:
        from refutable.capture.store import ObservationKey

        report, settings = self.state.report, self.lab.settings
        return ObservationKey(
            weights=report.weights_digest,
            tokenizer=report.tokenizer_digest,
            prompts=self.lab._prompts(prompts).content_hash if item.per_prompt else "",
            arm=arm if item.per_prompt else "",
            observable=item.name,
            version=item.version,
            dtype=settings.dtype,
            device=settings.device.split(":")[0],
            role=role,
        )

    def _read(self, groups: Mapping[tuple[str, str], Mapping[Control | None, set[str]]]) -> bool:
        self.checks = []
        for (prompts, arm), by_control in groups.items():
            for control, names in by_control.items():
                role = control.name if control else ""
                if not self._read_role(prompts, arm, role, names, needed=True):
                    return False
            names = self._recorded(by_control.get(None, set()))
            notes = self.lab.store.get_json(self._notes_key(prompts, arm))
            if notes is None:
                return False
            for role in ("check-chosen", "check-single"):
                self._read_role(prompts, arm, role, names, needed=False)
            self._take_notes(notes)
        return True

    def _read_role(
        self, prompts: str, arm: str, role: str, names: Iterable[str], *, needed: bool
    ) -> bool:
        found = {}
        for name in sorted(names):
            array = self.lab.store.get(self._key(REGISTRY[name], prompts, arm, role))
            if array is None:
                if needed:
                    return False
                continue
            found[name] = array
        if found or needed:
            self.state.arrays[prompts, arm, role] = found
        return True

    def _notes_key(self, prompts: str, arm: str) -> Any:
        notes = Observable("instrument-notes", "", (), "", 1)
        return self._key(notes, prompts, arm, "notes")

    def _take_notes(self, notes: Mapping[str, Any]) -> None:
        known = {c.name for c in self.checks}
        for raw in notes["checks"]:
            check = InstrumentCheck(**raw)
            if check.name not in known:
                self.checks.append(check)
        self.state.report = replace(
            self.state.report, layout=notes["layout"], attention=notes["attention"]
        )

    def _recorded(self, names: Iterable[str]) -> set[str]:
        return {name for name in names if REGISTRY[name].recorder is not None}

    # -- measuring ---------------------------------------------------------------------------

    def _measure(self, groups: Mapping[tuple[str, str], Mapping[Control | None, set[str]]]) -> None:
        from refutable.models.load import load
        from refutable.models.sites import find_sites

        facts, settings = self.state.facts, self.lab.settings
        self.lab._say(
            f"measuring {facts.id} ({facts.blocks} blocks, {facts.parameters:,} parameters)"
        )
        loaded = load(self.state.spec, device=settings.device, dtype=settings.dtype)
        self.checks = list(loaded.checks)
        self._refuse_failed()
        self.loaded, self.sites = loaded, find_sites(loaded.model)
        layouts: dict[tuple[str, str], str] = {}
        for (prompts, arm), by_control in groups.items():
            names = by_control.get(None, set())
            layouts[prompts, arm] = self._check(prompts, arm, names)
            self._measure_role(loaded, prompts, arm, "", names, layouts[prompts, arm])
            for control, wanted in by_control.items():
                if control is not None and control.kind == "shuffled":
                    layout = layouts[prompts, arm]
                    self._measure_role(
                        loaded, prompts, arm, control.name, wanted, layout, shuffle=control.seed
                    )
        self._measure_untrained(groups, layouts)

    def _measure_untrained(
        self,
        groups: Mapping[tuple[str, str], Mapping[Control | None, set[str]]],
        layouts: Mapping[tuple[str, str], str],
    ) -> None:
        from refutable.models.load import untrained

        seeds = sorted(
            {c for by in groups.values() for c in by if c is not None and c.kind == "untrained"}
        )
        for control in seeds:
            if self._control_is_stored(groups, control):
                continue
            assert self.loaded is not None  # noqa: S101  (set by _measure just before)
            copy = untrained(self.loaded, control.seed)
            self.lab._say(f"measuring control {control.name} of {self.state.facts.id}")
            for (prompts, arm), by_control in groups.items():
                if control in by_control:
                    self._measure_role(
                        copy, prompts, arm, control.name, by_control[control], layouts[prompts, arm]
                    )
            del copy

    def _control_is_stored(
        self,
        groups: Mapping[tuple[str, str], Mapping[Control | None, set[str]]],
        control: Control,
    ) -> bool:
        return all(
            self.lab.store.get(self._key(REGISTRY[name], prompts, arm, control.name)) is not None
            for (prompts, arm), by_control in groups.items()
            for name in by_control.get(control, ())
        )

    def _encoded(self, loaded: LoadedModel, prompts: str, arm: str, shuffle: int | None) -> Any:
        from refutable.models.encode import encode

        return encode(
            self.lab._prompts(prompts), loaded.tokenizer, loaded.facts, arm, shuffle_seed=shuffle
        )

    def _check(self, prompts: str, arm: str, names: set[str]) -> str:
        from refutable.instrument import check

        assert self.loaded is not None  # noqa: S101  (set by _measure just before)
        recorded = [REGISTRY[name] for name in sorted(self._recorded(names))]
        if not recorded:
            self._write_notes(prompts, arm, "none", "none")
            return "none"
        encoded = self._encoded(self.loaded, prompts, arm, None)
        found = check(self.loaded, self.sites, encoded, recorded)
        tag = f" [{prompts}, {arm}]"
        self.checks += [replace(c, name=c.name + tag) for c in found.checks]
        self._refuse_failed()
        for role, arrays in (("check-chosen", found.packed), ("check-single", found.reference)):
            for name, array in arrays.items():
                self.lab.store.put(self._key(REGISTRY[name], prompts, arm, role), array)
        self._write_notes(prompts, arm, found.layout, found.attention)
        return str(found.layout)

    def _write_notes(self, prompts: str, arm: str, layout: str, attention: str) -> None:
        from dataclasses import asdict

        notes = {
            "layout": layout,
            "attention": attention,
            "checks": [asdict(c) for c in self.checks],
        }
        self.lab.store.put_json(self._notes_key(prompts, arm), notes)

    def _measure_role(
        self,
        loaded: LoadedModel,
        prompts: str,
        arm: str,
        role: str,
        names: set[str],
        layout: str,
        *,
        shuffle: int | None = None,
    ) -> None:
        for name, array in self._arrays(loaded, prompts, arm, names, layout, shuffle).items():
            self.lab.store.put(self._key(REGISTRY[name], prompts, arm, role), array)

    def _arrays(
        self,
        loaded: LoadedModel,
        prompts: str,
        arm: str,
        names: set[str],
        layout: str,
        shuffle: int | None,
    ) -> dict[str, Any]:
        from refutable.capture.measure import measure
        from refutable.models.sites import find_sites

        items = [REGISTRY[name] for name in sorted(names)]
        found: dict[str, Any] = {}
        recorded = [item for item in items if item.recorder is not None]
        encoded = None
        if any(item.per_prompt for item in items):
            encoded = self._encoded(loaded, prompts, arm, shuffle)
        if recorded:
            sites = find_sites(loaded.model)
            found |= measure(loaded.model, sites, encoded, recorded, layout=layout)
        for item in items:
            if item.experiment is not None:
                found[item.name] = item.experiment(loaded, encoded if item.per_prompt else None)
            elif item.weights is not None:
                found[item.name] = item.weights(_weights_of(loaded))
        return found


def _weights_of(loaded: LoadedModel) -> Any:
    from refutable.observables.weights.reading import WeightReader

    return WeightReader.of(loaded)
