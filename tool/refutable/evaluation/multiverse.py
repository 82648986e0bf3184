"""A claim under every specification that could as well have been chosen: a specification curve.

Arm, dtype, prompt set, last token or all tokens, and training seed are crossed (Simonsohn, Simmons
& Nelson, "Specification curve analysis", Nature Human Behaviour 2020). The specifications share a
model and most prompts: their number is no sample size, and no p is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from refutable.errors import RefutableError, one_line
from refutable.evaluation.cell import evaluate_cell
from refutable.measurement.harness import Harness, open_harness
from refutable.measurement.needs import members_of
from refutable.measurement.state import Settings
from refutable.models.registry import all_specs, resolve
from refutable.records import Estimate, Region, Verdict
from refutable.spec.cell import DEFAULT_PROMPTS, Cell
from refutable.spec.claim import ARMS, Claim
from refutable.spec.prompts import PromptLibrary

DIMENSIONS = ("arm", "dtype", "prompts", "tokens", "model")
DTYPES = ("float32", "bfloat16")
OTHER_PROMPTS = "five-registers"
ALL_TOKENS = "-all-tokens"
LAST, ALL, ONE = "last token", "all tokens", "as stated"


@dataclass(frozen=True, slots=True)
class Specification:
    """One way of testing a claim, and what came of it."""

    arm: str
    dtype: str
    prompts: str
    tokens: str
    model: str
    verdict: Verdict | None = None
    estimate: Estimate | None = None
    reason: str = ""
    """The verdict's, or why there is none."""

    def option(self, dimension: str) -> str:
        """Return what was chosen in a dimension."""
        return str(getattr(self, dimension))


@dataclass(frozen=True, slots=True)
class Multiverse:
    """All specifications of a claim; the first is the claim's own."""

    claim: str
    statement: str
    predicted: str
    region: Region
    unit: str
    dimensions: Mapping[str, tuple[str, ...]]
    absent: Mapping[str, str]
    """Dimensions that this claim does not have, and why."""
    specifications: tuple[Specification, ...]

    @property
    def tested(self) -> tuple[Specification, ...]:
        """Those that gave a verdict."""
        return tuple(s for s in self.specifications if s.verdict is not None)

    @property
    def as_stated(self) -> Specification:
        """The claim's own specification."""
        return self.specifications[0]

    def agreement(self, among: Sequence[Specification] | None = None) -> tuple[int, int]:
        """Return how many have the verdict of the claim's own specification, and of how many."""
        counted = self.tested if among is None else among
        return sum(s.verdict is self.as_stated.verdict for s in counted), len(counted)


