"""How differences between twins change along their training."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from refutable.records import ClaimReport
from refutable.report.figures import style
from refutable.report.figures.coordinates import placed, plain_log_labels
from refutable.report.figures.registry import Drawing, MissingDataError, Sample, figure
from refutable.studies.norm_ablation.figures.data import FEWEST_SEEDS, STUDY

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

KIND, ALIGNED = "contrast_along", "across_along"
PATH = "difference along training"
"""What a claim about pairs of runs leaves of each step: value and interval."""
TOKENS_A_STEP = 1024
"""Eight rows of 128 predictions in either recipe; that module loads torch, so a test compares."""
WRAP = 31


@figure(study=STUDY, name="along-training", title="Differences along training")
def along_training(sample: Sample) -> Drawing:
    """Mean difference at each checkpoint with its interval over seeds, a panel a quantity."""
    import pandas as pd

    tables, sources = [], []
    for claim in _claims(sample):
        aligned = claim.prediction.kind == ALIGNED
        rows = sample.frame[(sample.frame["claim"] == claim.id) & sample.frame["control"].isna()]
        rows = rows[rows["quantity"] == (PATH if aligned else "value")]
        rows = rows.dropna(subset=["value", "at"])
        if rows.empty:
            continue
        steps = placed(rows, "step", *(["end"] if aligned else [])).astype({"step": int})
        difference = (_alignment if aligned else _difference)(steps, sample, claim)
        if not difference.empty:
            tables.append(difference)
            sources.append(steps)
    if not tables:
        raise MissingDataError("nothing was measured along training")
    table = pd.concat(tables, ignore_index=True)
    seeds = sorted(table["seeds"].unique())
    return Drawing(
        table,
        _draw,
        "First minus second variant (none minus layernorm-both unless said) at each checkpoint, "
        "families or documents averaged; of alignment, that of two kinds minus that of two seeds. "
        "Shaded: 95 % t interval over "
        f"{' or '.join(map(str, seeds))} training seeds; a pair shares initial values and data.",
        pd.concat(sources, ignore_index=True),
    )


def _claims(sample: Sample) -> list[ClaimReport]:
    """One claim for each quantity and pair: several may speak of the same."""
    kept: dict[tuple[str, ...], ClaimReport] = {}
    for claim in sample.evidence.claims:
        if claim.study == STUDY and claim.prediction.kind in (KIND, ALIGNED):
            kept.setdefault((claim.ref, claim.quantity, *_pair(claim)), claim)
    # N2 before N10, and G8 behind both.
    return sorted(kept.values(), key=lambda c: (c.ref[:1] != "N", len(c.ref), c.ref, c.id))


def _pair(claim: ClaimReport) -> tuple[str, ...]:
    names = claim.prediction.parameters["names"]
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def _difference(rows: pd.DataFrame, sample: Sample, claim: ClaimReport) -> pd.DataFrame:
    """Columns ``panel``, ``order``, ``tokens``, ``mean``, ``low``, ``high`` and ``seeds``."""
    import pandas as pd

    facts = {m.id: m.facts for m in sample.evidence.models if m.facts is not None}
    first, second = _pair(claim)
    known = rows.assign(
        variant=rows["model"].map({m: f.group for m, f in facts.items()}),
        seed=rows["model"].map({m: f.seed for m, f in facts.items()}),
        family=rows["family"].astype(object).fillna(""),
    )
    of_families = known.groupby(["variant", "seed", "step", "family"])["value"].mean()
    means = of_families.groupby(["variant", "seed", "step"]).mean().unstack("variant")
    if not {first, second} <= set(means.columns):
        return pd.DataFrame()
    apart = (means[first] - means[second]).dropna()
    panel, made = _panel(claim), []
    for step, part in apart.groupby(level="step"):
        if len(part) >= FEWEST_SEEDS:
            mean, low, high = style.interval(part.to_list())
            made.append((panel, int(str(step)) * TOKENS_A_STEP / 1e6, mean, low, high, len(part)))
    return pd.DataFrame(made, columns=["panel", "tokens", "mean", "low", "high", "seeds"])


def _alignment(rows: pd.DataFrame, sample: Sample, claim: ClaimReport) -> pd.DataFrame:
    """Return the same columns from the steps that the claim itself has compared."""
    seeds = {r.estimate.seeds for r in sample.results if r.claim == claim.id and r.estimate}
    path = rows.pivot_table(index="step", columns="end", values="value").reset_index()
    tokens = path["step"].astype(int) * TOKENS_A_STEP / 1e6
    made = path.assign(panel=_panel(claim), tokens=tokens, mean=path["value"], seeds=max(seeds))
    return made[["panel", "tokens", "mean", "low", "high", "seeds"]]


def _panel(claim: ClaimReport) -> str:
    """Title of a claim's panel: what is compared, unless it is none and layernorm-both."""
    first, second = (name.removesuffix("-trained") for name in _pair(claim))
    if (first, second) == ("none", "layernorm-both"):
        return f"{claim.ref}: {claim.quantity}"
    if second.removesuffix("-tuned") == "layernorm-both" and first == "none-tuned":
        return f"{claim.ref}, best rates: {claim.quantity}"
    if second == first.removesuffix("-tuned"):
        return f"{claim.ref}, best rate minus shared: {claim.quantity}"
    return f"{claim.ref}, {first.split('-')[0]} minus {second.split('-')[0]}: {claim.quantity}"


def _draw(table: pd.DataFrame) -> Figure:
    groups = list(table.groupby("panel", sort=False))
    fig, axes = style.panels(len(groups), columns=3, height=2.4, share_y=False)
    for place, (axis, (panel, part)) in enumerate(zip(axes, groups, strict=True)):
        color = style.GROUPS[0][0]
        axis.axhline(0, color=style.INK, lw=0.8, ls=":")
        axis.fill_between(part["tokens"], part["low"], part["high"], color=color, alpha=0.25, lw=0)
        axis.plot(part["tokens"], part["mean"], color=color, marker="o", markersize=3, lw=1.4)
        axis.set_xscale("log")
        plain_log_labels(axis.xaxis)
        axis.set_title("\n".join(_two_lines(str(panel))), fontsize=7)
        if place >= len(groups) - 3:
            axis.set_xlabel("tokens (millions)")
        if place % 3 == 0:
            axis.set_ylabel("difference")
        axis.set_xlim(*np.array([0.85, 1.18]) * (part["tokens"].min(), part["tokens"].max()))
    return fig


def _two_lines(title: str) -> list[str]:
    return textwrap.wrap(title, WRAP, max_lines=2, placeholder=" ...")
