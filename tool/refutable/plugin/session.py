"""What one pytest session knows: options, claims, the harness, results."""

from __future__ import annotations

import gc
import os
import time
import warnings
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from refutable.errors import RefutableError, one_line
from refutable.evaluation.outcome import CellOutcome
from refutable.evidence import baseline
from refutable.evidence.drift import Recorded, record_of
from refutable.falsify.counterexamples import FOLDER, LOCAL, CounterexampleStore
from refutable.measurement.needs import members_of, needs_of
from refutable.observables.registry import REGISTRY
from refutable.plugin.cases import MESSAGE, OUTCOME, cell_of, claim_of
from refutable.plugin.live import RunProgress
from refutable.plugin.options import Options, read_options
from refutable.plugin.process import share_cores, start_engine
from refutable.plugin.registering import Registrar
from refutable.plugin.results import RunResults
from refutable.plugin.selection import check, is_skipped, names_of
from refutable.plugin.terminal import explain
from refutable.records import Evidence, Verdict
from refutable.spec.cell import DEFAULT_PROMPTS, Cell, cells_of
from refutable.spec.claim import Claim, ClaimRegistry
from refutable.spec.claim_files import file_of
from refutable.spec.prompts import PromptLibrary
from refutable.system.paths import shipped_baseline, writable
from refutable.system.plugins import shared_data

if TYPE_CHECKING:
    from refutable.evaluation.observation_log import ObservationLog
    from refutable.falsify.attack import Attacker
    from refutable.measurement.engine import Engine
    from refutable.measurement.harness import Harness
    from refutable.measurement.needs import Need
    from refutable.measurement.state import Settings

SESSION = pytest.StashKey["ClaimSession"]()
RUN = "refutable_run"
"""Under which an xdist worker is told the name of its run."""


class ClaimMoved(UserWarning):
    """A verdict moved to or from INCONCLUSIVE against the baseline, or an estimate left it."""


