"""Recompute every estimate and reading of a run from its two files, without the package.

    python tool/tests/independent/recompute.py reports/latest

Reads ``evidence.json`` and ``observations.parquet`` with pandas, numpy and scipy alone and compares
value, interval, guard and p of each result, and of its control, with what is recorded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from formulas import (
    agreement,
    between,
    contrast_with_copies,
    jackknife_pairs,
    one_sample,
    pseudo_within,
    share,
    step,
    two_way,
    welch,
    within_z,
)

TOLERANCE = 1e-6
ROUNDING = 1e-7
"""Of values that were measured in float32, relative to their size."""
KEYS = ("value", "low", "high", "check_low", "check_high", "p")
AGREED = "agreement of every prompt, and what as many families can hide"


class Run:
    """The two files of a run."""

    def __init__(self, folder: Path) -> None:
        self.evidence = json.loads((folder / "evidence.json").read_text())
        rows = pd.read_parquet(folder / "observations.parquet")
        self.rows = rows[rows["claim"].notna()]
        self.claims = {c["id"]: c for c in self.evidence["claims"]}
        self.facts = {m["id"]: m["facts"] or {} for m in self.evidence["models"]}
        keys = ["claim", "model", "prompts", "arm"]
        self.cells = dict(tuple(self.rows.groupby(keys, sort=False)))

    def of(self, result: dict, model: str, control: str | None = None) -> pd.DataFrame:
        """Rows that a body returned on a model, or on a copy of its control."""
        cell = self.cells.get((result["claim"], model, result["prompts"], result["arm"]))
        if cell is None:
            return self.rows.iloc[:0]
        chosen = cell["control"].isna() if control is None else cell["control"] == control
        return cell[chosen]

    def copies(self, result: dict, model: str) -> list[str]:
        """Names of the copies of a model's control, in their order."""
        cell = self.cells.get((result["claim"], model, result["prompts"], result["arm"]))
        names = [] if cell is None else [n for n in cell["control"].dropna().unique()]
        return sorted(names, key=lambda n: int(n.rsplit("-", 1)[-1]) if n[-1].isdigit() else 0)

    def members(self, result: dict, name: str) -> dict[int, str]:
        """Models of a group by seed."""
        members = {}
        for model in result["models"]:
            facts = self.facts.get(model, {})
            if name in (facts.get("group"), model):
                members[facts.get("seed") or 0] = model
        return dict(sorted(members.items()))


def means(rows: pd.DataFrame) -> pd.Series:
    """Family means, further dims averaged; of a body that gives one number, that number."""
    if rows["family"].isna().all():
        return pd.Series(rows["value"].to_numpy(), index=["model"] * len(rows))
    by_prompt = rows.groupby(["family", "prompt"], sort=False)["value"].mean()
    return by_prompt.groupby(level="family", sort=False).mean()


def prompts(rows: pd.DataFrame) -> pd.Series:
    """One value for each prompt, under its family."""
    return rows.groupby(["family", "prompt"], sort=False)["value"].mean()


def slopes(rows: pd.DataFrame, cut: bool) -> pd.DataFrame:
    """Rows with the least-squares slope over blocks of each prompt."""
    wide = rows.pivot_table(index=["family", "prompt"], columns="layer", values="value", sort=False)
    array = wide.to_numpy()[:, 1:-1] if cut else wide.to_numpy()
    x = np.arange(array.shape[1]) - (array.shape[1] - 1) / 2
    return wide.assign(value=array @ x / (x @ x))[["value"]].reset_index()


def table(run: Run, result: dict, name: str, control: str | None = None) -> pd.DataFrame:
    """(seed, family) means of a group of models."""
    members = run.members(result, name)
    rows = {seed: run.of(result, model, control) for seed, model in members.items()}
    return pd.DataFrame({s: means(r) for s, r in rows.items() if len(r)}).T.dropna(axis=1)


def differences(run: Run, result: dict, names: list[str], control: str | None = None):
    """(seed, family) differences of two groups, first minus second."""
    first, second = (table(run, result, name, control) for name in names)
    seeds = [s for s in first.index if s in second.index]
    shared = [f for f in first.columns if f in second.columns]
    return first.loc[seeds, shared] - second.loc[seeds, shared]


