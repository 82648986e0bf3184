"""Claim bodies called on small labelled arrays, whose answers were worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from refutable.measurement.subject import call
from refutable.spec.claim import Claim
from refutable.studies.catalogue import bundled_claims

CLAIMS: dict[str, Claim] = {claim.id: claim for claim in bundled_claims()}

Case = tuple[Mapping[str, Any], Any]
"""Observables by name, and what the body has to return."""


def arr(dims: str, values: Any, **coords: Any) -> xr.DataArray:
    """Labelled array; dims in one string, integers along those that no labels are given for."""
    names = dims.split()
    array = np.asarray(values, dtype=float)
    numbered = {n: np.arange(size) for n, size in zip(names, array.shape, strict=True)}
    return xr.DataArray(array, dims=names, coords=numbered | coords)


def prompts(dims: str, values: Any, **coords: Any) -> xr.DataArray:
    """`arr` whose first dim is prompts, two in each family."""
    array = arr(dims, values, **coords)
    ids = [f"f{i // 2}/{i % 2}" for i in range(array.sizes["prompt"])]
    families = ("prompt", [name.split("/")[0] for name in ids])
    return array.assign_coords(prompt=ids, family=families)


def body_value(claim_id: str, observables: Mapping[str, Any]) -> Any:
    """What a claim's body returns."""
    claim = CLAIMS[claim_id]
    return call(claim.body, observables, claim.observables)


def replicated(claim_id: str, observables: Mapping[str, Any]) -> Any:
    """What the study's own procedure takes."""
    spec = CLAIMS[claim_id].replication
    assert spec is not None
    return call(spec.body, observables, tuple(observables))


def agrees(measured: Any, expected: Any) -> None:
    """Hold what a body returned against the answer, each of several quantities by itself."""
    if isinstance(expected, tuple):
        assert len(measured) == len(expected)
        for one, other in zip(measured, expected, strict=True):
            agrees(one, other)
        return
    values = np.asarray(measured, dtype=float)
    assert values.shape == np.shape(expected)
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-12)


def untested(study: str, *cases: Mapping[str, Any]) -> set[str]:
    """Claims of a study that have no case."""
    known = set().union(*cases)
    return {i for i, claim in CLAIMS.items() if claim.source.study == study} - known
