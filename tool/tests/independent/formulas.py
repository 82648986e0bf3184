"""The formulas of docs/statistics.md, written anew from that page with numpy and scipy."""

from __future__ import annotations

import numpy as np
from scipy import stats

Ends = tuple[float | None, float | None]


def skewed(units: np.ndarray) -> float:
    """Third cumulant of a mean of units."""
    return float(stats.kstat(units, 3)) / len(units) ** 2 if len(units) > 2 else 0.0


def finished(
    value: float, se: float, df: float, third: float, *, error: float, region: Ends = (None, None),
    on_z: bool = False, level: float = 0.995, least: float = 4.1, fewer: float = np.inf,
) -> dict:  # fmt: skip
    """Interval, guard and p of one value."""
    back, forward = (np.tanh, np.arctanh) if on_z else (float, float)
    tail = (1 - level) / 2
    skew = third / se**3 if se > 0 else 0.0

    def reach(t: float, side: float) -> float:
        return t + max(side * skew, 0.0) * (2 * t**2 + 1) / 6

    plain, fewer = stats.t.isf(0.025, df), min(df, fewer)
    far = max(stats.t.isf(tail, fewer), least)
    wider = far - stats.t.isf(tail, fewer)
    low, high = back(value - plain * se), back(value + plain * se)
    guard = back(value - reach(far, -1) * se), back(value + reach(far, 1) * se)
    shown = back(value)
    worst = None
    for bound in deciding(shown, region):
        side = 1.0 if bound > shown else -1.0
        if abs(bound - shown) <= error:
            worst = 1.0
            continue
        ratio = side * (forward(bound - side * error) - value) / se
        one_sided = chance(ratio, fewer, max(side * skew, 0.0), wider)
        p = one_sided ** (np.log(0.05) / np.log(tail))
        worst = max(worst or 0.0, min(1.0, p))
    return {
        "value": shown, "low": low - error, "high": high + error, "check_low": guard[0] - error,
        "check_high": guard[1] + error, "p": worst,
    }  # fmt: skip


def chance(ratio: float, df: float, skew: float, wider: float) -> float:
    """One-sided p of the bent statistic: t + skew (2 t^2 + 1) / 6 = ratio, t less `wider`."""
    if skew > 1e-9:
        roots = np.roots([skew / 3, 1.0, skew / 6 - ratio])
        ratio = float(max(roots.real)) if np.isreal(roots).all() else -1.5 / skew
    return float(stats.t.sf(ratio - wider, df))


def deciding(value: float, region: Ends) -> list[float]:
    """Bounds that a verdict must stay clear of."""
    low, high = region
    if low is not None and value <= low:
        return [low]
    if high is not None and value >= high:
        return [high]
    return [bound for bound in region if bound is not None]


def one_sample(units: np.ndarray, *, whole: float | None = None, **how) -> dict:
    """Mean of units; with `whole` the Fisher z of which they are the jackknife values."""
    value = units.mean() if whole is None else whole
    if whole is not None:
        how |= {"on_z": True, "level": 0.98, "least": 0.0}
    made = finished(value, stats.sem(units), len(units) - 1, skewed(units), **how)
    return made if whole is not None else mostly_tied(made, units, **how)


def mostly_tied(
    made: dict, units: np.ndarray, *, error: float, region: Ends = (None, None)
) -> dict:
    """Widen a guard where two thirds of the units give one value and one to four another."""
    near = [np.isclose(units, u, rtol=0, atol=1e-6 * np.abs(units).max()) for u in units]
    common = max(near, key=np.count_nonzero)
    others, n = np.count_nonzero(~common), len(units)
    if not 0 < others < 5 or 3 * others > n:
        return made
    value = np.median(units[common])
    reach = np.abs(units - value).max() * max(3 / others, 1)
    reach = max(reach, 1.0 if (units == np.round(units)).all() else 0.0)
    most = stats.beta.isf(0.0025, others + 1, n - others) * reach
    made["check_low"] = min(made["check_low"], value - most - error)
    made["check_high"] = max(made["check_high"], value + most + error)
    for bound in deciding(made["value"], region):
        share = min(max(abs(bound - value) - error, 0) / reach, 1)
        tail = stats.binom.cdf(others, n, share) ** (np.log(0.05) / np.log(0.0025))
        made["p"] = max(made["p"], tail)
    return made


