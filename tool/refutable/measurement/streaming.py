"""Measuring a model that does not fit in memory: block by block, in one sweep for all prompts.

The instrument is checked on the model's first blocks, which hold one block of every kind and are in
memory whole for that long; that a sweep gives what these give whole is one more check. How prompts
share passes is then compared with single prompts on all blocks, in the sweep itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from refutable.capture.compare import BOUNDS, compare
from refutable.capture.measure import measure
from refutable.capture.packing import choose
from refutable.capture.sweep import Job, sweep
from refutable.errors import NotHereError
from refutable.measurement.archive import ObservationArchive, measured_on_a_model, recorded_only
from refutable.measurement.control_prompts import few_of_each_family, thinned
from refutable.measurement.needs import ControlCopy
from refutable.measurement.room import needed, room
from refutable.measurement.runner import ModelRunner
from refutable.measurement.units import Unit
from refutable.models.build import read_tokenizer
from refutable.models.load import LoadedModel
from refutable.models.sites import Sites
from refutable.models.sources import locate
from refutable.models.streamed import StreamedModel, missing_tensors
from refutable.models.weights.reading import WeightReader
from refutable.observables.registry import REGISTRY
from refutable.records import InstrumentCheck
from refutable.system.progress import Say

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.encode import Encoded
    from refutable.observables.record import Observable

_EQUAL = {"float32": 1e-5}
"""Largest relative difference of a sweep and a whole pass; elsewhere a tenth of the bound."""
_WIDEST = 10**9


@dataclass(frozen=True, slots=True)
class _Task:
    """One set of prompts in one arm and role."""

    prompts: str
    arm: str
    role: str
    encoded: Encoded
    items: tuple[Observable, ...]
    layout: str


class StreamedRunner(ModelRunner):
    """Measures a model that is never whole in memory, and its untrained copies likewise."""

    def __init__(self, archive: ObservationArchive, say: Say) -> None:
        super().__init__(archive, say)
        self._reader = WeightReader.from_spec(self.state.spec)
        self._reader.reuse_memory()
        self._streamed = StreamedModel(self._reader, archive.settings.dtype)
        first = self._streamed.representative
        self._part = StreamedModel(self._reader, archive.settings.dtype, blocks=first)
        self._every_site: Sites | None = None

    # -- the model itself --------------------------------------------------------------------

    def _model(self) -> LoadedModel:
        """The first blocks, as a model of their own; filled while they are looked at."""
        if self._loaded is None:
            state, settings = self.state, self.archive.settings
            size = f"{needed(state, settings) / _WIDEST:.1f} GB"
            self.say(
                f"measuring {state.facts.id} block by block ({state.facts.blocks} blocks, "
                f"{state.facts.parameters:,} parameters: {size} whole, "
                f"{room(settings) / _WIDEST:.1f} GB may be used)"
            )
            self._loaded = LoadedModel(
                spec=state.spec,
                model=self._part.model,
                tokenizer=read_tokenizer(state.spec, locate(state.spec)),
                facts=state.facts,
                weights_digest=state.report.weights_digest,
                tokenizer_digest=state.report.tokenizer_digest,
                device=settings.device,
                dtype=settings.dtype,
                checks=(missing_tensors(self._reader, self._streamed),),
            )
            self.archive.checks = list(self._loaded.checks)
            self.archive.refuse_failed()
        return self._loaded

    def _sites_of_all(self) -> Sites:
        if self._every_site is None:
            loaded = self._model()
            with self._part.whole():
                self._every_site = self._streamed.sites_like(self._sites_of(loaded))
            self._reader.reuse_memory()
        return self._every_site

    def _units_of_model(self) -> list[Unit]:
        return [Unit("the model", self._on_the_model)]

    def _on_the_model(self) -> None:
        # A shuffled control is measured on the model itself, so it may be all that is missing.
        needed = (None, *self._controls("shuffled"))
        groups = self.archive.groups
        if not any(self._missing_on_model(*group, one) for group in groups for one in needed):
            return
        loaded, tasks = self._model(), []
        compared: tuple[_Task, dict[str, xr.DataArray]] | None = None
        with self._part.whole():
            self._every_site = self._streamed.sites_like(self._sites_of(loaded))
            for (prompts, arm), by_control in self.archive.groups.items():
                names = self._missing_on_model(prompts, arm, None)
                if names:
                    tasks.append(
                        self._task(prompts, arm, "", names - self._check(prompts, arm, names))
                    )
                for control in by_control:
                    if control is not None and control.kind == "shuffled":
                        lacking = self._missing_on_model(prompts, arm, control)
                        tasks.append(self._task(prompts, arm, control.name, lacking, control.seed))
            tasks = [task for task in tasks if task.items]
            if tasks:
                few = self._few(tasks[0])
                sites = self._sites_of(loaded)
                whole = measure(loaded.model, sites, few, tasks[0].items, layout=tasks[0].layout)
                compared = (tasks[0], whole)
        # What the first blocks took together is handed back: a sweep needs one at a time.
        self._reader.reuse_memory()
        if compared is not None:
            self._compare_whole(*compared)
            self._sweep(tasks)

    def _task(
        self, prompts: str, arm: str, role: str, names: set[str], shuffle: int | None = None
    ) -> _Task:
        items = tuple(REGISTRY[name] for name in sorted(recorded_only(names)))
        reason = NotHereError(
            f"{self.state.facts.id} is measured block by block, and this needs all of it in "
            "memory: give more room with --claim-memory, where there is any"
        )
        for name in measured_on_a_model(names) - recorded_only(names):
            self.archive.put_reason(name, prompts, arm, role, reason)
        encoded = self._encoded(self._model(), prompts, arm, shuffle)
        if thinned(role, self.state.spec, self.state.facts):
            encoded = few_of_each_family(encoded)
        return _Task(prompts, arm, role, encoded, items, self._layout(prompts, arm))

    def _few(self, task: _Task) -> Encoded:
        return task.encoded.only(sorted(choose([len(ids) for ids in task.encoded.ids])))

    def _compare_whole(self, task: _Task, whole: dict[str, xr.DataArray]) -> None:
        """Check that a sweep over the first blocks gives what they give in memory."""
        sites = self._sites_of(self._model())
        (swept,) = sweep(self._part, sites, [Job(self._few(task), task.items, task.layout)])
        difference = compare(swept, whole)
        dtype = self.archive.settings.dtype
        bound = _EQUAL.get(dtype, BOUNDS[dtype] / 10)
        count = len(self._part.structure.blocks)
        alike = f"the first {count} blocks give the same one by one and whole"
        detail = f"{alike}, to {difference.value:.1e}"
        if difference.value > bound:
            detail = (
                f"{difference.what} of the first {count} blocks differs by {difference.value:.1e}"
            )
        passed = difference.value <= bound
        self.archive.checks.append(
            InstrumentCheck("block by block", passed, difference.value, bound, detail)
        )
        self.archive.refuse_failed()

    def _sweep(self, tasks: list[_Task]) -> None:
        """Measure all prompts of the model in one sweep, and a few of each alone beside them."""
        of_model = [task for task in tasks if not task.role]
        jobs = [Job(task.encoded, task.items, task.layout) for task in tasks]
        for task in of_model:
            few = self._few(task)
            jobs += [Job(few, task.items, how, finite=False) for how in (task.layout, "single")]
        with self._ledger.of("one sweep"):
            swept = sweep(self._streamed, self._sites_of_all(), jobs)
        for task, arrays in zip(tasks, swept, strict=False):
            self._put(task, task.role, arrays)
        beside = swept[len(tasks) :]
        for place, task in enumerate(of_model):
            shared, alone = beside[2 * place : 2 * place + 2]
            self._put(task, "check-chosen", shared)
            self._put(task, "check-single", alone)
            self._compare_layout(task, shared, alone)

    def _compare_layout(
        self, task: _Task, shared: dict[str, xr.DataArray], alone: dict[str, xr.DataArray]
    ) -> None:
        difference, bound = compare(shared, alone), BOUNDS[self.archive.settings.dtype]
        passed = difference.value <= bound
        detail = f"{task.layout} equals single prompts to {difference.value:.1e} over all blocks"
        if not passed:
            detail = f"{difference.what} of {task.layout} prompts is off by {difference.value:.1e}"
        name = f"layout, all blocks [{task.prompts}, {task.arm}]"
        self.archive.checks.append(InstrumentCheck(name, passed, difference.value, bound, detail))
        self.archive.refuse_failed()
        notes = self.archive.notes(task.prompts, task.arm)
        assert notes is not None  # noqa: S101  (left by the check of these prompts)
        self.archive.put_notes(task.prompts, task.arm, notes["layout"], notes["attention"])

    def _put(self, task: _Task, role: str, arrays: dict[str, xr.DataArray]) -> None:
        for name, array in arrays.items():
            self.archive.put(name, task.prompts, task.arm, role, array)

    # -- null controls -----------------------------------------------------------------------

    def _on_a_control(self, control: ControlCopy) -> None:
        tasks = [
            self._task(*group, control.name, lacking)
            for group in self.archive.groups
            if (lacking := self._missing_on_model(*group, control))
        ]
        tasks = [task for task in tasks if task.items]
        if not tasks:
            return
        self.say(f"measuring control {control.name} of {self.state.facts.id}, drawn by block")
        copy = self._streamed.reading(self._reader.untrained(control.seed))
        jobs = [Job(task.encoded, task.items, task.layout) for task in tasks]
        with self._ledger.of("one sweep", role=control.name):
            swept = sweep(copy, self._sites_of_all(), jobs)
        for task, arrays in zip(tasks, swept, strict=True):
            self._put(task, control.name, arrays)
