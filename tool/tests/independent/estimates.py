"""Every estimate of a result anew, from the rows of the run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from files import (
    Run,
    differences,
    hits,
    means,
    pair,
    pairs_of,
    prompts,
    ranked,
    reduced,
    slopes,
)
from formulas import (
    agreement,
    between,
    contrast_with_copies,
    jackknife_pairs,
    numbers_with_copies,
    one_sample,
    pseudo_within,
    share,
    two_way,
    welch,
    within_z,
)

Compared = tuple[str, dict, dict]
"""What is recomputed, the numbers recorded, and those that follow from the rows."""


def of_units(units: np.ndarray, *, hit: bool = False, **how) -> dict:
    """Mean of one number a family or seed, by the rule that its values call for."""
    units = np.asarray(units, dtype=float)
    if hit and set(np.unique(units)) == {0.0, 1.0}:
        return share(units, how.get("region", (None, None)))
    if alike(units, how["error"]):
        return agreement(units, len(units), **how)
    return one_sample(units, **how)


def of_table(table: np.ndarray, **how) -> dict:
    """Mean of a (draw, family) table."""
    if alike(table.ravel(), how["error"]):
        return agreement(table.ravel(), min(table.shape), **how)
    return two_way(table, **how)


def against(model: np.ndarray, copies: np.ndarray, **how) -> dict:
    """Model minus control, both (draw, family)."""
    if alike(model.ravel(), how["error"]) and alike(copies.ravel(), how["error"]):
        return agreed_apart(model, copies, **how)
    return contrast_with_copies(model, copies, **how)


def numbers_against(model: np.ndarray, copies: np.ndarray, **how) -> dict:
    """Model minus control, one number a draw."""
    if alike(model, how["error"]) and alike(copies, how["error"]):
        return agreed_apart(model[:, None], copies[:, None], **how)
    return numbers_with_copies(model, copies, **how)


def agreed_apart(model: np.ndarray, copies: np.ndarray, **how) -> dict:
    """Model minus control where each gives one value; a single draw needs 19 copies."""
    units = [n for n in (len(copies), copies.shape[1] if copies.shape[1] > 1 else 0) if n]
    units += [len(model)] if len(model) > 1 else []
    both = np.concatenate([model.ravel(), copies.ravel()])
    unknown = len(model) == 1 and len(copies) < 19
    return agreement([model.mean() - copies.mean()], min(units), among=both, unknown=unknown, **how)


def alike(values: np.ndarray, error: float) -> bool:
    """Whether values vary by no more than the instrument, or the rounding of numbers."""
    error = max(error, 4 * np.finfo(float).eps * np.abs(values).max())
    return len(values) < 2 or np.std(values, ddof=1) <= error


def exact(value: float, error: float) -> dict:
    """A fact: value and numerical error."""
    return {"value": value, "low": value - error, "high": value + error}


def estimates(run: Run, result: dict) -> Iterator[Compared]:
    """Each part of a result with the numbers recorded and recomputed."""
    kind = run.prediction(result)["kind"]
    if not run.is_there(result):
        return
    parts = {p["part"]: p for p in result["parts"]} or {"": result["estimate"]}
    for name, recorded in parts.items():
        if kind in ("fact", "equals", "rank", "every", "each_seed"):
            yield name, recorded, of_one(run, result, name, recorded)
            continue
        given = run.prediction(result)["parameters"]
        how = {"error": recorded["error"], "region": (given["low"], given["high"])}
        yield name, recorded, KINDS[kind](run, result, name, **how)


def of_one(run: Run, result: dict, name: str, recorded: dict) -> dict:
    """What is read off a checkpoint, or the value that decides a statement about all."""
    kind, error = run.prediction(result)["kind"], recorded["error"]
    region = run.prediction(result)["parameters"]
    if kind == "each_seed":
        (group,) = region["names"]
        members = run.members(result, group)
        said = name or recorded["part"]
        seed = int(said.removeprefix("seed ")) if said.startswith("seed ") else next(iter(members))
        return exact(run.of(result, members[seed])["value"].item(), error)
    values = run.of(result, result["model"])["value"].to_numpy()
    if kind != "every":
        if kind == "rank" and (numbers := ranked(run, result)) is not None:
            values = np.array([rank_of(*numbers)])
        return exact(values.item(), error)
    return {"value": values[np.argmax(beyond(values, region))]}


def beyond(values: np.ndarray, region: dict) -> np.ndarray:
    """How far values lie outside a region, negative inside."""
    low = -np.inf if region["low"] is None else region["low"]
    high = np.inf if region["high"] is None else region["high"]
    return np.maximum(low - values, values - high)


def rank_of(order: str, numbers: np.ndarray) -> float:
    """(1 + b) / (K + 1) of the first number among the others."""
    value, copies = numbers[0], numbers[1:]
    if order == "on either side":
        middle = np.median(numbers)
        b = np.sum(np.abs(copies - middle) >= abs(value - middle))
    else:
        b = np.sum(copies >= value if order == "largest first" else copies <= value)
    return float((1 + b) / len(numbers)) if np.isfinite(numbers).all() else np.nan


def _mean(run: Run, result: dict, name: str, **how) -> dict:
    rows = run.of(result, result["model"])
    values = prompts(rows)
    if set(values.unique()) == {0.0, 1.0}:
        return share(means(rows).to_numpy(), how["region"])
    if alike(values.to_numpy(), how["error"]):
        return agreement(values, rows["family"].nunique(), **how)
    return of_units(means(rows), **how)


def _trend(run: Run, result: dict, name: str, **how) -> dict:
    rows = slopes(run.of(result, result["model"]), cut=name.startswith("without"))
    return of_units(means(rows.assign(quantity="value")), **how)


def _share(run: Run, result: dict, name: str, **how) -> dict:
    rows, given = run.of(result, result["model"]), run.prediction(result)["parameters"]
    over = given.get("over")
    shift = 0.0 if over is None else result["estimate"]["error"]
    low, high = (
        share(means(hits(rows, over, by)).to_numpy(), how["region"]) for by in (-shift, shift)
    )
    return low | {"high": high["high"], "p": max(low["p"], high["p"])}


def _over_seeds(run: Run, result: dict, name: str, **how) -> dict:
    if run.prediction(result)["kind"] == "ordered_models":
        seeds = differences(run, result, name.split(" - "))
    else:
        seeds = reduced(run, result)
    if list(seeds.columns) == ["model"]:
        of_values = run.prediction(result)["kind"] == "over_seeds"
        return of_units(seeds.to_numpy()[:, 0], hit=of_values, **how)
    return of_table(seeds.to_numpy(), **how)


def _ordered(run: Run, result: dict, name: str, **how) -> dict:
    rows = run.of(result, result["model"])
    low, high = reversed(name.split(" - "))
    register = rows.groupby("family", sort=False)["register"].first()
    of_family = means(rows)
    groups = [of_family[register.isin(side.split("/"))].to_numpy() for side in (low, high)]
    return welch(*groups, **how)


def _correlation(run: Run, result: dict, name: str, **how) -> dict:
    wide = pair(run.of(result, result["model"]))
    families = wide.index.get_level_values("family")
    if name.startswith("between"):
        return between(*wide.to_numpy().T, families, **how)
    x, y = wide.to_numpy().T
    z = pseudo_within(x, y, families)
    whole = within_z(x, y, np.asarray(families), list(z))
    return one_sample(np.array(list(z.values())), whole=whole, **how)


def _against_control(run: Run, result: dict, name: str, **how) -> dict:
    copies = [reduced(run, result, c) for c in run.copies(result, run.first(result))]
    model = reduced(run, result)
    if result["control"]["kind"] == "placebo":
        return of_units(model.to_numpy()[0] - copies[0].to_numpy()[0], **how)
    table = pd.concat(copies).to_numpy()
    if list(model.columns) == ["model"]:
        return numbers_against(model.to_numpy()[:, 0], table[:, 0], **how)
    return against(model.to_numpy(), table, **how)


def _across(run: Run, result: dict, name: str, **how) -> dict:
    return jackknife_pairs(*pairs_of(run, result), **how)


KINDS = {
    "mean": _mean, "trend": _trend, "share": _share, "contrast": _over_seeds,
    "contrast_along": _over_seeds, "over_seeds": _over_seeds, "ordered_models": _over_seeds,
    "ordered": _ordered, "correlation": _correlation, "against_control": _against_control,
    "seeds_against_control": _against_control, "across": _across, "across_along": _across,
}  # fmt: skip