def step(lower: np.ndarray, upper: np.ndarray, model=None, **how) -> dict:
    """Step between two groups of families on copies of a control, or the model's less that."""
    copies = len(lower)
    steps = upper.mean(1) - lower.mean(1)
    groups, share, third = (lower.mean(0), upper.mean(0)), 1 / copies, 1 / copies**2
    if model is not None:
        groups = tuple(m - g for m, g in zip(model, groups, strict=True))
        share, third = 1 + 1 / copies, 1 - 1 / copies**2
    a, b = (stats.sem(group) ** 2 for group in groups)
    df = (a + b) ** 2 / (a**2 / (len(groups[0]) - 1) + b**2 / (len(groups[1]) - 1))
    draws = steps.var(ddof=1) * share
    variance = a + b + draws
    df = variance**2 / ((a + b) ** 2 / df + draws**2 / (copies - 1))
    skew = skewed(groups[1]) - skewed(groups[0]) + stats.kstat(steps, 3) * third
    value = groups[1].mean() - groups[0].mean()
    return finished(value, np.sqrt(variance), df, skew, **how)


def welch(first: np.ndarray, second: np.ndarray, **how) -> dict:
    """Difference of the means of two groups."""
    a, b = stats.sem(first) ** 2, stats.sem(second) ** 2
    df = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    third = skewed(second) - skewed(first)
    return finished(second.mean() - first.mean(), np.sqrt(a + b), df, third, **how)


def spread(table: np.ndarray) -> tuple[float, float, float]:
    """Variance of the mean from rows and from columns, and what both count."""
    rows, columns = table.shape
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    both = (rest**2).sum() / ((rows - 1) * (columns - 1)) / rows / columns
    return stats.sem(table.mean(1)) ** 2, stats.sem(table.mean(0)) ** 2, both


def two_way(table: np.ndarray, **how) -> dict:
    """Mean of a (seed, family) table."""
    rows, columns = table.shape
    of_rows, of_columns, both = spread(table)
    variance, larger = of_rows + of_columns - both, max(of_rows, of_columns)
    scatter = of_rows**2 / (rows - 1) + of_columns**2 / (columns - 1)
    scatter += both**2 / ((rows - 1) * (columns - 1))
    df = variance**2 / scatter
    if variance <= larger:
        variance, df = larger, rows - 1 if of_rows >= of_columns else columns - 1
    fewer = (of_rows + of_columns) / (of_rows / (rows - 1) + of_columns / (columns - 1))
    third = skewed(table.mean(1)) + skewed(table.mean(0))
    return finished(table.mean(), np.sqrt(variance), df, third, fewer=fewer, **how)


def contrast_with_copies(model: np.ndarray, copies: np.ndarray, **how) -> dict:
    """Model minus control: draws of both, and families."""
    draws, families = model.shape
    count = len(copies)
    apart = model.mean(0) - copies.mean(0)
    of_families = stats.sem(apart) ** 2
    of_copies, _, both_copies = spread(copies)
    third_copies = float(stats.kstat(copies.mean(1), 3)) if count > 2 else 0.0
    if draws > 1:
        of_model, _, both_model = spread(model)
        parts = [(of_copies, count - 1), (of_model, draws - 1)]
        third = skewed(model.mean(1)) - third_copies / count**2
        both = both_copies + both_model
    else:
        parts = [(of_copies * (count + 1), count - 1)]
        third = third_copies * (1 - 1 / count**2)
        both = both_copies * (count + 1)
    of_draws = sum(part for part, _ in parts)
    scatter = sum(part**2 / df for part, df in parts)
    larger = max(of_draws, of_families)
    variance = of_draws + of_families - both
    df = variance**2 / (scatter + of_families**2 / (families - 1))
    if variance <= larger:
        variance, df = larger, of_draws**2 / scatter if of_draws >= of_families else families - 1
    value = model.mean() - copies.mean()
    return finished(value, np.sqrt(variance), df, third + skewed(apart), **how)


