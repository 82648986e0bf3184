"""The second arm of the ablation: each variant trained at its own best learning rate.

A shared rate favours the variant that it suits. By the rule of docs/twins.md twins without norms
train best at 6e-3, those with LayerNorm at the shared 4e-3, so that theirs are the runs of the
trained recipe. A finding that is owed to the shared rate is gone in this arm.
"""

from __future__ import annotations

from types import FunctionType

from refutable.spec.claim import restated

TUNED = ("none-tuned", "layernorm-both-trained")


def at_best_rate(function: FunctionType, *, when: str = "after 14 million tokens") -> FunctionType:
    """State the claim of a function about none minus layernorm-both, each at its best rate.

    Parameters
    ----------
    function : callable
        A claim about such a pair of another arm.
    when : str
        At what point of training; empty where the claim says so itself.

    Returns
    -------
    callable
        To be bound to the old name with ``_tuned``.
    """
    said = ", ".join(part for part in (when, "each variant at its best rate") if part)
    return restated(function, suffix="tuned", when=said, figures=False, names=TUNED)
