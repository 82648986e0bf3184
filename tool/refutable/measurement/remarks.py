"""What a prompt set remarks of its families, such as their register, as labels of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.spec.prompts import PromptSet
from refutable.store.alike import Templates, labels_key

if TYPE_CHECKING:
    import xarray as xr


class Remarks:
    """Puts the remarks of each prompt's family (register, kind, ...) along ``prompt``.

    Arrays that share their labels share what is made of them: a run reads thousands of arrays of
    a few prompt sets, and making an index costs more than reading an array.
    """

    def __init__(self) -> None:
        self._templates = Templates()

    def label(self, array: xr.DataArray, prompts: PromptSet) -> xr.DataArray:
        """Return an array with the remarks on its prompts; as it is without a dim ``prompt``."""
        if "prompt" not in array.dims:
            return array
        labels = labels_key(array)
        key = None if labels is None else (prompts.name, prompts.content_hash, labels)
        return self._templates.filled(
            key, lambda: _remarked(array, prompts), array.data, array.name, array.attrs
        )


def _remarked(array: xr.DataArray, prompts: PromptSet) -> xr.DataArray:
    import xarray as xr

    names = [str(name) for name in array["family"].values]
    remarks = sorted({key for known in prompts.families.values() for key in known})
    of_prompts = {
        remark: ("prompt", [prompts.families.get(n, {}).get(remark, "") for n in names])
        for remark in remarks
    }
    coordinates = xr.Coordinates({**array.coords.variables, **of_prompts})
    return xr.DataArray(array.data, coordinates, array.dims)
