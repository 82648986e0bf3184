"""Many claims at once: Holm over claims x models, shown beside each verdict, never deciding it."""

from __future__ import annotations

from collections.abc import Sequence


def holm(
    p_values: Sequence[float | None], *, level: float = 0.05
) -> tuple[list[float | None], list[bool | None]]:
    """Adjust p values by Holm's step-down method.

    Parameters
    ----------
    p_values : sequence of float or None
        One for each sampled claim and model of the run; ``None`` (no verdict at any level) counts
        in the family as 1 and stays ``None``.
    level : float
        Family-wise level.

    Returns
    -------
    adjusted : list of float or None
    survives : list of bool or None
        Whether a verdict at that p would still be made.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6.
    """
    plain = [1.0 if p is None else p for p in p_values]
    adjusted: list[float | None] = [None] * len(plain)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(plain)), key=plain.__getitem__)):
        # Never below that of a smaller p, so that the order of p values is kept.
        largest = max(largest, min(1.0, (len(plain) - rank) * plain[place]))
        if p_values[place] is not None:
            adjusted[place] = largest
    return adjusted, [None if p is None else p <= level for p in adjusted]
