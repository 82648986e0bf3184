"""Synthetic studies with known truth, many at once, and the bound a rate must not exceed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from refutable.records import Region
from refutable.stats import core, decide

ABOVE_ZERO = Region(0.0, None)
SIZES = (3, 5, 5, 8, 4)
"""Prompts of successive families, repeated: sizes are unequal on purpose."""


def standard(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of mean 0 and sd 1: ``normal``, ``t3``, ``lognormal 0.5``, ``lognormal 1``."""
    if kind == "normal":
        return rng.standard_normal(shape)
    if kind == "t3":
        return rng.standard_t(3, shape) / np.sqrt(3)
    sigma = float(kind.split()[1])
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
        own = standard(self.noise, rng, (studies, self.labels.size))
        index = self.labels.astype(int)
        return np.sqrt(self.correlation) * families[:, index] + np.sqrt(1 - self.correlation) * own


def verdicts(values: np.ndarray, labels: np.ndarray, region: Region) -> np.ndarray:
    """What the product's rule says of each study: 1 confirmed, -1 refuted, 0 open."""
    means, _ = core.group_means(values, list(labels))
    limits = core.t_limits(means)
    weights = core.resampling_weights(means.shape[-1], seed=11)
    check = core.bootstrap_limits(means, weights)
    return decide.agreed(limits.low, limits.high, check, region)


def lower_limit(hits: int, n: int) -> float:
    """Lower 95 % Clopper-Pearson limit of a rate."""
    return float(stats.beta.ppf(0.05, hits, n - hits + 1)) if hits else 0.0


def upper_limit(hits: int, n: int) -> float:
    """Upper 95 % Clopper-Pearson limit of a rate."""
    return float(stats.beta.ppf(0.95, hits + 1, n - hits)) if hits < n else 1.0


def not_above(hits: np.ndarray, bound: float) -> bool:
    """Whether the data do not show that the rate exceeds the bound."""
    return lower_limit(int(np.count_nonzero(hits)), hits.size) <= bound
