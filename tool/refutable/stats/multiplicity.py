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
    """
    if not p_values:
        return [], []
    from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]

    plain = [1.0 if p is None else p for p in p_values]
    survives, adjusted, _, _ = multipletests(plain, alpha=level, method="holm")
    known = [p is not None for p in p_values]
    return (
        [float(a) if k else None for a, k in zip(adjusted, known, strict=True)],
        [bool(s) if k else None for s, k in zip(survives, known, strict=True)],
    )
