"""Completing one model's plan: read what is stored, measure only what is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from refutable.errors import InstrumentError
from refutable.laboratory import Control, Laboratory, Plan, State
from refutable.observables.registry import REGISTRY, Observable
from refutable.records import InstrumentCheck

if TYPE_CHECKING:
    from refutable.models.load import LoadedModel

Groups = Mapping[tuple[str, str], Mapping[Control | None, set[str]]]


class Measuring:
    """Completes one model's plan from the store, loading the model only for what is missing."""

    def __init__(self, lab: Laboratory, state: State, plan: Plan) -> None:
        self.lab = lab
        self.state = state
        self.plan = plan
        self.loaded: LoadedModel | None = None
        self._sites: tuple[LoadedModel, Any] | None = None
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
            self._sites = None
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
            prompts=self.lab.prompts(prompts).content_hash if item.per_prompt else "",
            arm=arm if item.per_prompt else "",
            observable=item.name,
            version=item.version,
            dtype=settings.dtype,
            device=settings.device.split(":")[0],
            role=role,
        )

    def _read(self, groups: Groups) -> bool:
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
            found[name] = self._with_remarks(array, prompts)
        if found or needed:
            self.state.arrays[prompts, arm, role] = found
        return True

    def _with_remarks(self, array: Any, prompts: str) -> Any:
        """Put the remarks of each prompt's family (register, kind, ...) along ``prompt``."""
        if "prompt" not in array.dims:
            return array
        families = self.lab.prompts(prompts).families
        keys = sorted({key for remarks in families.values() for key in remarks})
        names = [str(name) for name in array["family"].values]
        return array.assign_coords(
            {key: ("prompt", [families[n].get(key, "") for n in names]) for key in keys}
        )

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

    def _measure(self, groups: Groups) -> None:
        from refutable.models.load import load

        facts, settings = self.state.facts, self.lab.settings
        self.lab.say(
            f"measuring {facts.id} ({facts.blocks} blocks, {facts.parameters:,} parameters)"
        )
        loaded = load(self.state.spec, device=settings.device, dtype=settings.dtype)
        self.checks = list(loaded.checks)
        self._refuse_failed()
        self.loaded = loaded
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
        groups: Groups,
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
            self.lab.say(f"measuring control {control.name} of {self.state.facts.id}")
            for (prompts, arm), by_control in groups.items():
                if control in by_control:
                    self._measure_role(
                        copy, prompts, arm, control.name, by_control[control], layouts[prompts, arm]
                    )
            del copy

    def _control_is_stored(
        self,
        groups: Groups,
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
            self.lab.prompts(prompts), loaded.tokenizer, loaded.facts, arm, shuffle_seed=shuffle
        )

    def _check(self, prompts: str, arm: str, names: set[str]) -> str:
        from refutable.instrument import check

        assert self.loaded is not None  # noqa: S101  (set by _measure just before)
        recorded = [REGISTRY[name] for name in sorted(self._recorded(names))]
        if not recorded:
            self._write_notes(prompts, arm, "none", "none")
            return "none"
        encoded = self._encoded(self.loaded, prompts, arm, None)
        found = check(self.loaded, self._sites_of(self.loaded), encoded, recorded)
        tag = f" [{prompts}, {arm}]"
        self.checks += [replace(c, name=c.name + tag) for c in found.checks]
        self._refuse_failed()
        for role, arrays in (("check-chosen", found.packed), ("check-single", found.reference)):
            for name, array in arrays.items():
                self.lab.store.put(self._key(REGISTRY[name], prompts, arm, role), array)
        self._write_notes(prompts, arm, found.layout, found.attention)
        return str(found.layout)

    def _write_notes(self, prompts: str, arm: str, layout: str, attention: str) -> None:
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

        items = [REGISTRY[name] for name in sorted(names)]
        found: dict[str, Any] = {}
        recorded = [item for item in items if item.recorder is not None]
        encoded = None
        if any(item.per_prompt for item in items):
            encoded = self._encoded(loaded, prompts, arm, shuffle)
        if recorded:
            sites = self._sites_of(loaded)
            found |= measure(loaded.model, sites, encoded, recorded, layout=layout)
        for item in items:
            if item.experiment is not None:
                found[item.name] = item.experiment(loaded, encoded if item.per_prompt else None)
            elif item.weights is not None:
                found[item.name] = item.weights(_weights_of(loaded))
        return found


    def _sites_of(self, loaded: LoadedModel) -> Any:
        # Finding sites runs the model, so it is done once for each set of weights.
        from refutable.models.sites import find_sites

        if self._sites is None or self._sites[0] is not loaded:
            self._sites = (loaded, find_sites(loaded.model))
        return self._sites[1]


def _weights_of(loaded: LoadedModel) -> Any:
    from refutable.observables.weights.reading import WeightReader

    return WeightReader.of(loaded)