def reduced(run: Run, result: dict, control: str | None = None) -> pd.DataFrame:
    """(draw, family) values that the control of a result is held against."""
    prediction = run.claims[result["claim"]]["prediction"]
    kind, names = prediction["kind"], prediction["parameters"].get("names", [])
    if kind == "contrast":
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


def estimates(run: Run, result: dict) -> Iterator[tuple[str, dict, dict]]:
    """Name, recorded and recomputed numbers of each part of a result."""
    claim = run.claims[result["claim"]]
    prediction = claim["prediction"]
    kind, given = prediction["kind"], prediction["parameters"]
    region = (given.get("low"), given.get("high"))
    parts = {p["part"]: p for p in result["parts"]} or {"": result["estimate"]}
    for name, recorded in parts.items():
        if recorded is None or recorded["value"] is None or recorded["low"] is None:
            continue
        how = {"error": recorded["error"], "region": region}
        rows = run.of(result, result["model"])
        units, seeds = None, None
        if kind == "mean":
            values = prompts(rows)
            if set(values.unique()) == {0.0, 1.0}:
                yield name, recorded, share(means(rows).to_numpy(), region)
                continue
            units = means(rows).to_numpy()
        elif kind == "trend":
            cut = slopes(rows, cut=name.startswith("without"))
            units = means(cut.assign(quantity="value")).to_numpy()
        elif kind == "share":
            over = given.get("over")
            hit = rows["value"] > over if over is not None else rows["value"] != 0
            yield name, recorded, share(means(rows.assign(value=hit * 1.0)).to_numpy(), region)
            continue
        elif kind in ("contrast", "over_seeds", "ordered_models"):
            if kind == "ordered_models":
                seeds = differences(run, result, name.split(" - "))
            else:
                seeds = reduced(run, result)
            if list(seeds.columns) == ["model"]:
                units, seeds = seeds.to_numpy()[:, 0], None
        elif kind == "ordered":
            low, high = reversed(name.split(" - "))
            register = rows.groupby("family", sort=False)["register"].first()
            groups = [
                means(rows)[register.isin(side.split("/"))].to_numpy() for side in (low, high)
            ]
            yield name, recorded, welch(*groups, **how)
            continue
        elif kind == "correlation":
            wide = pair(rows)
            families = wide.index.get_level_values("family")
            if name.startswith("between"):
                yield name, recorded, between(*wide.to_numpy().T, families, **how)
            else:
                x, y = wide.to_numpy().T
                z = pseudo_within(x, y, families)
                whole = within_z(x, y, np.asarray(families), list(z))
                yield name, recorded, one_sample(np.array(list(z.values())), whole=whole, **how)
            continue
        elif kind in ("against_control", "seeds_against_control"):
            first = result["models"][0] if len(result["models"]) > 1 else result["model"]
            copies = [reduced(run, result, c) for c in run.copies(result, first)]
            model_table = reduced(run, result).to_numpy()
            if len(copies) == 1:
                units = model_table[0] - copies[0].to_numpy()[0]
            else:
                control = np.concatenate([c.to_numpy() for c in copies])
                yield name, recorded, contrast_with_copies(model_table, control, **how)
                continue
        elif kind in ("across", "across_along"):
            frames = pairs_of(run, result)
            yield name, recorded, jackknife_pairs(*frames, **how)
            continue
        else:
            continue
        if recorded["method"] == AGREED:
            least = units if units is not None else seeds.to_numpy()
            yield name, recorded, agreement(least, recorded["clusters"], recorded["seeds"], **how)
        elif units is not None:
            yield name, recorded, one_sample(units, **how)
        elif len(seeds) > 1 or 0 not in seeds.index:
            yield name, recorded, two_way(seeds.to_numpy(), **how)


