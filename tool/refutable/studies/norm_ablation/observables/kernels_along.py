"""How a twin's prompts resemble each other along its training: what row N7 is read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.observables.registry import observable
from refutable.observables.similarity.alignment import draws, some
from refutable.observables.similarity.kernels import representation_kernel
from refutable.store.compact import rounded
from refutable.studies.norm_ablation.observables.along import at_each_checkpoint

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel

BITS = 7
"""Binary digits behind the leading one that are kept: an error of 0.4 % of each number at most."""
EVERY = 2
"""Checkpoints a reading: the tokens double from one to the next."""


@observable(
    source="model",
    dims=("step", "draw", "layer", "pair"),
    per_prompt=True,
    unit="",
    of_training=True,
    in_store_only=True,
)
def kernel_along_training(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """`representation_kernel` at every second checkpoint and the last, on one prompt a family.

    Notes
    -----
    Numbers are rounded to `BITS` binary digits, which keeps what is committed of many runs small.
    """
    first = some(encoded, draws(encoded.families)[0])
    table = at_each_checkpoint(loaded, lambda one: representation_kernel(one, first), every=EVERY)
    return table.copy(data=rounded(table.values, BITS))
