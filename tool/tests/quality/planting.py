"""Synthetic studies with known truth, many at once, and the bound a rate must not exceed."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
from scipy import stats

from refutable.records import Region
from refutable.stats import core, decide
from refutable.stats.core import Limits

ABOVE_ZERO = Region(0.0, None)
SIZES = (3, 5, 5, 8, 4)
"""Prompts of successive families, repeated: sizes are unequal on purpose."""
SKEWED = ("t2.5", "gamma 1", "lognormal 1", "outliers 8", "outliers 10")
"""Noise beside the normal one under which no verdict may err in more than 5 % a side."""
FAR = ("outliers 12", "tenth 8")
"""The like for a single verdict; the gate, which looks at many claims, errs more."""
DISCRETE = ("binary", "tied", "zeros")
"""Hits in three of ten, noise rounded to whole numbers, and zeros but for three of ten."""


def studies(least: int) -> int:
    """Studies of a cell; ``PLANTED_TIMES=20 pytest tool/tests/quality`` draws twenty times more."""
    return least * int(os.environ.get("PLANTED_TIMES", "1"))


def drawn(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of any kind, discrete ones too, whose mean need not be 0."""
    if kind == "binary":
        return (rng.random(shape) < 0.3) * 1.0
    if kind == "tied":
        return np.round(rng.standard_normal(shape))
    if kind == "zeros":
        return (rng.random(shape) < 0.3) * rng.standard_exponential(shape)
    return standard(kind, rng, shape)


def standard(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of mean 0: ``normal``, ``t3``, ``gamma 1``, ``lognormal 1``, ``outliers 8`` and so on.

    Its sd is 1, but for outliers: one draw in twenty (of ``tenth``: in ten) lies that many sd of
    the others above them.
    """
    if kind == "normal":
        return rng.standard_normal(shape)
    if kind[0] == "t" and kind[1].isdigit():
        df = float(kind[1:])
        return rng.standard_t(df, shape) / np.sqrt(df / (df - 2))
    name, size = kind.split()
    if name in ("outliers", "tenth"):
        apart, share = float(size), 0.05 if name == "outliers" else 0.1
        return rng.standard_normal(shape) + apart * ((rng.random(shape) < share) - share)
    if name == "gamma":
        return (rng.standard_gamma(float(size), shape) - float(size)) / np.sqrt(float(size))
    if name == "weibull":
        first, second = (math.gamma(1 + power / float(size)) for power in (1, 2))
        return (rng.weibull(float(size), shape) - first) / np.sqrt(second - first**2)
    sigma = float(size)
    raw = np.exp(sigma * rng.standard_normal(shape))
    mean = np.exp(sigma**2 / 2)
    return (raw - mean) / (mean * np.sqrt(np.exp(sigma**2) - 1))


@dataclass(frozen=True)
class Plan:
    """A kind of study: noise, families, intra-family correlation."""

    noise: str
    families: int
    correlation: float

    @property
    def labels(self) -> np.ndarray:
        """Family of each prompt, sizes unequal."""
        sizes = [SIZES[i % len(SIZES)] for i in range(self.families)]
        return np.repeat(np.arange(self.families).astype(str), sizes)

    def draw(self, studies: int, seed: int) -> np.ndarray:
        """Values (study, prompt) with true mean 0 and sd 1."""
        rng = np.random.default_rng([seed, self.families, round(100 * self.correlation)])
        families = standard(self.noise, rng, (studies, self.families))
        apart = standard(self.noise, rng, (studies, self.labels.size))
        index = self.labels.astype(int)
        return (
            np.sqrt(self.correlation) * families[:, index] + np.sqrt(1 - self.correlation) * apart
        )


def decided(limits: Limits, region: Region, *, guard: core.Guard = core.GUARD) -> np.ndarray:
    """What the rule says of each study: 1 confirmed, -1 refuted, 0 open."""
    return decide.agreed(limits.low, limits.high, core.guard_ends(limits, guard=guard), region)


def verdicts(values: np.ndarray, labels: np.ndarray, region: Region) -> np.ndarray:
    """What the product's rule for means says of each study."""
    means, _ = core.group_means(values, list(labels))
    return decided(core.t_limits(means), region)


def lower_limit(hits: int, n: int) -> float:
    """Lower 95 % Clopper-Pearson limit of a rate."""
    return float(stats.beta.ppf(0.05, hits, n - hits + 1)) if hits else 0.0


def upper_limit(hits: int, n: int) -> float:
    """Upper 95 % Clopper-Pearson limit of a rate."""
    return float(stats.beta.ppf(0.95, hits + 1, n - hits)) if hits < n else 1.0


def not_above(hits: np.ndarray, bound: float) -> bool:
    """Whether the data do not show that the rate exceeds the bound."""
    return lower_limit(int(np.count_nonzero(hits)), hits.size) <= bound


def errs_at_most(said: np.ndarray, bound: float = 0.05) -> None:
    """Demand that neither side errs in more than `bound` of studies whose truth is the bound."""
    for side, name in ((1, "confirmed"), (-1, "refuted")):
        rate = float((said == side).mean())
        assert not_above(said == side, bound), f"{name} in {rate:.1%} of {said.size} studies"