def numbers_with_copies(model: np.ndarray, copies: np.ndarray, **how) -> dict:
    """Model minus control where each draw gives one number."""
    if len(model) > 1:
        return welch(copies, model, **how)
    n = len(copies)
    third = float(stats.kstat(copies, 3)) * (1 - 1 / n**2) if n > 2 else 0.0
    se = stats.sem(copies) * np.sqrt(n + 1)
    return finished(model[0] - copies.mean(), se, n - 1, third, **how)


def share(families: np.ndarray, region: Ends = (None, None)) -> dict:
    """Clopper and Pearson's interval with families as draws."""
    k, n = families.sum(), len(families)
    low = stats.beta.ppf(0.025, k, n - k + 1) if k > 0 else 0.0
    high = stats.beta.isf(0.025, k + 1, n - k) if k < n else 1.0
    tails = []
    for bound in deciding(k / n, region):
        below = stats.beta.cdf(bound, k, n - k + 1) if k > 0 else 0.0
        above = stats.beta.sf(bound, k + 1, n - k) if k < n else 0.0
        tails.append(below if k / n > bound else above if k / n < bound else 0.5)
    p = min(1.0, 2 * max(tails)) if tails else None
    return {"value": k / n, "low": low, "high": high, "p": p}


def agreement(
    values: np.ndarray, units: int, *, error: float, region: Ends = (None, None), among=None,
    unknown: bool = False,
) -> dict:  # fmt: skip
    """Values that agree: what so many units can hide; a difference of values that are `among`."""
    values = np.asarray(values, dtype=float)
    value, of = values.mean(), values if among is None else np.asarray(among, dtype=float)
    widest = max(error, np.abs(values - value).max())
    size = abs(value) if among is None else np.abs(of).max()
    reach = max(size, 1.0 if (of == np.round(of)).all() else 0.0)
    if unknown:
        reach *= 2 / (1 - 0.025 ** (1 / units))
    half = widest + (1 - 0.025 ** (1 / units)) * reach
    ps = [
        1.0 if abs(value - b) <= widest
        else min(1.0, 2 * (1 - min(1.0, (abs(value - b) - widest) / reach)) ** units)
        for b in deciding(value, region)
    ]  # fmt: skip
    return {"value": value, "low": value - half, "high": value + half, "p": max(ps, default=None)}


def within_z(x, y, families, keep) -> float:
    """Fisher z of values about their families' means, pooled."""
    a, b = [], []
    for family in keep:
        of_family = families == family
        a.append(x[of_family] - x[of_family].mean())
        b.append(y[of_family] - y[of_family].mean())
    a, b = np.concatenate(a), np.concatenate(b)
    return float(np.arctanh(a @ b / np.sqrt((a @ a) * (b @ b))))


def pseudo_within(x, y, families) -> dict[str, float]:
    """Jackknife values within families."""
    families = np.asarray(families)
    names = [f for f in dict.fromkeys(families) if (families == f).sum() > 1]
    n, whole = len(names), within_z(x, y, families, names)
    left = [within_z(x, y, families, [o for o in names if o != f]) for f in names]
    return {f: n * whole - (n - 1) * z for f, z in zip(names, left, strict=True)}


