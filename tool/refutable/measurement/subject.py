"""What a claim is evaluated on: labelled observations of a model, its controls and its check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from refutable.errors import RefutableError
from refutable.observables.registry import REGISTRY

if TYPE_CHECKING:
    import xarray as xr

T = TypeVar("T")


class Observations(Mapping[str, "xr.DataArray"]):
    """Labelled arrays by name; derived observables are computed when first asked for.

    Parameters
    ----------
    recorded : mapping of str to xarray.DataArray
        What was measured.
    derived : dict, optional
        What others made of the same measurements, by name; it is added to.
    """

    def __init__(
        self, recorded: Mapping[str, xr.DataArray], derived: dict[str, xr.DataArray] | None = None
    ) -> None:
        self._arrays = dict(recorded)
        self._derived = {} if derived is None else derived

    def __getitem__(self, name: str) -> xr.DataArray:
        if name not in self._arrays:
            item = REGISTRY[name]
            if item.function is None:
                raise RefutableError(f"observable {name!r} was not measured on this model")
            if name not in self._derived:
                self._derived[name] = call(item.function, self, item.needs)
            self._arrays[name] = self._derived[name]
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def call(
    body: Callable[..., T], observations: Mapping[str, xr.DataArray], names: Sequence[str]
) -> T:
    """Call a body on observations; arrays must agree on their coordinates exactly.

    By default xarray aligns ``a.isel(layer=slice(1, None)) / a.isel(layer=slice(None, -1))`` on
    the layer coordinate and silently gives ones; here that is an error.
    """
    import xarray as xr

    with xr.set_options(arithmetic_join="exact", keep_attrs=False):  # type: ignore[no-untyped-call]
        return body(**{name: observations[name] for name in names})


@dataclass(frozen=True, slots=True)
class Subject:
    """What a claim is evaluated on."""

    observations: Observations
    controls: tuple[Observations, ...] = ()
    control_names: tuple[str, ...] = ()
    check: tuple[Observations, Observations] | None = None
    """The same few prompts in the chosen layout and one by one."""
    dtype: str = "float32"
