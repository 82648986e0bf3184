"""Observables as pytest fixtures, so that ``pytest --fixtures`` lists them and items name them."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from refutable.errors import ClaimError, near
from refutable.observables.registry import REGISTRY, Observable
from refutable.plugin.cases import OUTCOME
from refutable.spec.cell import Cell
from refutable.spec.claim import Claim

if TYPE_CHECKING:
    import xarray as xr

_PUBLISHED = pytest.StashKey[set[str]]()


@pytest.fixture(scope="session")
def claim_case(request: pytest.FixtureRequest) -> Cell:
    """The cell (model, prompts, arm) that a claim is tested in."""
    cell = getattr(request, "param", None)
    if not isinstance(cell, Cell):
        pytest.fail(
            "only claims can ask for observables: decorate the test with @refutable.claim",
            pytrace=False,
        )
    return cell


def publish(config: pytest.Config) -> None:
    """Register a fixture for every observable that has none yet.

    Observables may be defined in any module that is imported before the claim that names them,
    so this runs whenever a claim is met.
    """
    done = config.stash.setdefault(_PUBLISHED, set())
    new = [item for item in REGISTRY if item.name not in done]
    if not new:
        return
    name = f"refutable-observables-{len(done)}"
    # pytest looks for fixtures in modules and in the types of plugin objects, not in instances.
    holder = ModuleType(name)
    for item in new:
        setattr(holder, item.name, _fixture(item))
    config.pluginmanager.register(holder, name)
    done.update(item.name for item in new)


def check_arguments(claim: Claim) -> None:
    """Refuse a claim that asks for anything but observables.

    The body is called again on controls, contrasts and generated prompts, while pytest caches
    fixtures: any other fixture would silently keep its first value.

    Raises
    ------
    ClaimError
        Naming the argument.
    """
    if not claim.observables:
        raise ClaimError(f"claim {claim.id} asks for no observable: name one as an argument")
    known = [item.name for item in REGISTRY]
    for argument in claim.observables:
        if argument not in known:
            raise ClaimError(
                f"claim {claim.id} asks for {argument!r}, which is not an observable: "
                f"{near(argument, known)} (see `refutable list observables`)"
            )


def _fixture(item: Observable) -> object:
    def read(claim_case: Cell, request: pytest.FixtureRequest) -> xr.DataArray | None:
        outcome = request.node.stash.get(OUTCOME, None)
        subject = None if outcome is None else outcome.subject
        return None if subject is None else subject.observations[item.name]

    read.__doc__ = (
        f"{item.description} ({', '.join(item.dims) or 'scalar'}; {item.unit or 'no unit'})"
    )
    read.__name__ = item.name
    made: object = pytest.fixture(read)
    return made
