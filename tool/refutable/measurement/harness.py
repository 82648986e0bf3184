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

from refutable.errors import InstrumentError, ModelError, NotMeasurableError, RefutableError
from refutable.evaluation.evaluate import Observations, Subject
from refutable.observables.registry import REGISTRY
from refutable.records import ModelFacts, ModelReport
from refutable.spec.claim import Claim
from refutable.spec.prompts import PromptSet

if TYPE_CHECKING:
    from refutable.models.spec import ModelSpec
    from refutable.store.committed import Committed, CommittedModel
    from refutable.store.store import Store


_KEPT_BYTES = 1 << 28
"""Size of measured arrays above which a model's are dropped when it is left."""


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
    controlled: bool = True
    """Whether the null controls are measured too; of a group of seeds one member has them."""

    @property
    def observables(self) -> frozenset[str]:
        """Names of the stored observables that the claim and its replication rest on."""
        return REGISTRY.recorded({*self._asked, *self.claim.beside})

    @property
    def of_controls(self) -> frozenset[str]:
        """The same without what only illustrates them: it is not drawn of null controls."""
        return REGISTRY.recorded(self._asked, drawn=False)

    @property
    def _asked(self) -> set[str]:
        import inspect

        names = set(self.claim.observables)
        if self.claim.replication is not None:
            names |= set(inspect.signature(self.claim.replication.body).parameters)
        if self.claim.control is not None:
            names |= set(self.claim.control.observables)
        return names

    @property
    def controls(self) -> tuple[Control, ...]:
        """The null controls to measure; a placebo is read off the model's own observables."""
        spec = self.claim.control if self.controlled else None
        if spec is None or spec.body is not None:
            return ()
        return tuple(Control(spec.kind, s) for s in range(spec.seeds))