def multiverse(
    claim: Claim,
    model: str | None,
    known: Sequence[Claim],
    library: PromptLibrary,
    *,
    prompts: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Multiverse:
    """Test a claim under every combination of what could have been chosen otherwise.

    Null controls are left out: a verdict does not rest on them, but where the claim is about model
    minus control.

    Parameters
    ----------
    claim : Claim
        The claim.
    model : str or None
        What `refutable.models.registry.resolve` takes; ``None`` for a claim about several models.
    known : sequence of Claim
        Where the same claim about all tokens is looked for.
    library : PromptLibrary
        Prompt sets by name.
    prompts : sequence of str
        Further prompt sets, in place of the usual one.
    say : callable, optional
        Told what begins.

    Raises
    ------
    RefutableError
        If a model is named for a claim about several or none for a claim about one, or if the
        claim's own specification gives no verdict.
    """
    if claim.predicts.grouped == (model is not None):
        what = "names its models itself" if claim.predicts.grouped else "needs a model: name one"
        raise RefutableError(f"{claim.id} {what} (--model)")
    readings, absent = _tokens(claim, known)
    options: dict[str, tuple[str, ...]] = {"dtype": DTYPES, "tokens": tuple(readings)}
    options["model"], names, reason = _models(claim, model)
    absent |= {"model": reason} if reason else {}
    stated_prompts = claim.prompts or DEFAULT_PROMPTS
    options["arm"] = (*claim.arms[:1], *(a for a in ARMS if a != claim.arms[0]))
    options["prompts"] = tuple(dict.fromkeys((stated_prompts, *(prompts or (OTHER_PROMPTS,)))))
    if claim.prompts is not None and not prompts:
        options["prompts"] = (stated_prompts,)
        absent["prompts"] = f"the claim is about the prompts of {stated_prompts}"
    if claim.kind == "weights":
        options |= {"arm": claim.arms[:1], "prompts": (stated_prompts,)}
        absent |= dict.fromkeys(("arm", "prompts"), "weights are read without prompts")
    specifications = []
    for dtype in options["dtype"]:
        say(f"{claim.id}: {dtype}")
        harness = open_harness(library, Settings(dtype=dtype), models=names or None)
        specifications += list(_tested(readings, options, dtype, harness, library))
    made = Multiverse(
        claim.id, claim.statement, claim.predicts.statement, claim.predicts.region, claim.unit,
        {name: options[name] for name in DIMENSIONS}, absent, tuple(specifications),
    )  # fmt: skip
    if made.as_stated.verdict is None:
        raise RefutableError(f"{claim.id} as it stands gives no verdict: {made.as_stated.reason}")
    return made


def _tested(
    readings: Mapping[str, Claim],
    options: Mapping[str, tuple[str, ...]],
    dtype: str,
    harness: Harness,
    library: PromptLibrary,
) -> Iterator[Specification]:
    """Go through the specifications of one dtype, a model after the other, the own one first."""
    for model, arm, prompts, tokens in product(
        *(options[name] for name in ("model", "arm", "prompts", "tokens"))
    ):
        claim = readings[tokens]
        spec = Specification(arm, dtype, prompts, tokens, model)
        try:
            outcome = evaluate_cell(claim, _cell(claim, spec), harness, library)
        except RefutableError as problem:
            yield replace(spec, reason=one_line(problem))
            continue
        if outcome.evaluation is None:
            yield replace(spec, reason=outcome.reason)
            continue
        judgement = outcome.evaluation.judgement
        yield replace(
            spec, verdict=judgement.decision.verdict, estimate=judgement.estimate,
            reason=judgement.decision.reason,
        )  # fmt: skip


def _cell(claim: Claim, spec: Specification) -> Cell:
    if not claim.predicts.grouped:
        return Cell(spec.model, (spec.model,), spec.prompts, spec.arm)
    members = members_of(claim, None).values()
    models = tuple(name for group in members for name in group.values())
    return Cell(claim.predicts.title, models, spec.prompts, spec.arm, grouped=True)


def _tokens(claim: Claim, known: Sequence[Claim]) -> tuple[dict[str, Claim], dict[str, str]]:
    """Return the claim under each reading of tokens that there is, its own first."""
    by_id = {one.id: one for one in known}
    base = claim.id.removesuffix(ALL_TOKENS)
    pair = {LAST: by_id.get(base), ALL: by_id.get(base + ALL_TOKENS)}
    if pair[LAST] is None or pair[ALL] is None:
        return {ONE: _bare(claim)}, {"tokens": "no claim states the same of other tokens"}
    order = (ALL, LAST) if claim.id != base else (LAST, ALL)
    return {name: _bare(token) for name in order if (token := pair[name]) is not None}, {}


def _bare(claim: Claim) -> Claim:
    """Return the claim without what its verdict does not rest on."""
    control = claim.control if claim.predicts.kind == "against_control" else None
    return replace(claim, control=control, replication=None, also_record=())


def _models(claim: Claim, model: str | None) -> tuple[tuple[str, ...], dict[str, str], str]:
    """Return the ids of models that differ in the training seed alone, and what names them."""
    if model is None:
        return (claim.predicts.title,), {}, "training seeds are the claim's own units"
    spec = resolve(model)
    alike = [s.id for s in all_specs() if s.group and s.group == spec.group and s.id != spec.id]
    names = {spec.id: model, **{name: name for name in alike}}
    reason = "" if alike else "no other training seed of this model is known"
    return tuple(names), names, reason
