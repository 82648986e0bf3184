"""Fixtures for ordinary tests: the run's models, loaded once each, and measuring them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import pytest

from refutable.errors import ModelError, RefutableError, one_line
from refutable.measurement.state import Settings
from refutable.models.registry import resolve
from refutable.plugin.process import share_cores
from refutable.plugin.session import SESSION

if TYPE_CHECKING:
    import xarray as xr
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from refutable.api.observe import Observables
    from refutable.api.opening import Prompts
    from refutable.models.load import LoadedModel


class ClaimModel(NamedTuple):
    """A model of the run, as `refutable.observe` takes it, too."""

    model: PreTrainedModel
    """In evaluation mode, on the run's device and in its type."""
    tokenizer: PreTrainedTokenizerBase | None
    """``None`` for a model without one."""


class Observe(Protocol):
    """`refutable.observe` of the model of a test."""

    def __call__(
        self, prompts: Prompts, observables: Observables, *, arm: str = ..., check: bool = ...
    ) -> xr.Dataset:
        """Measure observables of the test's model."""


@pytest.fixture(scope="session")
def claim_model(request: pytest.FixtureRequest) -> Iterator[ClaimModel]:
    """Return a model of the run with its tokenizer, loaded once; tests run once for each model."""
    session = request.config.stash[SESSION]
    share_cores(request.config)
    loaded: LoadedModel | None = None
    problem = ""
    try:
        loaded = _load(session.name_of(request.param), session.settings)
    except RefutableError as error:
        problem = one_line(error)
    # Raised outside the handler: a traceback that is kept must not keep a model alive.
    if loaded is None:
        pytest.fail(problem, pytrace=False)
    yield ClaimModel(loaded.model, loaded.tokenizer)
    # The traceback of a test that failed may hold the model still; its weights are let go here,
    # before those of the next model are loaded.
    loaded.model.to("meta")  # type: ignore[arg-type]
    del loaded
    gc.collect()
    _empty_cache()


@pytest.fixture(scope="session")
def observe(claim_model: ClaimModel, request: pytest.FixtureRequest) -> Observe:
    """Return a function that measures observables of `claim_model`, as `refutable.observe` does.

    Prompts are texts, token ids, a prompt set, or the name or file of one that the run knows.
    What it measures is not kept between runs.
    """
    from refutable.api.observe import observed
    from refutable.api.opening import process_store

    session = request.config.stash[SESSION]

    def of_this_model(
        prompts: Prompts, observables: Observables, *, arm: str = "no-bos", check: bool = True
    ) -> xr.Dataset:
        known = session.prompts(prompts) if isinstance(prompts, str) else prompts
        store = process_store() if check else None
        return observed(claim_model, known, observables, Settings(check=check), arm, store=store)

    return of_this_model


def _load(name: str, settings: Settings) -> LoadedModel:
    from refutable.models.load import load

    spec = resolve(name, revision=settings.revision)
    loaded = load(spec, device=settings.device, dtype=settings.dtype)
    failed = [check for check in loaded.checks if not check.passed]
    if failed:
        raise ModelError(f"instrument check failed: {failed[0].name}: {failed[0].detail}")
    return loaded


def _empty_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
