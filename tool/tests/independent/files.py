"""The two files of a run, and what a claim's body returned reduced to the units that decide."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from formulas import pseudo_within

CELL = ["claim", "model", "prompts", "arm"]
COPIES = "copies"
"""Control of rows that speak of all copies at once."""


class Run:
    """The two files of a run."""

    def __init__(self, folder: Path) -> None:
        self.evidence = json.loads((folder / "evidence.json").read_text())
        rows = pd.read_parquet(folder / "observations.parquet")
        self.rows = rows[rows["claim"].notna()]
        self.claims = {c["id"]: c for c in self.evidence["claims"]}
        self.facts = {m["id"]: m["facts"] or {} for m in self.evidence["models"]}
        self.cells = dict(tuple(self.rows.groupby(CELL, sort=False, observed=True)))

    def everything(self, result: dict, model: str) -> pd.DataFrame:
        """All rows of one claim on one model."""
        key = (result["claim"], model, result["prompts"], result["arm"])
        return self.cells.get(key, self.rows.iloc[:0])

    def of(self, result: dict, model: str, control: str | None = None) -> pd.DataFrame:
        """Rows that a body returned on a model, or on a copy of its control."""
        cell = self.everything(result, model)
        cell = cell[cell["control"].isna() if control is None else cell["control"] == control]
        return cell[cell["quantity"].isin(["value", "value2"])] if control != COPIES else cell

    def copies(self, result: dict, model: str) -> list[str]:
        """Names of the copies of a model's control, in their order."""
        cell = self.everything(result, model)
        names = [n for n in cell["control"].dropna().unique() if n[-1].isdigit()]
        return sorted(names, key=lambda n: int(n.rsplit("-", 1)[-1]))

    def members(self, result: dict, name: str) -> dict[int, str]:
        """Models of a group by seed."""
        members = {}
        for model in result["models"]:
            facts = self.facts.get(model, {})
            if name in (facts.get("group"), model):
                members[facts.get("seed") or 0] = model
        return dict(sorted(members.items()))

    def prediction(self, result: dict) -> dict:
        """Kind and parameters of a result's claim."""
        return self.claims[result["claim"]]["prediction"]

    def is_there(self, result: dict) -> bool:
        """Whether the run left any row of what a result rests on."""
        models = [*result["models"], result["model"]]
        return any(len(self.everything(result, model)) for model in models)

    def first(self, result: dict) -> str:
        """The model that stands beside its copies."""
        return result["models"][0] if len(result["models"]) > 1 else result["model"]


def means(rows: pd.DataFrame) -> pd.Series:
    """Family means, further dims averaged; of a body that gives one number, that number."""
    if rows["family"].isna().all():
        return pd.Series(rows["value"].to_numpy(), index=["model"] * len(rows))
    by_prompt = rows.groupby(["family", "prompt"], sort=False)["value"].mean()
    return by_prompt.groupby(level="family", sort=False).mean()


def prompts(rows: pd.DataFrame) -> pd.Series:
    """One value for each prompt, under its family."""
    return rows.groupby(["family", "prompt"], sort=False)["value"].mean()


def hits(rows: pd.DataFrame, over: float | None, shift: float = 0.0) -> pd.DataFrame:
    """Rows with whether each value counts."""
    hit = rows["value"] != 0 if over is None else rows["value"] + shift > over
    return rows.assign(value=hit * 1.0)


def slopes(rows: pd.DataFrame, cut: bool) -> pd.DataFrame:
    """Rows with the least-squares slope over blocks of each prompt."""
    wide = rows.pivot_table(index=["family", "prompt"], columns="layer", values="value", sort=False)
    array = wide.to_numpy()[:, 1:-1] if cut else wide.to_numpy()
    x = np.arange(array.shape[1]) - (array.shape[1] - 1) / 2
    return wide.assign(value=array @ x / (x @ x))[["value"]].reset_index()


def along(run: Run, result: dict, model: str, place: str) -> pd.DataFrame:
    """Rows of a model reduced over its training: to a slope, or to a point that it passed."""
    given, rows = run.prediction(result)["parameters"], run.of(result, model)
    shared = run.everything(result, result["model"])
    at = shared["at"].astype(str).str.removeprefix(f"trained={place};")
    shared = shared.assign(at=at)[at.str.startswith("step=")].dropna(subset=["value"])
    beside = {
        name: shared[shared["quantity"] == name].set_index("at")["value"]
        for name in ("tokens", "loss")
    }
    tokens = np.log2(beside["tokens"])
    if given["where"] == "slope":
        centred = tokens - tokens.mean()
        weights = centred / (centred**2).sum()
    elif given["where"] == "tokens":
        weights = passed(tokens, np.log2(given["level"]))
    else:
        weights = passed(-beside["loss"].loc[tokens.index], -given["level"])
    kept = [name for name in ("family", "prompt") if rows[name].notna().any()]
    rows = rows.assign(value=rows["value"] * rows["at"].map(weights).astype(float))
    if not kept:
        return rows.iloc[:1].assign(value=rows["value"].sum(skipna=False))
    summed = rows.groupby(kept, sort=False, observed=True)["value"].sum(min_count=len(tokens))
    return summed.reset_index()


