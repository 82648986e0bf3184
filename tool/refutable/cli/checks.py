"""What `refutable verify` refuses before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from refutable.errors import ClaimError, ModelError, RefutableError, near
from refutable.models.registry import resolve
from refutable.spec.claim import ARMS
from refutable.spec.prompts import PromptLibrary
from refutable.studies.catalogue import bundled_claims
from refutable.system.paths import writable
from refutable.system.plugins import shared_data

DTYPES = ("float32", "bfloat16", "float16")


def check_ids(patterns: Iterable[str]) -> None:
    """Refuse an id or glob that matches no bundled claim.

    Raises
    ------
    ClaimError
        With near matches.
    """
    import fnmatch

    patterns = list(patterns)
    known = [claim.id for claim in bundled_claims()] if patterns else []
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            raise ClaimError(f"no claim matches {pattern!r}: {near(pattern, known)}")


def ids_of_groups(groups: Iterable[str]) -> list[str]:
    """Return the ids of the bundled claims of named groups.

    Raises
    ------
    ClaimError
        If a group has no claim.
    """
    groups = list(groups)
    if not groups:
        return []
    every = list(bundled_claims())
    known = {group for claim in every for group in claim.groups}
    for group in groups:
        if group not in known:
            raise ClaimError(f"no group of claims is called {group!r}: {near(group, known)}")
    return [claim.id for claim in every if set(claim.groups) & set(groups)]


def check_models(names: Iterable[str]) -> None:
    """Refuse an empty name, which would mean the folder one is in, and a run without a known model.

    Of several an unknown one is an error of its own, and the others go on.

    Raises
    ------
    ModelError
    """
    names = list(names)
    if not all(name.strip() for name in names):
        raise ModelError("--model is empty: name a model, see `refutable list models`")
    problems = []
    for name in names:
        try:
            resolve(name)
        except ModelError as problem:
            problems.append(problem)
    if names and len(problems) == len(names):
        raise problems[0]


def check_how(
    *, prompts: str | None, arms: Iterable[str], device: str | None, dtype: str | None
) -> None:
    """Refuse what a run would stumble over in each of its cells.

    Raises
    ------
    RefutableError
        In one line that names the option.
    """
    for arm in arms:
        if arm not in ARMS:
            raise RefutableError(f"--arm expects {' or '.join(ARMS)}, got {arm!r}")
    if dtype is not None and dtype not in DTYPES:
        raise RefutableError(f"--dtype expects {', '.join(DTYPES)}, got {dtype!r}")
    if prompts:
        PromptLibrary(shared_data())(prompts)
    if device not in (None, "cpu"):
        # The one check that needs torch, which takes seconds to import.
        from refutable.models.device import usable_device

        usable_device(str(device))


def check_places(out: Path | None, baseline: Path | None, update_baseline: bool) -> None:
    """Refuse a folder that cannot be written to, and a baseline that is not there.

    Without ``--baseline`` a missing file means that nothing is recorded yet; one that was named
    and does not exist is a slip of the pen, and would let every turned verdict pass.

    Raises
    ------
    RefutableError
    """
    if out is not None:
        writable(out)
    if baseline is None:
        return
    if update_baseline:
        writable(baseline.parent)
    elif not baseline.is_file():
        raise RefutableError(
            f"no baseline {baseline}: name a file that exists, or write it with --update-baseline"
        )
