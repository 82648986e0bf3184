"""Every reading of a null control anew: both estimates, and what they say."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from estimates import Compared, against, exact, numbers_against, of_table, of_units
from files import COPIES, Run, means, pairs_of, reduced
from formulas import difference_of_pairs, jackknife_pairs, step

CONTROL, CONTRAST = "control", "model minus control"


def readings(run: Run, result: dict) -> Iterator[Compared]:
    """The control and model minus control of a result, recorded and recomputed."""
    control, kind = result["control"], run.prediction(result)["kind"]
    if control is None or control["contrast"] is None or not run.is_there(result):
        return
    estimate, apart = control["estimate"], control["contrast"]
    alone, both = {"error": estimate["error"]}, {"error": apart["error"]}
    if kind == "ordered":
        yield from _step(run, result)
        return
    if kind in ("across", "across_along"):
        region = run.prediction(result)["parameters"]
        alone["region"] = (region["low"], region["high"])
        model, copies = (pairs_of(run, result, c) for c in (None, COPIES))
        yield CONTROL, estimate, jackknife_pairs(*copies, **alone)
        yield CONTRAST, apart, difference_of_pairs(model, copies, **both)
        return
    names = run.copies(result, run.first(result))
    of_model, copies = reduced(run, result), [reduced(run, result, name) for name in names]
    if not copies:
        return
    if kind in ("fact", "equals", "rank"):
        middle = float(np.median([c.to_numpy().item() for c in copies]))
        yield CONTROL, estimate, exact(middle, 0.0)
        yield CONTRAST, apart, exact(of_model.to_numpy().item() - middle, 0.0)
        return
    shared = [f for f in of_model.columns if all(f in c.columns for c in copies)]
    model = of_model[shared].to_numpy()
    table = np.concatenate([c[shared].to_numpy() for c in copies])
    if shared == ["model"]:
        model, table = model[:, 0], table[:, 0]
        placebo = control["kind"] == "placebo"
        hit = kind in ("over_seeds", "seeds_against_control") or not placebo
        yield CONTROL, estimate, of_units(table, hit=hit, **alone)
        made = of_units(model - table, **both) if placebo else numbers_against(model, table, **both)
        yield CONTRAST, apart, made
    elif control["kind"] == "placebo":
        if len(table) == 1:
            made = of_units(table[0], hit=True, **alone), of_units((model - table)[0], **both)
        else:
            made = of_table(table, **alone), of_table(model - table, **both)
        yield CONTROL, estimate, made[0]
        yield CONTRAST, apart, made[1]
    else:
        yield CONTROL, estimate, of_table(table, **alone)
        yield CONTRAST, apart, against(model, table, **both)


def _step(run: Run, result: dict) -> Iterator[Compared]:
    """The step of an order that its control is read of."""
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
        yield CONTROL if name == "estimate" else CONTRAST, recorded, again


def said(run: Run, result: dict) -> str | None:
    """What a control's numbers say: informative, uninformative or undetermined."""
    kind, control = run.prediction(result)["kind"], result["control"]
    given = run.prediction(result)["parameters"]
    region = (given["low"], given["high"])
    if kind in ("against_control", "seeds_against_control") or control["contrast"] is None:
        return None
    if kind in ("fact", "equals", "rank"):
        value, *copies = (
            reduced(run, result, c).to_numpy().item()
            for c in (None, *run.copies(result, result["model"]))
        )
        return by_rank(value, copies, region)
    if kind == "correlation":
        region = tuple(None if end is None else np.arctanh(end) for end in region)
    for one in (control["estimate"], control["contrast"]):
        few = one["clusters"] < 5 or 0 < one["seeds"] < 5
        if one["value"] is None or one["low"] is None or few:
            return "undetermined"
    sesoi = abs(run.claims[result["claim"]]["sesoi"] or 0.0)
    one_sided = (region[0] is None) != (region[1] is None)
    sign = -1.0 if one_sided and region[0] is None else 1.0
    low, high = sorted(sign * end for end in ends(control["contrast"]))
    beyond = low > sesoi or (not one_sided and high < -sesoi)
    same = high < sesoi and (one_sided or low > -sesoi)
    inside = side(*ends(control["estimate"]), region) > 0
    if beyond and (one_sided or not inside):
        return "informative"
    return "uninformative" if same and inside else "undetermined"


def by_rank(value: float, copies: list[float], region: tuple) -> str:
    """The reading of a fact: its rank among the copies."""

    def score(x: float) -> float:
        if None not in region:
            return -abs(x - sum(region) / 2)
        return -x if region[0] is None else x

    finite = [c for c in copies if np.isfinite(c)]
    b = sum(score(c) >= score(value) for c in finite)
    if 20 * (1 + b) <= len(finite) + 1:
        return "informative"
    inside = all(side(c, c, region) > 0 for c in finite)
    alike = len(finite) > 18 and inside and 2 * b >= len(finite)
    return "uninformative" if alike else "undetermined"


def ends(estimate: dict) -> tuple[float, float]:
    """Ends of interval and guard together."""
    lows = [estimate[k] for k in ("low", "check_low") if estimate.get(k) is not None]
    highs = [estimate[k] for k in ("high", "check_high") if estimate.get(k) is not None]
    return min(lows), max(highs)


def side(low: float, high: float, region: tuple) -> int:
    """1 wholly inside an open region, -1 wholly outside, else 0."""
    inside = (region[0] is None or low > region[0]) and (region[1] is None or high < region[1])
    outside = (region[0] is not None and high < region[0]) or (
        region[1] is not None and low > region[1]
    )
    return int(inside) - int(outside)
