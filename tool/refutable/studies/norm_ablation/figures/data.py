"""Observations of the norm-ablation study as tables: variants, and intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from refutable.report import text
from refutable.report.figures import style
from refutable.report.figures.coordinates import placed
from refutable.report.figures.registry import MissingDataError, Sample

if TYPE_CHECKING:
    import pandas as pd

STUDY = "norm-ablation"
VARIANTS = (
    "layernorm-both", "rmsnorm-both", "none", "layernorm-attention", "layernorm-ffn",
    "rmsnorm-attention", "rmsnorm-ffn", "layernorm-both-no-positions",
)  # fmt: skip
"""Each has the colour and the marker of its place in `style.GROUPS` on every figure."""
FEWEST_SEEDS = 3
"""Seeds below which an interval over seeds would be wider than the picture."""
SEEDS, FAMILIES = "seeds", "families"


def variants(sample: Sample, rows: pd.DataFrame) -> pd.DataFrame:
    """Put each row's variant and training seed beside it; at most eight variants are kept.

    A model that belongs to no group of training seeds is a variant of its own.
    """
    facts = {m.id: m.facts for m in sample.models if m.facts is not None}
    names = {m: (f.group or m) for m, f in facts.items()}
    seeds = {m: (f.seed or 0) for m, f in facts.items()}
    table = rows.assign(
        variant=rows["model"].map(names).fillna(rows["model"]).astype(str),
        seed=rows["model"].map(seeds).fillna(0).astype(int),
    )
    present = list(dict.fromkeys(table["variant"]))
    known = [v for v in VARIANTS if v in present] + [v for v in present if v not in VARIANTS]
    order = {name: place for place, name in enumerate(known[: len(style.GROUPS)])}
    kept = table[table["variant"].isin(order)]
    ordered: pd.DataFrame = kept.sort_values(
        ["variant", "seed"],
        key=lambda column: column.map(order) if column.name == "variant" else column,
        kind="stable",
    )
    return ordered.reset_index(drop=True)


def facts(sample: Sample, quantity: str, *names: str) -> pd.DataFrame:
    """Return a quantity that does not depend on prompts, with its coordinates as columns.

    Raises
    ------
    MissingDataError
        If it was not measured, or is drawn in the other arm already: it is the same there.
    """
    rows = sample.observed(quantity)
    arms = {r.arm for r in sample.evidence.results if r.study == STUDY and r.prompts}
    if sample.arm == "bos" and "no-bos" in arms:
        raise MissingDataError("the same in both arms: see the arm no-bos")
    # A coordinate may have the name of a column that such observations leave empty.
    return variants(sample, placed(rows.drop(columns=[*names], errors="ignore"), *names))


def first_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Keep one model of each variant, that of the lowest seed."""
    lowest = table.groupby("variant")["seed"].transform("min")
    return table[table["seed"] == lowest].reset_index(drop=True)


def means(table: pd.DataFrame, by: Sequence[str], family: str) -> pd.DataFrame:
    """Mean of each variant and 95 % t interval over its seeds, or over families of its one seed.

    Parameters
    ----------
    table : DataFrame
        Columns ``variant``, ``seed``, ``value``, those of `by` and `family`.
    by : sequence of str
        What each mean is for, e.g. ``layer``.
    family : str
        Column whose values are equally weighted units: families or documents.

    Returns
    -------
    DataFrame
        Columns ``variant``, `by`, ``mean``, ``low``, ``high``, ``over`` (``seeds`` or
        ``families``) and ``n``, the number of those.
    """
    import pandas as pd

    whole = table.groupby(["variant", "seed", *by, family], sort=False)["value"].mean()
    rows = []
    for key, part in whole.groupby(level=["variant", *by], sort=False):
        seeds = part.groupby(level="seed").mean()
        over = SEEDS if len(seeds) >= FEWEST_SEEDS else FAMILIES
        units = seeds if over == SEEDS else part.groupby(level=family).mean()
        mean, low, high = style.interval(units.to_list())
        if over == FAMILIES:
            mean = float(seeds.mean())
        names = key if isinstance(key, tuple) else (key,)
        rows.append((*names, mean, low, high, over, len(units)))
    return pd.DataFrame(rows, columns=["variant", *by, "mean", "low", "high", "over", "n"])


def intervals_said(table: pd.DataFrame, family: str = "families") -> str:
    """Say for a caption what the intervals of `means` are over."""
    said = []
    for over, part in table.groupby("over", sort=False):
        counts = sorted(set(part["n"].astype(int)))
        numbers = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        what = "training seeds" if over == SEEDS else f"{family} of the one seed at hand"
        names = ", ".join(text.visible(str(v), 40) for v in part["variant"].unique())
        said.append(f"{numbers} {what} ({names})")
    return f"95 % t intervals over {'; over '.join(said)}."


def look(variant: str, present: Sequence[str]) -> tuple[str, str]:
    """Colour and marker of a variant; a model that is none takes a place that is free."""
    if variant in VARIANTS:
        return style.GROUPS[VARIANTS.index(variant)]
    free = [g for v, g in zip(VARIANTS, style.GROUPS, strict=True) if v not in present]
    others = [v for v in present if v not in VARIANTS]
    return free[others.index(variant) % len(free)]


def titled(variant: str) -> str:
    """Return a variant's name in two short lines, safe to print."""
    first, _, rest = text.visible(variant, 40).partition("-")
    return f"{first}-\n{rest}" if rest else first