@dataclass(slots=True)
class Plan:
    """The union of what is asked of one model: (prompts, arm, control) to observables."""

    wanted: dict[tuple[str, str, Control | None], set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )

    def add(self, need: Need) -> None:
        """Take up one claim's needs; what only illustrates is not measured on controls."""
        for control in (None, *need.controls):
            names = need.observables if control is None else need.of_controls
            self.wanted[need.prompts, need.arm, control] |= names


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure."""

    device: str = "cpu"
    dtype: str = "float32"
    revision: str | None = None


@dataclass(slots=True)
class State:
    """What is known of one model in this run."""

    spec: ModelSpec
    facts: ModelFacts
    report: ModelReport
    config_digest: str
    arrays: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    error: str = ""
    measured: bool = False
    nbytes: int = 0
    """Size of `arrays`."""
    at_hand: bool = True
    """Whether its weights are here; otherwise only its committed observations are."""
    replayed: set[tuple[str, str, str]] = field(default_factory=set)
    """Of `arrays`, those of which some come from the committed observations."""
    unavailable: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    """By (prompts, arm, role, observable): why the model does not have an observable."""


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
    name_of : callable, optional
        Turns a model's id into what `refutable.models.registry.resolve` takes, e.g. a path.
    committed : Committed, optional
        Observations of models whose weights are not shipped.
    """

    def __init__(
        self,
        store: Store,
        prompts: Callable[[str], PromptSet],
        settings: Settings,
        *,
        say: Callable[[str], None] = lambda line: None,
        name_of: Callable[[str], str] = lambda model: model,
        committed: Committed | None = None,
    ) -> None:
        self.store = store
        self.committed = committed
        self.settings = settings
        self.prompts = prompts
        self.say = say
        self.name_of = name_of
        self._needs: dict[str, list[Need]] = defaultdict(list)
        self._states: dict[str, State] = {}
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
        for role in ("", *(control.name for control in need.controls)):
            for name in sorted(need.observables):
                reason = state.unavailable.get((need.prompts, need.arm, role, name))
                if reason is not None and not REGISTRY[name].drawn_with:
                    raise NotMeasurableError(f"{name} of {need.model}: {reason}")
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
            control_names=tuple(
                f"{need.model}@{c.name}{self._label(state, prompts, arm, c)}" for c in controls
            ),
            check=(checks[0], checks[1]) if len(checks) == 2 else None,
            dtype=self.settings.dtype,
        )

    @staticmethod
    def _label(state: State, prompts: str, arm: str, control: Control) -> str:
        return " (committed)" if (prompts, arm, control.name) in state.replayed else ""

    def arrays(self, model: str) -> Mapping[tuple[str, str, str], Mapping[str, Any]]:
        """All arrays of a model by (prompts, arm, role); role is empty for the model itself."""
        state = self._states.get(model)
        return state.arrays if state else {}

    def forget(self, model: str) -> None:
        """Drop a model's arrays when those of all models fill memory; the store keeps them.

        Claims over training seeds come back to the same models again and again.
        """
        state = self._states.get(model)
        held = sum(one.nbytes for one in self._states.values() if one.measured)
        if state is not None and held > _KEPT_BYTES:
            state.arrays.clear()
            state.measured = False

    def _observations(
        self, state: State, prompts: str, arm: str, role: str, names: frozenset[str]
    ) -> Observations:
        arrays = state.arrays[prompts, arm, role]
        return Observations({name: arrays[name] for name in names if name in arrays})

    def state(self, model: str) -> State:
        """Return what is known of a model, found out when first asked for; see `facts`."""
        if model in self._broken:
            raise ModelError(self._broken[model])
        if model not in self._states:
            from refutable.models.identify import identify
            from refutable.models.registry import resolve

            try:
                spec = resolve(self.name_of(model), revision=self.settings.revision)
                known = self.replayable(spec)
                identity = known or identify(spec)
            except RefutableError as problem:
                self._broken[model] = str(problem)
                raise
            facts = replace(identity.facts, id=model)
            self._states[model] = State(
                spec,
                facts,
                ModelReport(
                    id=model,
                    source=spec.source,
                    weights_digest=identity.weights_digest,
                    tokenizer_digest=identity.tokenizer_digest,
                    facts=facts,
                    device=self.settings.device,
                    dtype=self.settings.dtype,
                ),
                identity.config_digest,
                at_hand=known is None,
            )
        return self._states[model]

    def replayable(self, spec: ModelSpec) -> CommittedModel | None:
        """Return what is committed of a model, if its weights are not at hand."""
        from refutable.models.sources import at_hand

        if self.committed is None or at_hand(spec):
            return None
        found = self.committed.model(spec.id)
        if found is None:
            return None
        facts = replace(found.facts, group=spec.group, seed=spec.seed, tags=spec.tags)
        return replace(found, facts=facts)

    def measure(self, model: str) -> State:
        """Measure what the plan asks of a model, or read it from the store."""
        state = self.state(model)
        if state.error:
            raise InstrumentError(state.error)
        if not state.measured:
            from refutable.measurement.archive import Measuring

            started = time.perf_counter()
            try:
                Measuring(self, state, self.plan_for(model)).complete()
            except RefutableError as problem:
                state.error = str(problem)
                state.report = replace(state.report, error=state.error)
                raise
            state.measured = True
            state.nbytes = sum(a.nbytes for found in state.arrays.values() for a in found.values())
            state.report = replace(state.report, seconds=time.perf_counter() - started)
        return state

    def plan_for(self, model: str) -> Plan:
        """Return the union of what is asked of a model."""
        plan = Plan()
        for need in self._needs[model]:
            if not_applicable(need, self.facts(model)) is None:
                plan.add(need)
        return plan


def not_applicable(need: Need, facts: ModelFacts) -> str | None:
    """Return why a claim does not speak about a model in an arm, or ``None`` if it does."""
    if need.arm == "bos" and facts.bos is None:
        return f"{facts.id} has no BOS token, so it has no BOS arm"
    return need.claim.models.reason(facts)
