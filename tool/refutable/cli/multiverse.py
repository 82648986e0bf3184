"""What `refutable multiverse` does: test, draw the curve, and say what agrees.

A file of its own, which the command imports when it is run: the figure and the claims take time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.cli.listing import make_table
from refutable.evaluation.multiverse import multiverse as tested
from refutable.report.figures import style
from refutable.report.multiverse import draw_curve, write_curve
from refutable.spec.prompts import PromptLibrary
from refutable.studies.catalogue import bundled_claims, find_claim
from refutable.system import wording
from refutable.system.paths import fixtures, writable

if TYPE_CHECKING:
    from rich.table import Table

    from refutable.evaluation.multiverse import Multiverse


def tested_and_drawn(
    claim: str, model: str | None, prompts: Sequence[str], out: Path, say: Callable[[str], None]
) -> tuple[Multiverse, list[Path]]:
    """Test a bundled claim under every choice; return what was found and the files written.

    Raises
    ------
    RefutableError
        For an unknown claim, model or prompt set, or a folder that cannot be written.
    """
    writable(out, "name another folder with --out")
    specifications = tested(
        find_claim(claim), model, list(bundled_claims()), PromptLibrary([fixtures()]),
        prompts=prompts, say=say,
    )  # fmt: skip
    with style.styled():
        figure = draw_curve(
            specifications.tested,
            specifications.as_stated,
            specifications.dimensions,
            region=specifications.region,
            unit=specifications.unit,
        )
        style.finish(
            figure, f"{specifications.claim}: specification curve", caption(specifications)
        )
        agree, of_all = specifications.agreement()
        record = {**asdict(specifications), "agree": agree, "tested": of_all}
        return specifications, list(write_curve(record, figure, out))


def caption(multiverse: Multiverse) -> str:
    """Say in a sentence how many specifications agree."""
    agree, of_all = multiverse.agreement()
    verdict = multiverse.as_stated.verdict.value if multiverse.as_stated.verdict else ""
    return (
        f"{agree} of {of_all} specifications ({agree / of_all:.0%}) are {verdict}, as the claim's "
        f"own (diamond): {multiverse.predicted}. They share a model and most prompts."
    )


def table(multiverse: Multiverse) -> Table:
    """Return agreement and the range of estimates for each option."""
    made = make_table("choice", "agree", "estimates")
    for dimension, options in multiverse.dimensions.items():
        for option in options if len(options) > 1 else ():
            among = [s for s in multiverse.tested if s.option(dimension) == option]
            agree, of_all = multiverse.agreement(among)
            values = [
                s.estimate.value for s in among if s.estimate and s.estimate.value is not None
            ]
            ends = wording.ends(min(values), max(values), sign=True) if values else "none"
            made.add_row(f"{dimension}: {option}", f"{agree} of {of_all}", ends)
    return made


def untested(multiverse: Multiverse) -> list[str]:
    """Say of each model how many specifications gave no verdict, with the first reason."""
    left: dict[str, list[str]] = {}
    for spec in multiverse.specifications:
        if spec.verdict is None:
            left.setdefault(spec.model, []).append(spec.reason)
    return [f"{model}: {len(why)} not tested: {why[0]}" for model, why in left.items()]
