"""The residual stream at each prompt's last token, recorded once for all who read it.

Some observables compute on these vectors with more than the pass holds: kernels of all prompts, the
final norm and the unembedding. The packed pass records the vectors on its way and hands them over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from refutable.capture.recorder import RESID_POST, BlockRecorder, Recorded

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from refutable.capture.recorder import Tokens
    from refutable.models.encode import Encoded

    Vectors = NDArray[np.float32]


class LastResidual(BlockRecorder):
    """Residual stream at the last token after each block, before the final norm."""

    name: ClassVar[str] = "last_residual"
    reads: ClassVar[tuple[str, ...]] = (RESID_POST,)

    def read(self, site: str, layer: int, view: Tokens) -> None:
        """Keep the last tokens."""
        self.keep(layer, view.last().float())


LAST_STATES = Recorded(LastResidual.name, ("prompt", "layer", "dim"), LastResidual)
"""What `refutable.capture.measure.measure` records: (prompt, layer, dim)."""

_handed: WeakKeyDictionary[PreTrainedModel, dict[tuple[int, ...], Vectors]] = WeakKeyDictionary()


@contextmanager
def handing_over(
    model: PreTrainedModel, encoded: Encoded, states: xr.DataArray | None
) -> Iterator[None]:
    """Let `handed_over` give what a pass recorded, while a ``with`` block lasts.

    Parameters
    ----------
    model
        It must not change in the block.
    encoded
        The prompts of the pass.
    states
        `LAST_STATES` of them; ``None`` where the pass did not record it.
    """
    if states is not None:
        values = np.asarray(states.values)
        _handed[model] = dict(zip((tuple(ids) for ids in encoded.ids), values, strict=True))
    try:
        yield
    finally:
        _handed.pop(model, None)


def handed_over(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Vectors | None:
    """Return the states of prompts, (prompt, layer, dim), if the pass before recorded them all.

    Parameters
    ----------
    model
        The model that is measured.
    prompts
        Their token ids.
    """
    known = _handed.get(model, {})
    asked = [known.get(tuple(ids)) for ids in prompts]
    vectors = [one for one in asked if one is not None]
    return np.stack(vectors) if vectors and len(vectors) == len(asked) else None
