"""`refutable.evaluate` and `refutable.verify`: claims decided in a script or a notebook."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

from refutable.api.opening import Model, Prompts, named_prompts, opened
from refutable.api.results import Results
from refutable.errors import RefutableError, near, one_line
from refutable.evaluation.cell import evaluate_cell
from refutable.evaluation.observation_log import ObservationLog
from refutable.evaluation.outcome import CellOutcome
from refutable.evaluation.run import Run
from refutable.measurement.harness import Harness
from refutable.measurement.needs import members_of, needs_of
from refutable.measurement.state import Settings
from refutable.spec.cell import Cell, cells_of
from refutable.spec.claim import Claim
from refutable.spec.claim_files import file_of
from refutable.spec.prompts import PromptLibrary
from refutable.studies.catalogue import bundled_claims, find_claim

ClaimLike: TypeAlias = "Claim | str | Callable[..., object]"
"""A claim, its id, or a function that `refutable.claim` decorates."""


def evaluate(
    claim: ClaimLike,
    model: Model,
    *,
    prompts: Prompts | None = None,
    arm: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> CellOutcome:
    """Evaluate one claim on one model, or on the groups of models that it compares.

    Parameters
    ----------
    claim : Claim, str or decorated function
        The claim or its id.
    model : as for `observe`
        The model.
    prompts : as for `observe`, optional
        In place of the prompt set that the claim names.
    arm : {"no-bos", "bos"}, optional
        The claim's first one unless given.
    device, dtype : str
        As for `observe`.

    Returns
    -------
    CellOutcome
        Its ``evaluation`` holds values, judgement (estimate, verdict and reason) and control; it
        is ``None``, with a ``reason``, where the claim does not apply.

    Raises
    ------
    RefutableError
        If the model, the instrument or the body failed: never a refutation.
    """
    chosen = claim_of(claim)
    with opened([model], Settings(device, dtype)) as (harness, library, names):
        label = None if prompts is None else named_prompts(library, prompts)
        arms = () if arm is None else (arm,)
        cells = _cells(chosen, (harness, library), names, label, arms)
        if not cells:
            raise RefutableError(f"{chosen.id} has no arm {arm!r}: it has {', '.join(chosen.arms)}")
        return evaluate_cell(chosen, cells[0], harness, library)


def verify(
    claims: ClaimLike | Sequence[ClaimLike] = "*",
    models: Model | Sequence[Model] = (),
    *,
    prompts: Prompts | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> Results:
    """Evaluate claims on models and keep everything that a run leaves.

    Parameters
    ----------
    claims : claim, id, pattern, or a sequence of them
        ``"gain.*"`` selects the bundled claims of that pattern.
    models : as for `observe`, or a list of them
        The models that refutable ships unless given. A tuple is one model with its tokenizer.
    prompts : as for `observe`, optional
        In place of the prompt sets that the claims name.
    device, dtype : str
        As for `observe`.

    Returns
    -------
    Results
        One record a cell; what failed is among them, with the reason, and the rest went on.
    """
    chosen = claims_of(claims)
    wanted = [*models] if isinstance(models, list) else ([] if models == () else [models])
    with opened(wanted, Settings(device, dtype)) as (harness, library, names):
        label = None if prompts is None else named_prompts(library, prompts)
        return decided(plan_claims(chosen, harness, library, names, label), harness, library)


Plan: TypeAlias = "list[tuple[Claim, Cell]]"


def plan_claims(
    claims: Sequence[Claim],
    harness: Harness,
    library: PromptLibrary,
    models: Sequence[str],
    prompts: str | None,
) -> Plan:
    """Tell a harness all that claims need of some models; return the cells in their order."""
    plan = [
        (one, cell)
        for one in claims
        for cell in _cells(one, (harness, library), models, prompts, ())
    ]
    plan.sort(key=lambda pair: (pair[1].grouped, pair[1].model))
    for one, cell in plan:
        # Known before anything is measured, so that each model is loaded once.
        harness.plan(needs_of(one, cell, harness.models, library))
    return plan


def decided(plan: Plan, harness: Harness, library: PromptLibrary) -> Results:
    """Evaluate planned cells; what fails is among the results, and the rest goes on."""
    run = Run(harness.sources.settings, time.time())
    with tempfile.TemporaryDirectory() as folder:
        log = ObservationLog(harness, library, Path(folder), "script", is_worker=False)
        for one, cell in plan:
            run.add(_one(one, cell, harness, library, log), harness, library)
        return Results(run.evidence("refutable.verify(...)"), log.gather())


def _one(
    claim: Claim, cell: Cell, harness: Harness, library: PromptLibrary, log: ObservationLog
) -> CellOutcome:
    """Evaluate a cell; what fails is told in its outcome, and the rest goes on."""
    try:
        outcome = evaluate_cell(
            claim,
            cell,
            harness,
            library,
            watch=lambda model, values, controls: log.keep_member(
                claim, cell, model, (values, *controls)
            ),
        )
    except RefutableError as problem:
        return CellOutcome(cell, claim, reason=one_line(problem), failed=True)
    log.keep(outcome)
    return outcome


def claim_of(claim: ClaimLike) -> Claim:
    """Return a claim by its id, or from the function that carries it."""
    if isinstance(claim, Claim):
        return claim
    decorated = getattr(claim, "__claim__", None)
    if isinstance(decorated, Claim):
        return decorated
    if isinstance(claim, str):
        return find_claim(claim)
    raise RefutableError(f"expected a claim, its id or a decorated function, got {claim!r}")


def claims_of(claims: ClaimLike | Sequence[ClaimLike]) -> list[Claim]:
    """Return the claims that are meant by claims, ids, patterns or decorated functions."""
    return [one for item in _listed(claims) for one in _matching(item)]


def _matching(claim: ClaimLike) -> list[Claim]:
    if not isinstance(claim, str) or not set(claim) & set("*?["):
        return [claim_of(claim)]
    bundled = list(bundled_claims())
    matching = [one for one in bundled if fnmatchcase(one.id, claim)]
    if not matching:
        hint = near(claim, (one.id for one in bundled))
        raise RefutableError(f"no claim matches {claim!r}: {hint}")
    return matching


def _listed(claims: ClaimLike | Sequence[ClaimLike]) -> list[ClaimLike]:
    if isinstance(claims, str | Claim) or callable(claims):
        return [claims]
    return [*claims]


def _cells(
    claim: Claim,
    opened: tuple[Harness, PromptLibrary],
    names: Sequence[str],
    prompts: str | None,
    arms: Sequence[str],
) -> list[Cell]:
    harness, library = opened
    if claim.predicts.grouped:
        groups = members_of(claim, harness.models)
        names = [model for members in groups.values() for model in members.values()]
    prompts = prompts or library.beside(claim.prompts, file_of(claim))
    return cells_of(claim, names, prompts=prompts, arms=arms)
