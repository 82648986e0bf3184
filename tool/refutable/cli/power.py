"""What a claim can decide with the prompts and training seeds that there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from refutable.cli.listing import make_table
from refutable.errors import RefutableError
from refutable.evidence.json import read
from refutable.measurement.needs import members_of
from refutable.spec.claim import Claim
from refutable.spec.prompts import PromptLibrary
from refutable.stats import power
from refutable.stats.decide import FEWEST_FAMILIES
from refutable.system.plugins import shared_data

if TYPE_CHECKING:
    from rich.table import Table

    from refutable.records import Estimate

BATTERY = "battery"


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
    for name, count in units_of(claim, prompts).items():
        if count < FEWEST_FAMILIES:
            table.add_row(f"{count} {name}", f"decides nothing: {FEWEST_FAMILIES} are needed", "")
            continue
        chances = [power.detectable_effect(count, power=p) for p in (0.5, 0.8, 0.95)]
        margin = power.detectable_margin(count)
        table.add_row(
            f"{count} {name}", " / ".join(f"{c:.2f}" for c in chances) + " sd", f"{margin:.2f} sd"
        )
        if known is not None and known.sd and name == _varying(known):
            unit = f" {known.unit}".rstrip()
            table.add_row(
                f"  at the sd last seen, {known.sd:.3g}{unit}",
                " / ".join(f"{c * known.sd:.3g}" for c in chances),
                f"{margin * known.sd:.3g}",
            )
    return table


def _varying(estimate: Estimate) -> str:
    """Which units an estimate's sd lies between."""
    return "training seeds" if estimate.seeds else "prompt families"
