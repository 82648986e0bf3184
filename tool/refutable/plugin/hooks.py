"""Every pytest hook of refutable, each a short call into the session.

This is the entry point: it imports nothing heavy, so ``pytest --help`` stays fast.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from refutable.errors import RefutableError, one_line
from refutable.plugin import fixtures, hookspecs
from refutable.plugin.cases import LOADED, claim_of, is_cell, scope_of, sort_model_by_model
from refutable.plugin.fixtures import claim_case  # noqa: F401  (a fixture)
from refutable.plugin.folding import folded, spare_hypothesis
from refutable.plugin.loaded import claim_model, observe  # noqa: F401  (fixtures)
from refutable.plugin.options import add_options
from refutable.plugin.process import share_devices
from refutable.plugin.selection import PROBLEM, refused, selects
from refutable.plugin.session import RUN, SESSION, ClaimSession
from refutable.plugin.terminal import summarise
from refutable.spec.cell import slug
from refutable.spec.claim_files import place_of
from refutable.system.garbage import look_as_usual, look_seldom

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Offer refutable's own hooks."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Open the session."""
    look_seldom()
    config.add_cleanup(look_as_usual)
    config.stash[SESSION] = ClaimSession(config)
    share_devices(config, config.stash[SESSION].options.device)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> None:
    """Make the observables that a claim asks for known to pytest as fixtures."""
    if getattr(obj, "__claim__", None) is not None:
        fixtures.publish(collector.config)


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize a claim over models, prompts and arms, and other tests over loaded models.

    The last of its kind, so that the model ends the id of a test that has other parameters.
    """
    claim = getattr(metafunc.function, "__claim__", None)
    session = metafunc.config.stash[SESSION]
    if claim is None:
        if "claim_model" in metafunc.fixturenames:
            ids = [f"{LOADED}{slug(name)}" for name in session.models]
            metafunc.parametrize(
                "claim_model", session.models, indirect=True, ids=ids, scope="session"
            )
        return
    try:
        fixtures.check_arguments(claim)
        cells = session.cells(claim)
    except RefutableError as problem:
        line = f"{place_of(claim)}: {one_line(problem)}"
        raise pytest.Collector.CollectError(line) from None
    metafunc.parametrize("claim_case", cells, indirect=True, ids=[cell.label for cell in cells])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Keep the selected claims, and sort them model by model."""
    claims = config.stash[SESSION]
    # What could not be collected is told first: it may hold what was asked for.
    if not session.testsfailed:
        try:
            claims.check_selection()
        except RefutableError as problem:
            raise refused(config, problem) from None
    options = claims.options
    dropped = [i for i in items if (c := claim_of(i)) is not None and not selects(options, c.id)]
    if dropped:
        items[:] = [item for item in items if item not in set(dropped)]
        config.hook.pytest_deselected(items=dropped)
    sort_model_by_model(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Plan the measuring of what is selected."""
    try:
        session.config.stash[SESSION].plan(session.items)
    except RefutableError as problem:
        raise refused(session.config, problem) from None


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Start the work, unless no item will be run; with ``--claim-register`` none is."""
    if session.testsfailed and not session.config.option.continue_on_collection_errors:
        return None
    claims = session.config.stash[SESSION]
    if not all(map(claim_of, session.items)):
        # Tests that are no claims may hold anything, models among it.
        look_as_usual()
    try:
        if claims.options.register:
            claims.register()
            return True
        claims.begin(len(session.items))
    except RefutableError as problem:
        raise refused(session.config, problem) from None
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Measure and evaluate, so that a failing instrument is an error and not a refutation.

    Not the first of its kind: what skips an item comes before, and nothing is measured for it. The
    plugin is registered after pytest's own, so it comes before the fixtures are made.
    """
    item.config.stash[SESSION].prepare(item)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Hold the verdict against the baseline; the body has been called already."""
    return pyfuncitem.config.stash[SESSION].conclude(pyfuncitem) or None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the result to the report, as plain data that xdist can carry."""
    report = yield
    from refutable.plugin.reporting import attach

    attach(item, report)
    return report


def pytest_sessionstart(session: pytest.Session) -> None:
    """Collect results where reports arrive (with xdist: on the controller)."""
    from refutable.plugin.reporting import ResultCollector

    collector = ResultCollector(session.config.stash[SESSION])
    plugins = session.config.pluginmanager
    plugins.register(collector, "refutable-collector")
    plugins.register(session.config.stash[SESSION].progress, "refutable-progress")


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport, config: pytest.Config
) -> tuple[str, str, str] | None:
    """Leave out the dots of claims where a live line stands for them."""
    return config.stash[SESSION].progress.status(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave the evidence."""
    from refutable.plugin.reporting import leave

    session.config.stash[SESSION].finish()
    spare_hypothesis(session.config)
    leave(session.config.stash[SESSION], session)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: TerminalReporter, config: pytest.Config
) -> Generator[None, None, None]:
    """Print what the claims came to after what pytest itself has to say."""
    with folded(terminalreporter):
        result = yield
    summarise(terminalreporter, config.stash[SESSION])
    return result


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker to which run it belongs."""
    node.workerinput[RUN] = node.config.stash[SESSION].run


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """Count the cells of the run, which the controller does not collect itself."""
    cells = sum(is_cell(nodeid) for nodeid in ids)
    node.config.stash[SESSION].planned_items = cells


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """End the run of the controller with what a worker found wrong with the command line."""
    problem = getattr(node, "workeroutput", {}).get(PROBLEM)
    if problem:
        raise pytest.UsageError(problem)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the items of one model on one worker.

    pytest-xdist's own ``loadgroup`` needs marks set before collection and plain ``-n 2`` would
    measure each model twice. A distribution mode that the user asks for by name is respected.
    """
    if config.getoption("dist", "no") not in ("load", "loadgroup"):
        return None
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class ModelScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    return ModelScheduling(config, log)
