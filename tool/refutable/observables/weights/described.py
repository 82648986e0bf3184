"""Every tensor of a model described in a few numbers, as one array of bytes for the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from refutable.observables.registry import observable

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel


@observable(source="model", dims=("byte",), in_store_only=True, version=2)
def tensors_described(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Digest, norms and projections of every tensor, its rows and columns, as a safetensors file.

    See `refutable.models.facts.tensors`. The names, shards and types of the files have no part in
    it; what the model class makes of them is described.
    """
    import numpy as np
    import xarray as xr
    from safetensors.numpy import save

    from refutable.models.facts.tensors import tensor_facts

    facts, arrays = tensor_facts(loaded.model)
    content = save(arrays, metadata={"tensors": json.dumps(facts)})
    return xr.DataArray(np.frombuffer(content, dtype=np.uint8), dims=("byte",))
