"""Figure of the norm-ablation study: how alike the variants represent the same prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refutable.report import text
from refutable.report.figures import style
from refutable.report.figures.coordinates import placed
from refutable.report.figures.registry import Drawing, Sample, figure
from refutable.studies.norm_ablation.figures.data import STUDY, titled, variants
from refutable.system import wording

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

NOISE, BIASED = "gaussian", "gaussian, plain form"
"""Columns of the Gaussian control: debiased like the others, and as the plain form sees it."""
COORDINATES = ("estimator", "reference", "reference_layer")


@figure(study=STUDY, name="alignment", title="How alike variants represent the same prompts")
def alignment(sample: Sample) -> Drawing:
    """Matrices of alignment by block: a variant in each row, a reference in each column."""
    source = sample.observed("representation_alignment")
    rows = variants(sample, placed(source, *COORDINATES))
    rows = rows[(rows["estimator"] == "debiased") | (rows["reference"] == NOISE)]
    others = (rows["seed"] > 0).groupby(rows["variant"]).transform("any")
    # Seed 0 of a variant is itself a reference, and shares its initialisation with the others.
    rows = rows[~others | (rows["seed"] > 0)]
    plain = rows["estimator"] == "plain"
    seeds = rows.groupby("variant")["seed"].agg(_seeds)
    # A model that is no twin is a variant of its own name.
    seeds = seeds.where(~seeds.index.isin(rows["model"]), "")
    rows = rows.assign(
        reference=rows["reference"].where(~plain, BIASED),
        reference_layer=rows["reference_layer"].astype(int),
        seeds=rows["variant"].map(seeds),
    )
    keys = ["variant", "seeds", "reference", "reference_layer", "layer"]
    table = rows.groupby(keys, sort=False)["value"].mean().reset_index()
    return Drawing(
        table,
        _draw_alignment,
        "Debiased centred kernel alignment of the residual stream at the last token, one prompt of "
        "each family, mean over four draws of them. Rows: blocks of a variant, mean over its "
        "seeds but 0 where it has others. Columns: blocks of the seed-0 twins, then a Gaussian of "
        "the same number of rows and dims, debiased and plain: there the plain form shows its bias "
        f"alone. Number: mean of the matrix. Prompts {sample.prompts}, arm {sample.arm}.",
        source,
    )


def _seeds(seeds: pd.Series[int]) -> str:
    different = sorted(set(seeds))
    if len(different) == 1:
        return f"seed {different[0]}"
    whole = different == list(range(different[0], different[-1] + 1))
    return f"seeds {different[0]} to {different[-1]}" if whole else f"{len(different)} seeds"


def _draw_alignment(table: pd.DataFrame) -> Figure:
    from matplotlib.figure import Figure as Canvas

    rows = list(table["variant"].unique())
    columns = [c for c in table["reference"].unique() if c not in (NOISE, BIASED)]
    columns += [c for c in (NOISE, BIASED) if c in set(table["reference"])]
    fig = Canvas(figsize=(style.WIDTH, 0.72 * len(rows) + 1.5), layout="constrained")
    grid = fig.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey="row")
    image = None
    for place, variant in enumerate(rows):
        for axis, reference in zip(grid[place], columns, strict=True):
            part = table[(table["variant"] == variant) & (table["reference"] == reference)]
            image = _matrix(axis, part)
            if place == 0:
                axis.set_title(_short(reference), fontsize=6.5, loc="center")
        seeds = table.loc[table["variant"] == variant, "seeds"].iloc[0]
        grid[place][0].set_ylabel(f"{_short(variant)}\n{seeds}".rstrip(), fontsize=6.5)
    grid[-1][len(columns) // 2].set_xlabel("block of the reference", fontsize=7)
    if image is not None:
        fig.colorbar(image, ax=list(grid.flat), label="alignment", shrink=0.7, extend="min",
                     location="bottom", aspect=50)  # fmt: skip
    return fig


def _matrix(axis: Axes, part: pd.DataFrame) -> AxesImage:
    wide = part.pivot_table(index="layer", columns="reference_layer", values="value")
    image = axis.imshow(wide.to_numpy(), cmap="cividis", vmin=0, vmax=1, aspect="auto",
                        origin="lower", interpolation="nearest")  # fmt: skip
    mean = float(np.nanmean(wide.to_numpy()))
    shown = wording.number(mean, decimals=2)
    axis.text(0.5, 0.5, shown, transform=axis.transAxes, ha="center", va="center", fontsize=7,
              color=style.INK if mean > 0.6 else style.PAPER)  # fmt: skip
    axis.set_xticks([0, wide.shape[1] - 1])
    axis.set_yticks([0, wide.shape[0] - 1])
    axis.tick_params(labelsize=6, length=2)
    axis.grid(visible=False)
    return image


def _short(name: str) -> str:
    if name == BIASED:
        return "gaussian,\nplain form"
    return titled(text.visible(name, 40)).replace("no-positions", "no-pos.")
