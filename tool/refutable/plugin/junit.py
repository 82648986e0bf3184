"""What ``--junitxml`` carries of a result, as test-case properties."""

from __future__ import annotations

from refutable.records import Estimate, Result
from refutable.report.text import visible


def properties(result: Result) -> list[tuple[str, str]]:
    """Return a result as names and values for ``item.user_properties``.

    Parameters
    ----------
    result : Result
        One claim on one model.

    Returns
    -------
    list of (name, value)
        Claim, model, prompts, arm, verdict, how it was refuted, recorded verdict, estimate with its
        interval, n and families, the control's reading and contrast. Numbers are
        written so that reading them gives the same number back; what a result does not have is
        left out.
    """
    pairs: list[tuple[str, str]] = [
        ("claim", result.claim),
        ("model", result.model),
        ("prompts", result.prompts),
        ("arm", result.arm),
        ("verdict", str(result.verdict) if result.verdict is not None else ""),
        ("how", str(result.how) if result.how is not None else ""),
        ("expected", str(result.expected) if result.expected is not None else ""),
        *_numbers("estimate", result.estimate),
    ]
    if result.estimate is not None:
        pairs += [
            ("unit", result.estimate.unit),
            ("n", str(result.estimate.n or "")),
            ("families", str(result.estimate.clusters or "")),
        ]
    if result.control is not None:
        reading = result.control.reading
        pairs.append(("control.reading", str(reading) if reading is not None else ""))
        pairs += _numbers("control.estimate", result.control.estimate)
        pairs += _numbers("control.contrast", result.control.contrast)
    if result.counterexample is not None:
        pairs.append(("counterexample", result.counterexample.prompt))
    return [(f"refutable.{name}", _plain(value)) for name, value in pairs if value]


def _numbers(name: str, estimate: Estimate | None) -> list[tuple[str, str]]:
    if estimate is None:
        return []
    ends = (("", estimate.value), (".low", estimate.low), (".high", estimate.high))
    return [(name + end, repr(float(value))) for end, value in ends if value is not None]


def _plain(value: str) -> str:
    """Return a text that XML can hold: what cannot be seen is named."""
    return visible(value, 2000)