class ClaimSession:
    """The state of one pytest run; every hook is a short call into it.

    Parameters
    ----------
    config : pytest.Config
        The run's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.options: Options = read_options(config)
        self.claims = ClaimRegistry()
        self.started = time.time()
        self.results = RunResults()
        self.evidence: Evidence | None = None
        part = f"{os.getpid()}-{time.time_ns()}"
        self.run: str = getattr(config, "workerinput", {}).get(RUN, part)
        self.notes: list[str] = []
        self.problem, self.interrupted = "", False
        self.progress = RunProgress(config)
        self.planned_items = 0
        self._harness: Harness | None = None
        self._current_model = ""
        self._met: set[str] = set()
        self._planned: list[Need] = []
        self._items: list[pytest.Item] = []
        self._engine: Engine | None = None

    @cached_property
    def log(self) -> ObservationLog:
        """Rows of what was observed."""
        from refutable.evaluation.observation_log import ObservationLog

        return ObservationLog(
            self.harness, self.prompts, self.options.out, self.run, is_worker=self.is_worker
        )

    # -- where things lie --------------------------------------------------------------------

    @property
    def data_folders(self) -> list[Path]:
        """Folders that suites contribute, then those of plugins, then the package's own."""
        given = self.config.hook.pytest_refutable_data(config=self.config)
        named = [Path(folder) for folder in given if folder is not None]
        return [*named, *shared_data()]

    @property
    def is_worker(self) -> bool:
        """Whether this is an xdist worker."""
        return hasattr(self.config, "workerinput")

    @property
    def models(self) -> tuple[str, ...]:
        """Ids of the models that single-model claims run on."""
        return tuple(self._names)

    @cached_property
    def _names(self) -> dict[str, str]:
        """Model ids to what the user called them; a folder is known by its name alone."""
        return names_of(self.options.models)

    @property
    def named(self) -> dict[str, str] | None:
        """The models of the run, where the user named any; a claim about groups asks for it."""
        return self._names if self.options.models else None

    @cached_property
    def prompts(self) -> PromptLibrary:
        """Prompt sets by name, each read once."""
        return PromptLibrary(self.data_folders, base=self.config.invocation_params.dir)

    @property
    def settings(self) -> Settings:
        """How the run measures."""
        return self.options.settings

    @property
    def harness(self) -> Harness:
        """The owner of models, made when first needed."""
        if self._harness is None:
            from refutable.measurement.harness import open_harness

            share_cores(self.config)
            say, settings = self.progress.say, self.settings
            self._harness = open_harness(self.prompts, settings, models=self.named, say=say)
        return self._harness

    def name_of(self, model: str) -> str:
        """Return what the user called a model of the run."""
        return self._names.get(model, model)

    # -- collection --------------------------------------------------------------------------

    def cells(self, claim: Claim) -> list[Cell]:
        """Return the cells of a claim in this run."""
        self._met.add(claim.id)
        models = self.models
        if claim.default_models and not self.options.models:
            models = claim.default_models
        if claim.predicts.grouped:
            groups = members_of(claim, self.named)
            models = tuple(m for members in groups.values() for m in members.values())
        options = self.options
        prompts = options.prompts or self.prompts.beside(claim.prompts, file_of(claim))
        return cells_of(claim, models, prompts=prompts, arms=options.arms)

    def check_selection(self) -> None:
        """Refuse options that select nothing; see `refutable.plugin.selection.check`."""
        check(self.config, self.options, self._met)

    def plan(self, items: Iterable[pytest.Item]) -> None:
        """Hand the union of what the selected items need to the harness."""
        needs: list[Need] = []
        for item in items:
            claim, cell = claim_of(item), cell_of(item)
            if claim is None or cell is None:
                continue
            self.claims.add(claim)
            self.planned_items += 1
            self._items.append(item)
            self.progress.plan(item.nodeid, cell.model)
            if not is_skipped(item):
                needs.extend(needs_of(claim, cell, self.named, self.prompts))
        self.claims.freeze(o.name for o in REGISTRY)
        option = self.config.option
        if needs and not option.collectonly and not option.setupplan:
            self.kept.freeze()
            if self.options.release:
                prompts = self.options.prompts or DEFAULT_PROMPTS
                self.harness.releases = dict.fromkeys(self.models, prompts)
            self.harness.plan(needs)
            self._planned = needs

    def begin(self, collected: int) -> None:
        """Start the work, now that it is certain that items, so many of all kinds, are run.

        Raises
        ------
        RefutableError
            If it could not be written down at the end, or its verdicts not be compared: better
            told now than after everything has been measured.
        """
        if not self._planned:
            return
        # What collection made lives to the end; going over it again took 6 % of a warm run.
        gc.freeze()
        writable(self.options.out, "name another folder with --claim-out")
        self.registrar.register(self._items, run=True, recorded=self._baseline)
        if not self.is_worker:
            self.progress.start(collected)
            engine = self.options.engine
            self._engine = start_engine(self.config, self.harness, self._planned, engine)

    @cached_property
    def registrar(self) -> Registrar:
        """Who writes claims down before they are measured."""
        return Registrar(self.options.base, self.prompts)

    def register(self) -> None:
        """Write down what the selected claims say; measure nothing."""
        self.notes += [self.registrar.told(self._items, self._baseline)]

    def finish(self) -> None:
        """End what measures beside this process: no item is left that would read it."""
        self.progress.stop()
        if self._engine is not None:
            self._engine.end()

    # -- one item ----------------------------------------------------------------------------

    def prepare(self, item: pytest.Item) -> None:
        """Measure and evaluate an item before its test is called.

        Raises
        ------
        pytest.skip.Exception
            If the claim does not apply to the model.
        pytest.fail.Exception
            In one line, if the model, the instrument or the environment failed: pytest reports
            an error, never a refutation.
        """
        claim, cell = claim_of(item), cell_of(item)
        if claim is None or cell is None or item.config.option.setupplan:
            return
        started = time.perf_counter()
        failed = False
        try:
            outcome = self._evaluate(claim, cell)
        except RefutableError as problem:
            failed = True
            outcome = CellOutcome(cell, claim, reason=one_line(problem))
        outcome.seconds = time.perf_counter() - started
        item.stash[OUTCOME] = outcome
        # Raised outside the handler: a traceback that is kept must not keep a model alive.
        if failed:
            pytest.fail(self.results.once(item.nodeid, cell.model, outcome.reason), pytrace=False)
        if outcome.evaluation is None:
            pytest.skip(outcome.reason)

    def _evaluate(self, claim: Claim, cell: Cell) -> CellOutcome:
        from refutable.evaluation.cell import evaluate_cell

        self._leave_model(cell)
        outcome = evaluate_cell(
            claim,
            cell,
            self.harness,
            self.prompts,
            watch=lambda model, values, controls: self.log.keep_member(
                claim, cell, model, (values, *controls)
            ),
        )
        self.log.keep(outcome)
        if not cell.grouped and outcome.evaluation is not None:
            outcome = self._attacked(outcome)
        return outcome

    def _attacked(self, outcome: CellOutcome) -> CellOutcome:
        from refutable.falsify.verdict import attacked

        if not self.attacker.wants(outcome.claim):
            return outcome
        return attacked(outcome, self.attacker)

    @cached_property
    def kept(self) -> CounterexampleStore:
        """Counterexamples that were found before."""
        shipped = [folder / FOLDER for folder in self.data_folders]
        return CounterexampleStore(self.options.base / LOCAL, shipped)

    @cached_property
    def attacker(self) -> Attacker:
        """What searches for counterexamples, and knows those that were found before."""
        from refutable.falsify.attack import Attacker

        options = self.options
        return Attacker(self.harness, self.kept, options.search, certify=options.certify)

    def _leave_model(self, cell: Cell) -> None:
        # Arrays of the model before are dropped from memory; the store has them.
        if cell.model != self._current_model:
            if self._current_model and self._harness is not None:
                self._harness.forget(self._current_model)
                if "attacker" in vars(self):  # made when first asked for
                    self.attacker.leave()
            self._current_model = "" if cell.grouped else cell.model
            if self._engine is not None:
                for model in cell.models:
                    self._engine.bring(model)

    def conclude(self, item: pytest.Item) -> bool:
        """Let the test of an evaluated claim pass or fail against the baseline.

        Returns
        -------
        bool
            False for an ordinary test, which pytest then calls itself.
        """
        outcome = item.stash.get(OUTCOME, None)
        if outcome is None or outcome.evaluation is None:
            return False
        if self.options.update_baseline or self.options.measure_only:
            return True
        judgement = outcome.evaluation.judgement
        drifted = baseline.compare(
            record_of(judgement.decision.verdict, judgement.estimate),
            self._recorded(outcome),
            strict=self.options.strict,
            anew=outcome.claim.kind == "training" and "committed" not in outcome.sources,
            unrecorded_passes=self.options.unrecorded_passes,
        )
        item.stash[MESSAGE] = drifted.message
        if drifted.moved:
            where = f"{outcome.claim.id} on {outcome.cell.label}"
            warnings.warn(ClaimMoved(f"{where}: {drifted.message}"), stacklevel=2)
        if not drifted.passes:
            pytest.fail(explain(outcome, drifted.message), pytrace=False)
        return True

    def expected(self, outcome: CellOutcome) -> Verdict | None:
        """Return the verdict that the baseline records for an item."""
        recorded = self._recorded(outcome)
        return recorded.verdict if recorded is not None else None

    def _recorded(self, outcome: CellOutcome) -> Recorded | None:
        cell = outcome.cell
        prompts = self.prompts.label(cell.prompts)
        place = baseline.Cell(outcome.claim.id, cell.model, prompts, cell.arm)
        return self._baseline.get(place)

    @cached_property
    def _baseline(self) -> dict[baseline.Cell, Recorded]:
        # What the suite itself found on its own models travels with it; the user's record wins.
        return {**baseline.load(shipped_baseline()), **baseline.load(self.options.baseline)}