def passed(series: pd.Series, at: float) -> pd.Series:
    """Weights that interpolate where a series first passes a number; NaN where it never does."""
    weights, values = series * 0.0, series.to_numpy()
    for i, value in enumerate(values):
        if np.isclose(value, at, rtol=1e-9, atol=0):
            weights.iloc[i] = 1.0
            return weights
        if i and values[i - 1] < at < value:
            share = (at - values[i - 1]) / (value - values[i - 1])
            weights.iloc[i - 1], weights.iloc[i] = 1 - share, share
            return weights
    return weights * np.nan


def table(run: Run, result: dict, name: str, control: str | None = None) -> pd.DataFrame:
    """(seed, family) means of a group of models."""
    members, rows = run.members(result, name), {}
    for seed, model in members.items():
        if run.prediction(result)["kind"] == "contrast_along":
            rows[seed] = along(run, result, model, f"{name}:{None if model == name else seed}")
        else:
            rows[seed] = run.of(result, model, control)
    return pd.DataFrame({s: means(r) for s, r in rows.items() if len(r)}).T.dropna(axis=1)


def differences(run: Run, result: dict, names: list[str], control: str | None = None):
    """(seed, family) differences of two groups, first minus second."""
    first, second = (table(run, result, name, control) for name in names)
    seeds = [s for s in first.index if s in second.index]
    shared = [f for f in first.columns if f in second.columns]
    return first.loc[seeds, shared] - second.loc[seeds, shared]


def reduced(run: Run, result: dict, control: str | None = None) -> pd.DataFrame:
    """(draw, family) values that the control of a result is held against."""
    prediction = run.prediction(result)
    kind, given = prediction["kind"], prediction["parameters"]
    names = given.get("names", [])
    if kind in ("contrast", "contrast_along"):
        return differences(run, result, names, control)
    if kind == "ordered_models":
        # The step that its control is read of.
        step = result["control"]["reason"].split(":")[0].split(" - ")
        return differences(run, result, step, control)
    if kind in ("over_seeds", "seeds_against_control"):
        return table(run, result, names[0], control)
    rows = run.of(result, result["model"], control)
    if kind == "trend":
        rows = slopes(rows, cut=False)
    if kind == "share":
        rows = hits(rows, given.get("over"))
    if kind == "correlation":
        wide = pair(rows)
        families = wide.index.get_level_values("family")
        few = control or next(iter(run.copies(result, result["model"])), None)
        single = pair(run.of(result, result["model"], few))
        if few is not None and single.index.get_level_values("family").is_unique:
            wide = wide.loc[wide.index.isin(single.index)]
            return pd.DataFrame([pseudo_pooled(wide)])
        return pd.DataFrame([pseudo_within(*wide.to_numpy().T, families)])
    return means(rows).to_frame().T


def pair(rows: pd.DataFrame) -> pd.DataFrame:
    """Both values of each prompt side by side."""
    keys = ["family", "prompt"]
    return rows.pivot_table(index=keys, columns="quantity", values="value", sort=False)


def pseudo_pooled(wide: pd.DataFrame) -> dict[str, float]:
    """Jackknife values of Fisher z over one prompt of each family."""
    x, y = wide.to_numpy().T
    n, z = len(x), np.arctanh(np.corrcoef(x, y)[0, 1])
    left = [np.arctanh(np.corrcoef(np.delete(x, i), np.delete(y, i))[0, 1]) for i in range(n)]
    names = wide.index.get_level_values("family")
    return {f: n * z - (n - 1) * out for f, out in zip(names, left, strict=True)}


def pairs_of(run: Run, result: dict, control: str | None = None) -> list[np.ndarray]:
    """Likenesses of pairs of runs, (1 + family, first, second)."""
    cell = run.everything(result, result["model"])
    rows = cell[cell["control"].isna() if control is None else cell["control"] == control]
    rows = rows[rows["quantity"].str.startswith("likeness ")]
    numbers = rows["at"].str.extract(r"left_out=(-?\d+);first=(\d+);second=(\d+)").astype(int)
    rows = rows.assign(l=numbers[0], a=numbers[1], b=numbers[2]).sort_values(["l", "a", "b"])
    count = rows["a"].nunique()
    return [
        rows.loc[rows["quantity"] == f"likeness {side}", "value"]
        .to_numpy()
        .reshape(-1, count, count)
        for side in ("across", "within")
    ]


def ranked(run: Run, result: dict) -> tuple[str, np.ndarray] | None:
    """The order of a rank, and what was ranked: the model's number first."""
    cell = run.everything(result, result["model"])
    rows = cell[cell["quantity"].str.startswith("ranked ")]
    if rows.empty:
        return None
    numbered = rows["at"].str.removeprefix("copy=").replace("model", "-1").astype(int)
    order = rows["quantity"].iloc[0].removeprefix("ranked ")
    return order, rows.assign(place=numbered).sort_values("place")["value"].to_numpy()
