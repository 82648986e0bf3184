"""What a claim can decide with the prompts and training seeds that there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.cli.listing import make_table
from refutable.errors import RefutableError
from refutable.evidence.json import read
from refutable.measurement.needs import members_of
from refutable.predictions.ordered import Ordered
from refutable.spec.claim import Claim
from refutable.spec.prompts import PromptLibrary
from refutable.stats import power
from refutable.stats import power_of_kinds as kinds
from refutable.stats.decide import FEWEST_FAMILIES
from refutable.system.plugins import shared_data

if TYPE_CHECKING:
    from rich.table import Table

    from refutable.records import Estimate

BATTERY = "battery"
POWERS = (0.5, 0.8, 0.95)
NOT_BY_T = ("share", "correlation", "ordered")
"""Kinds whose rule no number of units in a t interval stands for."""


def units_of(claim: Claim, prompts: str | None = None) -> dict[str, int]:
    """Return how many families, and training seeds, a claim's estimate would have.

    Parameters
    ----------
    claim : Claim
        A bundled claim.
    prompts : str, optional
        Prompt set in place of the one that the claim names.
    """
    counts: dict[str, int] = {}
    if claim.predicts.grouped:
        counts["training seeds"] = min(
            (len(members) for members in members_of(claim, None).values()), default=0
        )
    library = PromptLibrary(shared_data())
    chosen = library(prompts or claim.prompts or BATTERY)
    counts["prompt families"] = len({prompt.family for prompt in chosen.prompts})
    return counts


def earlier_estimate(claim: str, model: str | None, evidence: Path) -> Estimate | None:
    """Return what an earlier run measured of a claim, for the spread between its units."""
    if not evidence.is_file():
        return None
    for result in read(evidence).results:
        asked = model is None or model in (result.model, *result.models)
        if result.claim == claim and asked and result.estimate is not None and result.estimate.sd:
            return result.estimate
    return None


def power_table(
    claim: Claim, *, model: str | None = None, prompts: str | None = None, evidence: Path
) -> Table:
    """Return the smallest differences that the rule decides, by units and power.

    Distances are in sd between units; in the claim's own unit too where an earlier run of it says
    what the spread is.

    Raises
    ------
    RefutableError
        If the claim is no statement about a sample.
    """
    if not claim.predicts.sampled:
        raise RefutableError(
            f"{claim.id} is a fact or a statement about every case: it has no power to compute"
        )
    known = earlier_estimate(claim.id, model, evidence)
    table = make_table("units", "distance from the bound, 50 / 80 / 95 %", "sameness, 80 %")
    of_kind = rows_of_kind(claim, prompts)
    for units, distances in of_kind:
        table.add_row(units, distances, "")
    if claim.predicts.kind in NOT_BY_T:
        if not of_kind:
            table.add_row(f"a {claim.predicts.kind} between two bounds", "not computed", "")
        return table
    for name, count in units_of(claim, prompts).items():
        if count < FEWEST_FAMILIES:
            table.add_row(f"{count} {name}", f"decides nothing: {FEWEST_FAMILIES} are needed", "")
            continue
        chances = [power.detectable_effect(count, power=p) for p in POWERS]
        margin = power.detectable_margin(count)
        table.add_row(f"{count} {name}", f"{_shown(chances)} sd", f"{margin:.2f} sd")
        if known is not None and known.sd and name == _varying(known):
            unit = f" {known.unit}".rstrip()
            table.add_row(
                f"  at the sd last seen, {known.sd:.3g}{unit}",
                " / ".join(f"{c * known.sd:.3g}" for c in chances),
                f"{margin * known.sd:.3g}",
            )
    return table


def rows_of_kind(claim: Claim, prompts: str | None) -> list[tuple[str, str]]:
    """Rows of a claim whose rule is not t on units: who they are, and what is decided."""
    kind, region = claim.predicts.kind, claim.predicts.region
    chosen = PromptLibrary(shared_data())(prompts or claim.prompts or BATTERY)
    sizes = tuple(Counter(prompt.family for prompt in chosen.prompts).values())
    low, high = region.low, region.high
    bound = low if high is None else high
    one_sided = (low is None) != (high is None)
    if kind == "share" and one_sided and bound is not None:
        decided = [
            kinds.share_decided(bound, len(sizes), above=high is None, power=p) for p in POWERS
        ]
        shown = ["none" if share is None else f"{share:.2f}" for share in decided]
        return [(f"{len(sizes)} prompt families, each of one mind", f"share {' / '.join(shown)}")]
    if kind == "correlation" and one_sided and bound is not None:
        planted = kinds.Correlated(sizes, bound if high is None else -bound)
        sign = 1 if high is None else -1
        numbers = [sign * kinds.correlation_decided(planted, power=p) for p in POWERS]
        who = f"{len(sizes)} families of {min(sizes)} to {max(sizes)} prompts"
        return [(who, f"r {_shown(numbers)}, between and within")]
    if isinstance(claim.predicts, Ordered):
        remarks = Counter(str(f.get(claim.predicts.over, "")) for f in chosen.families.values())
        groups = tuple(sum(remarks[name] for name in level) for level in claim.predicts.levels)
        if min(groups) < 2:
            return [(f"groups of {', '.join(map(str, groups))} families", "decides nothing")]
        steps = [kinds.step_decided(groups, power=p) for p in POWERS]
        who = f"groups of {', '.join(map(str, groups))} families"
        return [(who, f"{_shown(steps)} sd, every step")]
    if kind in ("against_control", "seeds_against_control") and claim.control is not None:
        draws = units_of(claim, prompts).get("training seeds", 1)
        copies = claim.control.seeds
        if claim.control.kind == "placebo" or copies < 2 or draws < 1:
            return []
        apart = [kinds.draws_decided(draws, copies, power=p) for p in POWERS]
        who = f"{draws} model{'s' * (draws > 1)} beside {copies} copies"
        return [(who, f"{_shown(apart)} sd between copies")]
    return []


def _shown(numbers: Sequence[float]) -> str:
    return " / ".join(f"{number:.2f}" for number in numbers)


def _varying(estimate: Estimate) -> str:
    """Which units an estimate's sd lies between."""
    return "training seeds" if estimate.seeds else "prompt families"
