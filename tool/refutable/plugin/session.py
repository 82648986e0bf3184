"""What one pytest session knows: options, claims, the laboratory, results."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from refutable.errors import RefutableError
from refutable.evaluation.outcome import CONCLUSION, Conclusion, Found
from refutable.evidence import baseline
from refutable.plugin.options import Options, one_line, read_options
from refutable.plugin.process import measure_ahead, say_line, share_cores
from refutable.plugin.selection import check, is_skipped, names_of
from refutable.records import Evidence, Verdict
from refutable.spec.cell import Case, case_of, cases_of, claim_of
from refutable.spec.claim import Claim, ClaimRegistry
from refutable.spec.prompts import PromptSet, known_prompts, load_prompts
from refutable.system.paths import writable

if TYPE_CHECKING:
    from refutable.evidence.table import Table
    from refutable.measurement.harness import Laboratory, Need
    from refutable.measurement.prefetch import Ahead

SESSION = pytest.StashKey["ClaimSession"]()
DEFAULT_PROMPTS = "battery"
RUN = "refutable_run"
"""Under which an xdist worker is told the name of its run."""


class ClaimMoved(UserWarning):
    """A verdict moved to or from INCONCLUSIVE against the baseline."""


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
        self.found = Found()
        self.evidence: Evidence | None = None
        own = f"{os.getpid()}-{time.time_ns()}"
        self.run: str = getattr(config, "workerinput", {}).get(RUN, own)
        self.notes: list[str] = []
        self.problem = ""
        self.interrupted = False
        self.planned_items = 0
        self._prompt_sets: dict[str, PromptSet] = {}
        self._laboratory: Laboratory | None = None
        self._expected: dict[baseline.Cell, Verdict] | None = None
        self._current_model = ""
        self._met: set[str] = set()
        self._planned: list[Need] = []
        self._ahead: Ahead | None = None

    @cached_property
    def rows(self) -> Table:
        """Rows of what was observed."""
        from refutable.evidence.table import Table

        return Table()

    # -- where things lie --------------------------------------------------------------------

    @property
    def data_folders(self) -> list[Path]:
        """Folders that suites contribute, then the package's own fixtures."""
        from refutable.system.paths import fixtures

        given = self.config.hook.pytest_refutable_data(config=self.config)
        own = [Path(folder) for folder in given if folder is not None]
        return [*own, fixtures()]

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

    def groups(self, claim: Claim) -> dict[str, dict[int | None, str]]:
        """Return the models of each group that a claim compares, by seed.

        A model that is compared by its own name is no group of seeds: its seed is ``None``.
        Without ``--claim-model`` these are the models that refutable ships.
        """
        from refutable.evaluation.grouped import members_of

        return members_of(claim, self._names if self.options.models else None)

    def prompt_set(self, name: str) -> PromptSet:
        """Read a prompt set once."""
        if name not in self._prompt_sets:
            folders = [folder / "prompts" for folder in self.data_folders]
            if name.endswith(".toml"):
                path = (self.config.invocation_params.dir / name).resolve()
                self._prompt_sets[name] = load_prompts(str(path), folders)
            else:
                self._prompt_sets[name] = load_prompts(name, folders)
        return self._prompt_sets[name]

    def prompts_label(self, name: str) -> str:
        """Return the name by which a prompt set is recorded: its own, wherever its file lies."""
        return self.prompt_set(name).name

    @property
    def laboratory(self) -> Laboratory:
        """The owner of models, made when first needed."""
        if self._laboratory is None:
            from refutable.measurement.harness import Laboratory, Settings
            from refutable.store.committed import Committed
            from refutable.store.store import Store
            from refutable.system.paths import cache_dir, fixtures

            if self.is_worker:
                share_cores(self.config)
            self._laboratory = Laboratory(
                Store(cache_dir() / "observations"),
                self.prompt_set,
                Settings(self.options.device, self.options.dtype, self.options.revision),
                say=self.say,
                name_of=lambda model: self._names.get(model, model),
                committed=Committed(fixtures() / "twins" / "observations.safetensors"),
            )
        return self._laboratory

    def say(self, line: str) -> None:
        """Print a line of progress, past pytest's capture; workers stay silent."""
        if not self.is_worker:
            say_line(self.config, line)

    # -- collection --------------------------------------------------------------------------

    def cases(self, claim: Claim) -> list[Case]:
        """Return the cells of a claim in this run."""
        self._met.add(claim.id)
        models = self.models
        if claim.predicts.grouped:
            models = tuple(m for by in self.groups(claim).values() for m in by.values())
        return cases_of(claim, self.options, models, DEFAULT_PROMPTS)

    def check_selection(self) -> None:
        """Refuse options that select nothing; see `refutable.plugin.selection.check`."""
        check(self.config, self.options, self._met)

    def plan(self, items: Iterable[pytest.Item]) -> None:
        """Hand the union of what the selected items need to the laboratory."""
        from refutable.observables.registry import REGISTRY

        needs: list[Need] = []
        for item in items:
            claim, case = claim_of(item), case_of(item)
            if claim is None or case is None:
                continue
            self.claims.add(claim)
            self.planned_items += 1
            if not is_skipped(item):
                needs.extend(self.needs(claim, case))
        self.claims.freeze(o.name for o in REGISTRY)
        option = self.config.option
        if needs and not option.collectonly and not option.setupplan:
            self.laboratory.plan(needs)
            self._planned = needs

    def begin(self) -> None:
        """Start the work, now that it is certain that items are run.

        Raises
        ------
        RefutableError
            If it could not be written down at the end, or its verdicts not be compared: better
            told now than after everything has been measured.
        """
        if not self._planned:
            return
        writable(self.options.out, "name another folder with --claim-out")
        self._recorded()
        if not self.is_worker:
            self._ahead = measure_ahead(self.config, self.laboratory, self._planned)

    def finish(self) -> None:
        """End what measures beside this process: no item is left that would read it."""
        if self._ahead is not None:
            self._ahead.end()

    def needs(self, claim: Claim, case: Case) -> list[Need]:
        """What one item asks of each of its models, with the stored witnesses to replay."""
        from refutable.measurement.harness import Need

        if claim.predicts.grouped:
            return [
                self.member_need(claim, case, model, members)
                for members in self.groups(claim).values()
                for model in members.values()
            ]
        needs = [Need(claim, model, case.prompts, case.arm) for model in case.models]
        witnesses = self.witness_set(claim)
        if witnesses:
            needs += [Need(claim, model, witnesses, case.arm) for model in case.models]
        return needs

    def member_need(
        self, claim: Claim, case: Case, model: str, members: Mapping[int | None, str]
    ) -> Need:
        """What a claim about groups asks of one member; the group's first has the null controls.

        Untrained copies follow from the config, which the members of a group share.
        """
        from refutable.measurement.harness import Need

        first = next(iter(members.values()))
        return Need(claim, model, case.prompts, case.arm, controlled=model == first)

    def witness_set(self, claim: Claim) -> str | None:
        """Name the prompt set of a universal claim's stored counterexamples, if there is one."""
        if claim.predicts.kind != "every":
            return None
        name = f"witnesses-{claim.id}"
        if name in self._prompt_sets:
            return name
        known = known_prompts(folder / "counterexamples" for folder in self.data_folders)
        if claim.id not in known:
            return None
        from refutable.spec.prompts import read_prompts

        self._prompt_sets[name] = read_prompts(known[claim.id])
        return name

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
        claim, case = claim_of(item), case_of(item)
        if claim is None or case is None or item.config.option.setupplan:
            return
        conclusion = Conclusion(case, claim)
        item.stash[CONCLUSION] = conclusion
        started = time.perf_counter()
        failed = False
        try:
            reason = self._evaluate(conclusion)
        except RefutableError as problem:
            failed, reason = True, one_line(problem)
        conclusion.seconds = time.perf_counter() - started
        conclusion.reason = reason or ""
        # Raised outside the handler: a traceback that is kept must not keep a model alive.
        if failed:
            pytest.fail(conclusion.reason, pytrace=False)
        if reason is not None:
            pytest.skip(reason)

    def _evaluate(self, conclusion: Conclusion) -> str | None:
        from refutable.evaluation.cell import evaluate_case

        self._leave_model(conclusion.case)
        return evaluate_case(self, conclusion)

    def _leave_model(self, case: Case) -> None:
        # Arrays of the model before are dropped from memory; the store has them.
        if case.model != self._current_model:
            if self._current_model and self._laboratory is not None:
                self._laboratory.forget(self._current_model)
            self._current_model = "" if case.grouped else case.model
            if self._ahead is not None:
                self._ahead.settle()

    def conclude(self, item: pytest.Item) -> bool:
        """Let the test of an evaluated claim pass or fail against the baseline.

        Returns
        -------
        bool
            False for an ordinary test, which pytest then calls itself.
        """
        conclusion = item.stash.get(CONCLUSION, None)
        if conclusion is None or conclusion.evaluation is None:
            return False
        decision = conclusion.evaluation.judgement.decision
        expected = self.expected(conclusion)
        if self.options.update_baseline:
            return True
        found = baseline.compare(decision.verdict, expected, strict=self.options.strict)
        if found.moved:
            import warnings

            where = f"{conclusion.claim.id} on {conclusion.case.label}"
            warnings.warn(ClaimMoved(f"{where}: {found.message}"), stacklevel=2)
        if not found.passes:
            from refutable.plugin.terminal import explain

            pytest.fail(explain(conclusion, found.message), pytrace=False)
        return True

    def expected(self, conclusion: Conclusion) -> Verdict | None:
        """Return the verdict that the baseline records for an item."""
        case = conclusion.case
        cell = baseline.Cell(
            conclusion.claim.id, case.model, self.prompts_label(case.prompts), case.arm
        )
        return self._recorded().get(cell)

    def _recorded(self) -> dict[baseline.Cell, Verdict]:
        if self._expected is None:
            self._expected = baseline.load(self.options.baseline)
        return self._expected
