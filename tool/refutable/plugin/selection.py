"""What the options select: models by name, claims by id; a name that means nothing is refused."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

import pytest

from refutable.errors import ClaimError, ModelError, RefutableError, near, one_line
from refutable.models import registry
from refutable.plugin.options import Options

PROBLEM = "refutable_usage"
"""Under which an xdist worker tells its controller what is wrong with the command line."""


def refused(config: pytest.Config, problem: RefutableError) -> pytest.UsageError:
    """Return what ends the run in one line; the controller of a worker ends with it too."""
    line = one_line(problem)
    output = getattr(config, "workeroutput", None)
    if output is not None:
        output[PROBLEM] = line
    return pytest.UsageError(line)


def names_of(models: Iterable[str]) -> dict[str, str]:
    """Return model ids to what the user called them; a folder is known by its name alone."""
    names: dict[str, str] = {}
    for name in models:
        try:
            label = registry.resolve(name).id
        except RefutableError:
            # An unknown model among others is an error of its own items; the others go on.
            label = name
        names[label if label not in names else name] = name
    return names or {spec.id: spec.id for spec in registry.defaults()}


def selects(options: Options, claim_id: str) -> bool:
    """Whether ``--claim-id`` selects a claim (all are selected without it)."""
    return not options.ids or any(fnmatch.fnmatch(claim_id, p) for p in options.ids)


def check(config: pytest.Config, options: Options, collected: Iterable[str]) -> None:
    """Refuse a selection that can only be a slip of the pen.

    Parameters
    ----------
    config : pytest.Config
        Of the run.
    options : Options
        What the user asked for.
    collected : iterable of str
        Ids of the claims that were met, whether or not ``-k`` and the like keep them.

    Raises
    ------
    ClaimError
        If a pattern of ``--claim-id`` matches none of them. One that stands in the configuration
        file may: the same file serves runs of a part of the tests. With ``--lf`` files in which
        nothing failed are not even collected, so nothing can be said.
    ModelError
        If none of the named models is known.
    """
    known = set(collected)
    given = config.getoption("claim_id") or []
    for pattern in [] if config.getoption("lf", False) else given:
        if not fnmatch.filter(known, pattern):
            hint = near(pattern, known) if known else "no claims are among the tests"
            raise ClaimError(f"--claim-id: no claim matches {pattern!r}: {hint}")
    if known and options.models:
        _check_models(options.models)


def is_skipped(item: pytest.Item) -> bool:
    """Whether a mark keeps an item from being run, so that nothing is measured for it."""
    # pytest has no public name for what decides about the marks skip, skipif and xfail.
    from _pytest.skipping import evaluate_skip_marks, evaluate_xfail_marks

    try:
        if evaluate_skip_marks(item) is not None:
            return True
        expected = None if item.config.option.runxfail else evaluate_xfail_marks(item)
    # A condition that cannot be evaluated is an error of the item, which pytest tells.
    except pytest.fail.Exception:
        return True
    return expected is not None and not expected.run


def _check_models(names: Iterable[str]) -> None:
    problems = []
    for name in names:
        try:
            registry.resolve(name)
        except RefutableError as problem:
            problems.append(str(problem))
        else:
            return
    raise ModelError(f"--claim-model: {problems[0]}")
