"""The observations of one model: their keys, what is stored of them, and what is missing."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from refutable.errors import InstrumentError, NotAvailableError, NotHereError
from refutable.measurement.control_prompts import ENOUGH, thinned
from refutable.measurement.needs import ControlCopy, Plan
from refutable.measurement.room import DRAWN_BY_BLOCK, is_streamed
from refutable.measurement.state import COMMITTED, Sources, State
from refutable.models.large import (
    COPIES,
    ECONOMIES,
    ECONOMY,
    UNTRAINED,
    copies_read_less,
    is_large,
)
from refutable.models.sources import locate
from refutable.models.sources.twin import how_to_train
from refutable.observables.registry import REGISTRY, Observable
from refutable.records import InstrumentCheck
from refutable.store.store import ObservationKey

if TYPE_CHECKING:
    import xarray as xr

    from refutable.system.typing import Json

Groups = Mapping[tuple[str, str], Mapping[ControlCopy | None, set[str]]]


class ObservationArchive:
    """What is stored of one model's plan, read into its state; nothing is measured here.

    Parameters
    ----------
    sources : Sources
        The store, the committed observations, prompt sets and settings.
    state : State
        What is known of the model; arrays and the report are put here.
    plan : Plan
        The union of what the selected claims ask of it.
    """

    def __init__(self, sources: Sources, state: State, plan: Plan) -> None:
        self.store = sources.store
        self.committed = sources.committed
        self.settings = sources.settings
        self.prompts = sources.prompts
        self._remarks = sources.remarks
        self.state = state
        self.checks: list[InstrumentCheck] = []
        self.replay = False
        """Whether committed values may stand for all that is asked of a model with weights."""
        self._not_here: dict[Any, str] = {}
        self._failed: dict[tuple[str, str, str, str], str] = {}
        self._others: dict[str, str] = {}
        self.groups: dict[tuple[str, str], dict[ControlCopy | None, set[str]]] = defaultdict(dict)
        for (prompts, arm, control), names in plan.wanted.items():
            self.groups[prompts, arm][control] = names
        if state.brought is not None:
            self._failed |= state.brought.failed
            for (prompts, arm, role, name), reason in state.brought.unavailable.items():
                key = self.key(REGISTRY[name], prompts, arm, role)
                self._not_here[self._reason_key(key)] = reason

    def lacking(self) -> str:
        """Say what is not committed of a model whose weights are not here."""
        names: set[str] = set()
        where = ""
        for (prompts, arm), by_control in self.groups.items():
            wanted = {n for n in by_control.get(None, ()) if not REGISTRY[n].recorded_with}
            missing = self.missing(prompts, arm, "", wanted)
            names |= missing
            where = f" on prompts {prompts} ({arm})" if missing else where
        spec = self.state.spec
        return (
            f"the weights of {spec.id} are not shipped, and {', '.join(sorted(names)[:3])} of it "
            f"is not committed{where}: train it with `{how_to_train(spec)}`"
        )

    def refuse_failed(self) -> None:
        """Stop when a check failed: nothing measured on this model counts."""
        failed = [f"{c.name}: {c.detail}" for c in self.checks if not c.passed]
        if failed:
            raise InstrumentError(
                f"{self.state.facts.id}: instrument check failed: {'; '.join(failed)}"
            )

    def keyed(self) -> Iterator[tuple[Any, Any]]:
        """Yield every array that was read with its key, and how the instrument was checked."""
        for (prompts, arm, role), arrays in self.state.arrays.items():
            for name, array in arrays.items():
                yield self.key(REGISTRY[name], prompts, arm, role), array
        for prompts, arm in self.groups:
            yield self._notes_key(prompts, arm), self.notes(prompts, arm)

    # -- the store ---------------------------------------------------------------------------

    def key(self, item: Observable, prompts: str, arm: str, role: str) -> ObservationKey:
        """Return the store's key of one array; facts of the model alone have no prompts."""
        report, settings = self.state.report, self.settings
        # An untrained control depends on the config and its seed alone.
        untrained = role.startswith("untrained-")
        return ObservationKey(
            weights=self.state.config_digest if untrained else report.weights_digest,
            tokenizer=report.tokenizer_digest,
            prompts=self.prompts(prompts).content_hash if item.per_prompt else "",
            arm=self._arm(prompts, arm, role) if item.per_prompt else "",
            observable=item.name,
            version=item.version,
            dtype=settings.dtype,
            device=settings.device.split(":")[0],
            role=role,
            extra=self._extra(item, role),
        )

    def _arm(self, prompts: str, arm: str, role: str) -> str:
        """Return the arm, marked where prompts bring a BOS token of their own, or some are left.

        Such a token used to be doubled or left in; what was stored of it then is not read.
        """
        spec, facts = self.state.spec, self.state.facts
        if self.prompts(prompts).may_begin_with(facts.bos):
            arm = f"{arm}, own BOS left out"
        if role.startswith("untrained-") and is_streamed(self.state, self.settings):
            arm = f"{arm}, {DRAWN_BY_BLOCK}"
        return f"{arm}, {ENOUGH} in all" if thinned(role, spec, facts) else arm

    def _extra(self, item: Observable, role: str) -> str:
        """What else the numbers depend on: other models, or that less is read."""
        others = self._compared_with(item) or item.code
        spec, facts = self.state.spec, self.state.facts
        if item.economical and is_large(facts):
            return f"{others}large-{ECONOMIES.get(item.name, ECONOMY)}"
        if item.economical and role.startswith(UNTRAINED) and copies_read_less(spec, facts):
            return f"{others}copies-{COPIES}"
        return others

    def _compared_with(self, item: Observable) -> str:
        """Digest of the other models that an observable depends on; empty without any."""
        if item.compared_with is None:
            return ""
        if item.name not in self._others:
            digests = [locate(spec).weights_digest for spec in item.compared_with()]
            self._others[item.name] = hashlib.sha256("".join(digests).encode()).hexdigest()
        return self._others[item.name]

    def missing(self, prompts: str, arm: str, role: str, names: Iterable[str]) -> set[str]:
        """Names of the arrays that the store does not hold."""
        return {
            name
            for name in names
            if (key := self.key(REGISTRY[name], prompts, arm, role)) not in self.store
            and self._reason(key) is None
            and (prompts, arm, role, name) not in self._failed
            and not self._is_committed(key, name, role)
            and not (self.replay and REGISTRY[name].recorded_with)
        }

    def _replays(self, name: str, role: str) -> bool:
        """Whether a committed value may stand for a measurement of this run.

        Only where there are no weights, for untrained copies (they follow from the config), and
        for what only the checkpoints of training show.
        """
        if self.committed is None:
            return False
        return (
            self.replay
            or not self.state.weights_available
            or role.startswith("untrained-")
            or REGISTRY[name].of_training
        )

    def _is_committed(self, key: ObservationKey, name: str, role: str) -> bool:
        committed = self.committed
        return committed is not None and self._replays(name, role) and key in committed

    def put(self, name: str, prompts: str, arm: str, role: str, array: xr.DataArray) -> None:
        """Store one array."""
        self.store.put(self.key(REGISTRY[name], prompts, arm, role), array)

    def put_reason(
        self, name: str, prompts: str, arm: str, role: str, problem: NotAvailableError
    ) -> None:
        """Keep why a model does not have an observable; for this run alone if that may change."""
        key = self._reason_key(self.key(REGISTRY[name], prompts, arm, role))
        if isinstance(problem, NotHereError):
            self._not_here[key] = str(problem)
        else:
            self.store.put_json(key, {"not available": str(problem)})

    def unavailable(self, prompts: str, arm: str, role: str, names: Iterable[str]) -> set[str]:
        """Names of the observables of which it is known why the model does not have them."""
        return {
            name
            for name in names
            if self._reason(self.key(REGISTRY[name], prompts, arm, role)) is not None
        }

    def put_failure(self, name: str, prompts: str, arm: str, role: str, told: str) -> None:
        """Keep for this run that measuring an observable failed, and how."""
        self._failed[prompts, arm, role, name] = told

    def _reason(self, key: ObservationKey) -> str | None:
        """Return why a model does not have an observable, if it was found out."""
        key = self._reason_key(key)
        stated = self.store.get_json(key)
        return self._not_here.get(key) if stated is None else str(stated["not available"])

    def _reason_key(self, key: ObservationKey) -> ObservationKey:
        # What lies beside the weights counts too, such as the record of their training: the same
        # weights in another folder may have what they lack in this one.
        spec = self.state.spec
        return replace(key, extra=f"{spec.source}:{spec.location}:{key.extra}")

    def put_notes(self, prompts: str, arm: str, layout: str, attention: str) -> None:
        """Store how prompts were batched, and every check made so far."""
        notes: dict[str, Json] = {
            "layout": layout,
            "attention": attention,
            "checks": [asdict(c) for c in self.checks],
        }
        self.store.put_json(self._notes_key(prompts, arm), notes)

    def notes(self, prompts: str, arm: str) -> dict[str, Any] | None:
        """Return what `put_notes` stored for prompts and arm."""
        key = self._notes_key(prompts, arm)
        notes = self.store.get_json(key)
        lacks_weights = self.replay or not self.state.weights_available
        if notes is None and lacks_weights and self.committed is not None:
            notes = self.committed.get_json(key)
        return notes

    def _notes_key(self, prompts: str, arm: str) -> ObservationKey:
        return self.key(Observable("instrument-notes", "", (), "", 1), prompts, arm, "notes")

    def read(self) -> bool:
        """Read all that is planned; False when something is missing."""
        self.checks = []
        self.state.forget()
        self.state.replayed.clear()
        self.state.unavailable.clear()
        self.state.failed.clear()
        for (prompts, arm), by_control in self.groups.items():
            for control, names in by_control.items():
                role = control.name if control else ""
                if not self._read_role(prompts, arm, role, names, needed=True):
                    return False
            if not self._read_checks(prompts, arm, by_control.get(None, set())):
                return False
        return True

    def _read_checks(self, prompts: str, arm: str, names: set[str]) -> bool:
        recorded = recorded_only(names)
        if not measured_on_a_model(names):
            return True
        notes = self.notes(prompts, arm)
        if notes is None:
            return False
        for role in ("check-chosen", "check-single"):
            self._read_role(prompts, arm, role, recorded, needed=False)
        known = {c.name for c in self.checks}
        checks = [InstrumentCheck(**raw) for raw in notes["checks"]]
        self.checks += [check for check in checks if check.name not in known]
        if notes["layout"] != "none" or not self.state.report.layout:
            self.state.report = replace(
                self.state.report, layout=notes["layout"], attention=notes["attention"]
            )
        return True

    def _read_role(
        self, prompts: str, arm: str, role: str, names: Iterable[str], *, needed: bool
    ) -> bool:
        arrays = {}
        for name in sorted(names):
            key = self.key(REGISTRY[name], prompts, arm, role)
            array = self.store.get(key)
            if array is None and self.committed is not None and self._replays(name, role):
                array = self.committed.get(key)
                if array is not None:
                    self.state.replayed.add((prompts, arm, role))
                    array.attrs[COMMITTED] = True
            if array is None and (reason := self._reason(key)) is not None:
                self.state.unavailable[prompts, arm, role, name] = reason
                continue
            if array is None and (failure := self._failed.get((prompts, arm, role, name))):
                self.state.failed[prompts, arm, role, name] = failure
                continue
            if array is None:
                # What only illustrates is not committed.
                live = self.state.weights_available and not self.replay
                if needed and (live or not REGISTRY[name].recorded_with):
                    return False
                continue
            arrays[name] = self._remarks.label(array, self.prompts(prompts))
        if arrays or needed:
            self.state.arrays[prompts, arm, role] = arrays
        return True


def recorded_only(names: Iterable[str]) -> set[str]:
    """Names of the observables that the packed pass records."""
    return {name for name in names if REGISTRY[name].recorder is not None}


def apart(names: Iterable[str]) -> set[str]:
    """Names of the experiments that take passes of their own, and nothing of the packed one."""
    items = (REGISTRY[name] for name in names)
    return {i.name for i in items if i.experiment is not None and not i.last_states}


def apart_by_module(names: Iterable[str]) -> dict[str, set[str]]:
    """Group these by where they are defined: what two of one module find out serves both."""
    by_module: dict[str, set[str]] = {}
    for item in sorted((REGISTRY[name] for name in apart(names)), key=lambda i: (i.turn, i.name)):
        by_module.setdefault(str(getattr(item.experiment, "__module__", "")), set()).add(item.name)
    return by_module


def measured_on_a_model(names: Iterable[str]) -> set[str]:
    """Names of the observables that need the model itself, not its weights alone."""
    return {name for name in names if REGISTRY[name].weights is None}