def pairs_of(run: Run, result: dict, control: str | None = None) -> list[np.ndarray]:
    """Likenesses of pairs of runs, (1 + family, first, second)."""
    rows = run.of(result, result["model"], control)
    numbers = rows["at"].str.extract(r"left_out=(-?\d+);first=(\d+);second=(\d+)").astype(int)
    rows = rows.assign(l=numbers[0], a=numbers[1], b=numbers[2]).sort_values(["l", "a", "b"])
    count = rows["a"].nunique()
    return [
        rows.loc[rows["quantity"] == f"likeness {side}", "value"]
        .to_numpy()
        .reshape(-1, count, count)
        for side in ("across", "within")
    ]


def readings(run: Run, result: dict) -> Iterator[tuple[str, dict, dict]]:
    """Recorded and recomputed control, and model minus control."""
    control, kind = result["control"], run.claims[result["claim"]]["prediction"]["kind"]
    if control is not None and control["contrast"] is not None and kind == "ordered":
        yield from steps(run, result)
        return
    known = (
        "mean", "against_control", "seeds_against_control", "contrast", "over_seeds",
        "ordered_models", "trend",
    )  # fmt: skip
    if control is None or control["contrast"] is None or kind not in (*known, "correlation"):
        return
    first = result["model"] if len(result["models"]) == 1 else result["models"][0]
    names = run.copies(result, first)
    copies = [reduced(run, result, name) for name in names]
    of_model = reduced(run, result)
    if control["kind"] == "placebo" or not names or list(of_model.columns) == ["model"]:
        return
    shared = [f for f in of_model.columns if all(f in c.columns for c in copies)]
    table_of = np.concatenate([c[shared].to_numpy() for c in copies])
    estimate, apart = control["estimate"], control["contrast"]
    if AGREED not in (estimate["method"], apart["method"]):
        yield "control", estimate, two_way(table_of, error=estimate["error"])
        again = contrast_with_copies(of_model[shared].to_numpy(), table_of, error=apart["error"])
        yield "model minus control", apart, again


def steps(run: Run, result: dict) -> Iterator[tuple[str, dict, dict]]:
    """Recorded and recomputed step of an order that its control is read of."""
    control, model = result["control"], result["model"]
    sides = list(reversed(control["reason"].split(":")[0].split(" - ")))
    register = run.of(result, model).groupby("family", sort=False)["register"].first()
    tables = [means(run.of(result, model, name)) for name in (None, *run.copies(result, model))]
    lower, upper = (
        np.array([table[register.isin(side.split("/"))[table.index]] for table in tables])
        for side in sides
    )
    for name, of_model in (("estimate", None), ("contrast", (lower[0], upper[0]))):
        recorded = control[name]
        again = step(lower[1:], upper[1:], of_model, error=recorded["error"])
        yield f"control {name}", recorded, again


def compared(run: Run) -> Iterator[tuple[str, list[str]]]:
    """Each result with the numbers that differ from the recorded ones."""
    for result in run.evidence["results"]:
        if result["verdict"] is None or result["estimate"] is None:
            continue
        label = " ".join((result["claim"], result["model"], result["arm"]))
        for source in (estimates, readings):
            for name, recorded, again in source(run, result):
                if recorded["low"] is None or recorded["high"] is None:
                    continue
                span = max(recorded["high"] - recorded["low"], 1e-9)
                wrong = []
                for key in KEYS:
                    a, b = recorded.get(key), again.get(key)
                    if key == "p" and (a is None or len(result["parts"]) > 0):
                        continue
                    allowed = TOLERANCE if key == "p" else TOLERANCE * span + ROUNDING * abs(a or 0)
                    if (a is None) != (b is None) or (a is not None and abs(a - b) > allowed):
                        wrong.append(f"{key} {a} recorded, {b} recomputed")
                yield f"{label} {name}".strip(), wrong


def main(folder: str) -> int:
    """Say how many numbers agree; 1 where one does not."""
    comparisons = list(compared(Run(Path(folder))))
    bad = [(label, wrong) for label, wrong in comparisons if wrong]
    for label, wrong in bad:
        print(f"{label}: {'; '.join(wrong)}")
    good = len(comparisons) - len(bad)
    print(f"{good} of {len(comparisons)} estimates agree to {TOLERANCE:g} of their interval")
    return 1 if bad or not comparisons else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
