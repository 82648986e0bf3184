"""The union of what a pass must read, from the observables that were asked for. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from refutable.capture.recorder import ALL_LOGITS, LOGITS, PATTERN, Recordable, Recorder
from refutable.errors import ClaimError
from refutable.models.site_names import canonical


@dataclass(frozen=True, slots=True)
class Plan:
    """Recorders of one pass and the sites they read."""

    observables: tuple[Recordable, ...]
    recorders: tuple[Recorder, ...]

    def readers(self, site: str) -> tuple[Recorder, ...]:
        """Recorders that read a site."""
        return tuple(r for r in self.recorders if site in map(canonical, r.reads))

    @property
    def sites(self) -> frozenset[str]:
        """All sites that some recorder reads."""
        return frozenset(canonical(site) for r in self.recorders for site in r.reads)

    @property
    def attention(self) -> bool:
        """Whether any recorder reads attention patterns."""
        return PATTERN in self.sites

    @property
    def logits(self) -> str:
        """Where logits are needed: ``none``, ``last`` (token of each prompt) or ``all``."""
        if ALL_LOGITS in self.sites:
            return "all"
        return "last" if LOGITS in self.sites else "none"


def make_plan(observables: Sequence[Recordable]) -> Plan:
    """Make fresh recorders for the observables of one pass.

    Raises
    ------
    ClaimError
        If none is given or one of them is derived: those are functions of what is recorded.
    """
    unique = {item.name: item for item in observables}
    if not unique:
        raise ClaimError("no observables to record: the selection is empty")
    derived = [name for name, item in unique.items() if item.recorder is None]
    if derived:
        raise ClaimError(
            f"{', '.join(derived)} cannot be recorded: record what it is derived from "
            "(Registry.recorded)"
        )
    items = tuple(unique[name] for name in sorted(unique))
    return Plan(items, tuple(item.recorder() for item in items if item.recorder is not None))


def needs_attention(observables: Sequence[Recordable]) -> bool:
    """Whether recording these takes the attention patterns."""
    return make_plan(observables).attention
