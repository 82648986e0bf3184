"""What a claim's body returned as plain arrays, and reduced to one value per family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from refutable.errors import ClaimError
from refutable.stats import core
from refutable.stats.core import Floats

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Labelled:
    """The values of a claim's body as plain arrays."""

    values: NDArray[np.float64]
    """(prompt, ...)."""
    families: tuple[str, ...]
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PerFamily:
    """One reduced value per family (or training seed)."""

    names: tuple[str, ...]
    means: Floats
    """(name,)."""
    n: int
    """Prompts (or seeds) behind them."""
    error: float = 0.0
    """Numerical error of one of them."""
    part: str = ""
    """Which part of the statistic they are of, where it has several."""
    draws: Floats | None = None
    """(training seed, name), where the values are means over training seeds."""

    def of(self, names: Sequence[str]) -> Floats:
        """Return the values of `names`, in their order."""
        return self.means[self._indices(names)]

    def table(self, names: Sequence[str]) -> Floats:
        """Return the values of `names` in each draw of the model: one, or one a training seed."""
        rows = self.means[None] if self.draws is None else self.draws
        return rows[:, self._indices(names)]

    def _indices(self, names: Sequence[str]) -> list[int]:
        place = {name: i for i, name in enumerate(self.names)}
        return [place[name] for name in names]


def labelled(values: Any, *, extra: tuple[str, ...] = (), anything: bool = False) -> Labelled:
    """Read a labelled array (xarray) of one value per prompt.

    Parameters
    ----------
    values : xarray.DataArray
        With dim ``prompt`` and the coordinates ``prompt`` and ``family`` along it.
    extra : tuple of str
        Further dims, in the wanted order.
    anything : bool
        Whether any further dims are allowed.

    Raises
    ------
    ClaimError
        If the dims are not as asked for, which means that the body forgot to reduce one.
    """
    dims = tuple(getattr(values, "dims", ()))
    wanted = ("prompt", *extra)
    if "prompt" not in dims or (not anything and set(dims) != set(wanted)):
        raise ClaimError(
            f"expected the body to return an array over {wanted}, got dims {dims}: "
            "reduce or keep the named dims with xarray"
        )
    if "family" not in values.coords:
        raise ClaimError("the body's values lost the coordinate 'family': keep xarray arrays")
    rest = tuple(d for d in dims if d not in wanted) if anything else ()
    order = (*wanted, *rest)
    ordered = values if dims == order else values.transpose(*order)
    known = ordered.coords.variables
    families = _texts(known["family"].values)
    names = _texts(known["prompt"].values) if "prompt" in known else families
    return Labelled(np.asarray(ordered.values), families, names)


def _texts(labels: np.ndarray[Any, Any]) -> tuple[str, ...]:
    texts = labels.tolist()
    return tuple(texts) if labels.dtype.kind == "U" else tuple(str(label) for label in texts)


def scalar(values: object) -> float:
    """Read one number; an array must hold a single element."""
    array = np.asarray(values, dtype=float)
    if array.size != 1:
        raise ClaimError(f"expected the body to return one number, got shape {array.shape}")
    return float(array.reshape(()))


def is_number(values: Any) -> bool:
    """Whether a body returned one number rather than a value for each prompt."""
    return np.size(values) == 1 and "prompt" not in getattr(values, "dims", ())


def reduce_prompts(values: object, error: float = 0.0, *, anything: bool = False) -> PerFamily:
    """Family means of one value per prompt; further dims are averaged where `anything` is set."""
    with_labels = labelled(values, anything=anything)
    array = with_labels.values.astype(float)
    return per_family(with_labels, array.mean(axis=tuple(range(1, array.ndim))), error)


def per_family(with_labels: Labelled, values: Floats, error: float = 0.0) -> PerFamily:
    """Means by family of one number per prompt."""
    means, names = core.group_means(values, with_labels.families)
    return PerFamily(names, means, len(with_labels.prompts), error)
