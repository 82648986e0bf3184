"""Two runs on the same prompts: what each claim's body returned, paired by family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refutable.predictions.association import Correlation, Trend
from refutable.predictions.contrasts import Ordered
from refutable.predictions.single import Share, share_limit
from refutable.records import ClaimReport, Result
from refutable.stats import core
from refutable.stats import correlation as corr
from refutable.stats.decide import FEWEST_FAMILIES
from refutable.stats.paired import PairedChange, exact_change, paired_change

if TYPE_CHECKING:
    import pandas as pd

Floats = core.Floats
_KEY = ["claim", "model", "prompts", "arm"]
_CELL = ["quantity", "layer", "head", "at"]


@dataclass(frozen=True, slots=True)
class Paired:
    """The change of one claim, in one or more parts that must all stay still."""

    parts: tuple[tuple[str, PairedChange], ...]
    note: str = ""
    """Why nothing could be paired, or what was left out."""
    gone: bool = False
    """The candidate lacks values, or finite ones, that the base has."""


class Rows:
    """What the bodies of the claims returned in one run, by claim, model, prompts and arm."""

    def __init__(self, frame: pd.DataFrame) -> None:
        own = frame[frame["claim"].notna() & frame["control"].isna()]
        own = own.assign(**{key: own[key].fillna("") for key in _KEY})
        self._groups = {
            tuple(str(k) for k in key): group
            for key, group in own.groupby(_KEY, sort=False, dropna=False)
        }

    def of(self, claim: str, model: str, prompts: str, arm: str) -> pd.DataFrame | None:
        """Rows of one cell of the run."""
        return self._groups.get((claim, model, prompts, arm))


def pair(
    claim: ClaimReport,
    base: tuple[Result, Rows],
    candidate: tuple[Result, Rows],
    *,
    margin: float,
    noise: float,
) -> Paired:
    """Pair the values of one claim and test each part against the margin.

    The reduction is the claim's own: family means; per-family shares; slopes of each prompt;
    within-family correlations (Fisher z) and the leave-one-family-out values of the correlation
    between families; family means of each register of an order. A claim over several models is
    compared model by model; where each of them gives one number, the models are the units.

    Parameters
    ----------
    claim : ClaimReport
        Names the statistic.
    base, candidate : tuple of (Result, Rows)
        The two runs.
    margin, noise : float
        Smallest change, and the numerical noise of one difference.
    """
    members = list(zip(_members(base[0]), _members(candidate[0]), strict=False))
    if len(_members(base[0])) != len(_members(candidate[0])):
        return Paired((), "the claim's models differ between the runs")
    merged, numbers = [], []
    for ours, theirs in members:
        frames = [
            rows.of(result.claim, model, result.prompts, result.arm)
            for (result, rows), model in ((base, ours), (candidate, theirs))
        ]
        if frames[0] is None:
            continue
        if frames[1] is None:
            return Paired((), f"the candidate has no values of {theirs}", gone=True)
        table, note, gone = _merge(frames[0], frames[1])
        if gone or not len(table):
            return Paired((), note, gone=gone)
        if table["family"].isna().all():
            numbers.extend(table["difference"].tolist())
        else:
            merged.append((ours if len(members) > 1 else "", table, note))
    if merged:
        return _families(claim, merged, margin, noise)
    if numbers:
        d = np.array(numbers)
        single = len(members) == 1 or not claim.sampled
        worst = float(d[np.abs(d).argmax()])
        change = (
            exact_change(worst, margin=margin, error=noise)
            if single
            else paired_change(d, margin=margin, error=noise)
        )
        return Paired((("", change),))
    return Paired((), "unpaired: the observations hold no values of this claim")


def _members(result: Result) -> tuple[str, ...]:
    return result.models if len(result.models) > 1 else (result.model,)


def _merge(base: pd.DataFrame, candidate: pd.DataFrame) -> tuple[pd.DataFrame, str, bool]:
    """Rows of the same prompt (by name and text) and cell side by side."""
    keys = ["prompt", "text", *_CELL]
    left = base[[*keys, "family", "register", "value"]].drop_duplicates(keys)
    right = candidate[[*keys, "value"]].drop_duplicates(keys)
    table = left.merge(right, on=keys, suffixes=("_base", "_candidate"))
    if not len(table):
        return table, "unpaired: the two runs share no prompt", False
    table = table[table["value_base"].notna() | table["value_candidate"].notna()]
    bad = [f"value_{side}" for side in ("base", "candidate")]
    if table[bad[0]].isna().any():
        return table.iloc[:0], "values of the base are not finite", False
    if table[bad[1]].isna().any():
        return table, "values of the candidate are not finite", True
    table = table.assign(difference=table[bad[1]] - table[bad[0]])
    whole, kept = base["prompt"].nunique(), table["prompt"].nunique()
    return table, f"{kept} of {whole} prompts paired" if kept < whole else "", False


def _families(
    claim: ClaimReport, merged: Sequence[tuple[str, pd.DataFrame, str]], margin: float, noise: float
) -> Paired:
    parts: list[tuple[str, PairedChange]] = []
    for model, table, _ in merged:
        for name, d, error in _reduced(claim, table, noise):
            label = ": ".join(word for word in (model, name) if word)
            parts.append((label, paired_change(d, margin=margin, error=error)))
    note = next((note for _, _, note in merged if note), "")
    if not parts:
        return Paired((), "no family gives a value of the claim's statistic")
    return Paired(tuple(parts), note)


def _reduced(
    claim: ClaimReport, table: pd.DataFrame, noise: float
) -> Iterator[tuple[str, Floats, float]]:
    """Differences (family,) of each part of the statistic, and their numerical noise."""
    says = claim.statistic
    if says.startswith(Correlation.what):
        yield from _correlations(table)
    elif says.startswith(Share.what):
        limit = share_limit(says)
        for side in ("base", "candidate"):
            values = table[f"value_{side}"]
            table[f"value_{side}"] = (values != 0 if limit is None else values > limit) * 1.0
        table["difference"] = table["value_candidate"] - table["value_base"]
        yield "", _means(table), 0.0
    elif says.startswith(Trend.what) and table["layer"].notna().all():
        blocks = table["layer"].nunique()
        wide = table.pivot_table(
            index=["family", "prompt"], columns="layer", values="difference", sort=True
        ).dropna()
        steps = core.slopes(wide.to_numpy())
        means, _ = core.group_means(steps, [str(f) for f in wide.index.get_level_values("family")])
        yield "", means, core.slope_error(blocks, noise)
    elif says.startswith(Ordered.what) and _groups_are_large(table):
        for register, part in table.groupby("register", sort=True):
            yield str(register), _means(part), noise
    else:
        yield "", _means(table), noise


def _groups_are_large(table: pd.DataFrame) -> bool:
    sizes = table.groupby("register")["family"].nunique()
    return len(sizes) > 1 and int(sizes.min()) >= FEWEST_FAMILIES


def _means(table: pd.DataFrame) -> Floats:
    """Mean difference of each family: over the cells of a prompt, then over its prompts."""
    by_prompt = table.groupby(["family", "prompt"], sort=False)["difference"].mean()
    means = by_prompt.groupby(level="family", sort=False).mean()
    return np.asarray(means.to_numpy(), dtype=float)


def _correlations(table: pd.DataFrame) -> Iterator[tuple[str, Floats, float]]:
    sides = {}
    for side in ("base", "candidate"):
        wide = table.pivot_table(
            index=["family", "prompt"], columns="quantity", values=f"value_{side}", sort=True
        )
        if wide.shape[1] != 2 or wide.isna().any(axis=None):
            return
        families = [str(f) for f in wide.index.get_level_values("family")]
        sides[side] = (*wide.to_numpy().T, families)
    base, candidate = sides["base"], sides["candidate"]
    own = corr.family_correlations(*base), corr.family_correlations(*candidate)
    shared = [name for name in own[0] if name in own[1]]
    if shared:
        yield "within families", np.array([own[1][n] - own[0][n] for n in shared]), 1e-9
    before, after = _pseudo(*base), _pseudo(*candidate)
    if before is not None and after is not None:
        yield "between families", after - before, 1e-9


def _pseudo(x: Floats, y: Floats, families: Sequence[str]) -> Floats | None:
    """Jackknife values of Fisher z over families: their mean is the correlation's, unbiased."""
    means = [core.group_means(v, families)[0] for v in (x, y)]
    n = means[0].size
    if n < 5 or any(m.std() == 0 for m in means):
        return None

    def z(keep: NDArray[np.bool_]) -> float:
        return float(core.fisher(core.pearson(means[0][keep], means[1][keep])))

    left = np.array([z(np.arange(n) != i) for i in range(n)])
    return np.asarray(n * z(np.ones(n, dtype=bool)) - (n - 1) * left)