def between(x, y, families, *, error: float, region: Ends) -> dict:
    """Correlation between families, the noise of their prompts taken off."""
    families = np.asarray(families)
    names = list(dict.fromkeys(families))
    sides = [np.array([v[families == f].mean() for f in names]) for v in (x, y)]
    n = len(names)
    z = np.arctanh(np.corrcoef(*sides)[0, 1])
    keep = ~np.eye(n, dtype=bool)
    pseudo = n * z - (n - 1) * np.arctanh(
        [np.corrcoef(sides[0][k], sides[1][k])[0, 1] for k in keep]
    )
    se, df = max(stats.sem(pseudo), 1 / np.sqrt(n - 3)), n - 2
    sizes = np.array([(families == f).sum() for f in names])
    free, per_mean = (sizes - 1).sum(), (1 / sizes).mean()
    inner = [v - m[[names.index(f) for f in families]] for v, m in zip((x, y), sides, strict=True)]
    within = inner[0] @ inner[1] / np.sqrt((inner[0] @ inner[0]) * (inner[1] @ inner[1]))
    noise = [(i @ i) / free * per_mean / m.var(ddof=1) for i, m in zip(inner, sides, strict=True)]
    factors = [stats.f.ppf(q, n - 1, free) for q in (0.1, 0.9)]
    ways = [(noise[0] * a, noise[1] * b) for a in factors for b in factors]
    lines = [(np.sqrt((1 - a) * (1 - b)), np.sqrt(a * b) * within) for a, b in ways]
    raw = finished(z, se, df, skewed(pseudo), error=0.0, on_z=True, least=0.0)

    def widest(low: float, high: float) -> tuple[float, float]:
        ends = [((low - c) / s, (high - c) / s) for s, c in lines]
        return max(-1.0, min(e[0] for e in ends)), min(1.0, max(e[1] for e in ends))

    slope = np.sqrt((1 - noise[0]) * (1 - noise[1]))
    value = np.clip((np.tanh(z) - np.sqrt(noise[0] * noise[1]) * within) / slope, -1, 1)
    low, high = widest(raw["low"], raw["high"])
    guard = widest(raw["check_low"], raw["check_high"])
    return {
        "value": value, "low": low - error, "high": high + error,
        "check_low": guard[0] - error, "check_high": guard[1] + error,
    }  # fmt: skip


def jackknife_pairs(across: np.ndarray, within: np.ndarray, **how) -> dict:
    """Likeness of runs of two kinds less that of two of one: runs and families left out."""
    return finished(*parts_of_pairs(across, within), **how)


def difference_of_pairs(model: list, copies: list, **how) -> dict:
    """The same of models less that of copies of their control."""
    sides = [parts_of_pairs(*side) for side in (model, copies)]
    (value, se, df, third), (other, other_se, other_df, other_third) = sides
    both = se**2 + other_se**2
    df = both**2 / (se**4 / df + other_se**4 / other_df)
    return finished(value - other, np.sqrt(both), df, third - other_third, **how)


def parts_of_pairs(across: np.ndarray, within: np.ndarray) -> tuple[float, float, float, float]:
    """Value, standard error, degrees of freedom and third cumulant."""

    def contrast(a, b):
        apart = ~np.eye(a.shape[-1], dtype=bool)
        return a[..., apart].mean(-1) - b[..., apart].mean(-1)

    value, runs = contrast(across[0], within[0]), across.shape[-1]
    keeps = [np.delete(np.arange(runs), r) for r in range(runs)]
    without = [
        np.array([contrast(across[0][np.ix_(k, k)], within[0][np.ix_(k, k)]) for k in keeps]),
        contrast(across[1:], within[1:]),
    ]
    variance = scatter = third = 0.0
    for left in without:
        n = len(left)
        part = (n - 1) / n * ((left - left.mean()) ** 2).sum()
        variance += part
        scatter += part**2 / (n - 1)
        third += skewed(n * value - (n - 1) * left)
    return float(value), float(np.sqrt(variance)), variance**2 / scatter, third
