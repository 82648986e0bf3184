"""Norms whose gains are 1 because they were multiplied into the matrices behind them.

A gain that was folded away leaves its mark: the inputs of all matrices that read the norm vary in
size by more than chance, and alike. In a model that was trained without norms, or whose gains were
lost, they do not. Folded gains leave the function as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from refutable.errors import NotAvailableError
from refutable.models.weights.roles import layout_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from refutable.models.weights.roles import Layout

READERS = (("q", "k", "v"), ("gate", "in"))
"""Matrices that read one norm: of attention, and of the feed-forward."""
_SPREAD = 0.1
"""Least standard deviation, over inputs, of the log size that the matrices share. Trained twins
with and without gains have 0.04 to 0.06, SmolLM2-135M 0.03 to 0.1 before folding and 0.1 to 1.6
after (median 0.08 and 0.4)."""
_ALIKE = 0.3
"""Least correlation of these sizes between two matrices."""


@torch.no_grad()
def gains_lie_behind(model: PreTrainedModel, slots: int) -> bool:
    """Whether the matrices that read norms bear the marks of folded gains.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        With weights.
    slots : int
        In how many places of a block the gains are 1.

    Returns
    -------
    bool
        True where the inputs of as many groups of `READERS`, median over blocks, vary by more than
        0.1 in log size beyond what the number of outputs explains, and alike.
    """
    try:
        layout = layout_of(model)
        folded = sum(_is_folded(model, layout, names) for names in READERS)
    except NotAvailableError:
        return False
    return folded >= min(slots, len(READERS))


def _is_folded(model: PreTrainedModel, layout: Layout, names: Sequence[str]) -> bool:
    spreads, likeness = [], []
    for stored in layout.matrices:
        sizes, noise = [], 0.0
        for name in names:
            if (place := stored.get(name)) is None:
                continue
            matrix = model.get_parameter(place.parameter).float()
            matrix = matrix if place.input_first else matrix.T
            if place.parts:
                matrix = torch.cat([matrix[:, low:high] for low, high in place.parts], dim=1)
            size = torch.linalg.vector_norm(matrix, dim=1).clamp_min(1e-30).log()
            sizes.append(size.cpu().double().numpy())
            # Of n normal numbers the log of the norm has a variance of 1 / (2 n).
            noise += 0.5 / matrix.shape[1]
        if sizes:
            shared = np.mean(sizes, axis=0)
            spreads.append(float(shared.var()) - noise / len(sizes) ** 2)
        if len(sizes) > 1:
            likeness.append(float(np.corrcoef(sizes[0], sizes[1])[0, 1]))
    wide = bool(spreads) and float(np.median(spreads)) > _SPREAD**2
    return wide and (not likeness or float(np.nanmedian(likeness)) > _ALIKE)
