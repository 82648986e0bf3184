"""Which observables a model has: one that is missing costs its own claims and no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from refutable.capture.recorder import ALL_LOGITS, LOGITS, PATTERN, Recordable
from refutable.errors import InstrumentError, NotAvailableError

if TYPE_CHECKING:
    from refutable.measurement.instrument_result import InstrumentResult
    from refutable.models.sites import Sites
    from refutable.observables.registry import Observable

    Check = Callable[[Sequence[Observable]], InstrumentResult]


def checked_apart(
    items: Sequence[Observable], sites: Sites, check: Check
) -> tuple[InstrumentResult, dict[str, str]]:
    """Check the instrument on what a model has, and say why it lacks the rest.

    Parameters
    ----------
    items : sequence of Observable
        Recorded observables.
    sites : Sites
        Of the model.
    check : callable
        Checks the instrument for some of them; see `refutable.measurement.instrument.check`.

    Returns
    -------
    result, reasons
        The checks of what can be measured, and by name why the others cannot. Attention that
        cannot be read, or is not the model's own, takes only the observables of attention away.

    Raises
    ------
    RefutableError
        If what else was asked for cannot be checked either.
    """
    reasons = {item.name: why for item in items if (why := lacking(item, sites))}
    there = [item for item in items if item.name not in reasons]
    attention = {item.name for item in there if PATTERN in _reads(item)}
    try:
        result = check(there)
    except (NotAvailableError, InstrumentError) as problem:
        if not attention:
            raise
        why = str(problem)
    else:
        failed = [f"{c.name}: {c.detail}" for c in result.checks if not c.passed]
        if not failed or not attention:
            return result, reasons
        why = "; ".join(failed)
    result = check([item for item in there if item.name not in attention])
    return result, reasons | dict.fromkeys(attention, why)


def lacking(item: Recordable, sites: Sites) -> str:
    """Say why a model does not have what a recorded observable reads; empty if it has it."""
    blocks = len(sites.blocks)
    for wanted in _reads(item):
        if wanted in (LOGITS, ALL_LOGITS):
            if sites.unembedding is None:
                return "the model has no unembedding"
        elif wanted == PATTERN:
            have = sum(module is not None for module in sites.attentions)
            if have < blocks:
                return f"attention was found in {have} of {blocks} blocks"
        else:
            layers = range(blocks) if "*" in wanted else (0,)
            reasons = [sites.reason(wanted.replace("*", str(layer))) for layer in layers]
            some = getattr(item.recorder, "some_blocks", False)
            if all(reasons) if some else any(reasons):
                return next(reason for reason in reasons if reason)
    return ""


def _reads(item: Recordable) -> tuple[str, ...]:
    recorder: Any = item.recorder
    return tuple(getattr(recorder, "reads", ()))
