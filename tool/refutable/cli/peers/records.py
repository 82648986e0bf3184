"""What a race came to, as plain data that a file holds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Timing:
    """One contender in one workload."""

    name: str
    seconds: tuple[float, ...] = ()
    """Wall time of each round."""
    cpu: tuple[float, ...] = ()
    """Processor time of all threads in each round; a busy machine hardly changes it."""
    memory: float | None = None
    """Most bytes above what the process held before, where the system tells."""
    difference: float | None = None
    """Largest relative difference from one prompt at a time; ``None`` where nothing was run."""
    absent: str = ""
    """Why it did not run."""

    @property
    def median(self) -> float:
        """Median wall time."""
        return statistics.median(self.seconds)

    @property
    def cpu_median(self) -> float:
        """Median processor time."""
        return statistics.median(self.cpu)

    def quartiles(self, floor: float) -> tuple[float, float]:
        """Quartiles of the processor time in units of `floor`."""
        if len(self.cpu) < 2:
            return self.cpu_median / floor, self.cpu_median / floor
        low, _, high = statistics.quantiles(self.cpu, n=4, method="inclusive")
        return low / floor, high / floor


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload and everybody's times."""

    name: str
    what: str
    timings: tuple[Timing, ...]

    @property
    def floor(self) -> float:
        """Median processor time of the bare forward, which comes first."""
        return self.timings[0].cpu_median


@dataclass(frozen=True, slots=True)
class Report:
    """A whole race: where it was run, with what, and its workloads."""

    model: str
    prompts: int
    tokens: int
    rounds: int
    device: str
    threads: int
    machine: str
    commit: str
    versions: dict[str, str] = field(default_factory=dict)
    matmul: float = 0.0
    """Matrix multiplications alone, in the shapes of the bare forward: GFLOP/s of all threads."""
    matmul_seconds: float = 0.0
    """Processor time of these multiplications for all prompts."""
    peak: float = 0.0
    """GFLOP/s of multiplications of large square matrices, by processor time."""
    workloads: tuple[Workload, ...] = ()
