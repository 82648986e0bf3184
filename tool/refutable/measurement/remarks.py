"""What a prompt set remarks of its families, such as their register, as labels of arrays."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from refutable.spec.prompts import PromptSet
from refutable.store.alike import filled

if TYPE_CHECKING:
    import xarray as xr


class Remarks:
    """Puts the remarks of each prompt's family (register, kind, ...) along ``prompt``.

    Arrays that share their labels share what is made of them: a run reads thousands of arrays of
    a few prompt sets, and making an index costs more than reading an array.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, xr.DataArray] = {}

    def label(self, array: xr.DataArray, prompts: PromptSet) -> xr.DataArray:
        """Return an array with the remarks on its prompts; as it is without a dim ``prompt``."""
        import xarray as xr

        if "prompt" not in array.dims:
            return array
        labels = array.coords.variables
        # Words of one length lie in the array itself; only then do its bytes tell what it holds.
        told = all(one.dtype.kind != "O" for one in labels.values())
        key = (
            prompts.name,
            prompts.content_hash,
            array.dims,
            array.shape,
            *(
                (name, one.dims, one.dtype.str, one.values.tobytes())
                for name, one in labels.items()
            ),
        )
        if not told or key not in self._known:
            names = [str(name) for name in array["family"].values]
            remarks = sorted({key for known in prompts.families.values() for key in known})
            of_prompts = {
                remark: ("prompt", [prompts.families.get(n, {}).get(remark, "") for n in names])
                for remark in remarks
            }
            whole = xr.Coordinates({**labels, **of_prompts})
            self._known[key] = xr.DataArray(array.data, whole, array.dims)
        return filled(self._known[key], array.data, array.name, array.attrs)
