"""Power-law exponents of weight spectra; advisory, needs the extra ``refutable[spectra]``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from refutable.errors import NotHereError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXPONENTS = [1.0, 50.0]
"""Range searched: the package's own ends at 3, where many weight spectra would pile up."""


def tail_exponent(eigenvalues: NDArray[np.float64]) -> float:
    """Exponent of a power law fitted to the upper tail of positive values.

    Parameters
    ----------
    eigenvalues : array (component,)
        Of W^T W; zeros are left out.

    Returns
    -------
    float
        alpha of p(x) ~ x^-alpha above the cut-off of least KS distance (Clauset, Shalizi and
        Newman 2009), by the ``powerlaw`` package. NaN for fewer than ten positive values.

    Raises
    ------
    NotHereError
        If ``powerlaw`` is not installed.
    """
    try:
        import powerlaw  # type: ignore[import-untyped]
    except ImportError:
        raise NotHereError(
            "spectral exponents need the package powerlaw: pip install 'refutable[spectra]'"
        ) from None
    positive = eigenvalues[eigenvalues > eigenvalues.max(initial=0.0) * 1e-10]
    if positive.size < 10:
        return float("nan")
    with warnings.catch_warnings():
        # The package warns of its own renamed attributes.
        warnings.simplefilter("ignore")
        fit = powerlaw.Fit(positive, verbose=False, parameter_ranges={"alpha": _EXPONENTS})
        return float(fit.power_law.alpha)


def spectral_exponent(matrix: NDArray[np.floating]) -> float:
    """Tail exponent of the eigenvalues of one matrix's W^T W, not centred."""
    from scipy.linalg import eigvalsh

    wide = matrix.astype(np.float64)
    small = wide @ wide.T if wide.shape[0] <= wide.shape[1] else wide.T @ wide
    return tail_exponent(np.asarray(eigvalsh(small)))
