"""One look at a model in the middle of its training, which the training does not notice."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr

from refutable.api.observe import Observables, dataset, plan
from refutable.api.opening import Model, Prompts, named_prompts, opened, process_store
from refutable.api.results import Results
from refutable.api.verify import ClaimLike, claims_of, decided, plan_claims
from refutable.errors import ClaimError
from refutable.measurement.state import Settings
from refutable.records import Verdict

PREFIX = "refutable/"

_AS_NUMBER = {Verdict.CONFIRMED: 1.0, Verdict.INCONCLUSIVE: 0.0, Verdict.REFUTED: -1.0}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was measured of a model at one step."""

    step: int | None
    """Of the training, as the caller counts them."""
    observations: xr.Dataset = field(repr=False)
    """As `refutable.observe` returns it; empty where only claims were asked for."""
    results: Results | None
    """As `refutable.verify` returns it; ``None`` where no claims were asked for."""
    seconds: float
    """Wall clock that it took."""

    def scalars(self, prefix: str = PREFIX) -> dict[str, float]:
        """Return numbers for a log.

        Parameters
        ----------
        prefix : str
            Goes before each name.

        Returns
        -------
        dict of str to float
            ``NAME`` is the mean over prompt families of an observable (over all its other
            dimensions first). Of each claim that was decided there are ``CLAIM/value``,
            ``CLAIM/low``, ``CLAIM/high`` and ``CLAIM/verdict`` (1 confirmed, 0 inconclusive,
            -1 refuted). ``seconds`` is what the reading took.
        """
        means = {name: _mean(array) for name, array in self.observations.data_vars.items()}
        numbers = {f"{prefix}{name}": value for name, value in means.items()}
        for result in self.results or ():
            estimate = result.estimate
            if result.verdict is None or estimate is None or estimate.value is None:
                continue
            arms = {other.arm for other in self.results or () if other.claim == result.claim}
            stem = f"{prefix}{result.claim}" + (f"/{result.arm}" if len(arms) > 1 else "")
            ends = (("low", estimate.low), ("high", estimate.high))
            numbers[f"{stem}/value"] = estimate.value
            numbers |= {f"{stem}/{name}": end for name, end in ends if end is not None}
            numbers[f"{stem}/verdict"] = _AS_NUMBER[result.verdict]
        return numbers | {f"{prefix}seconds": self.seconds}


def take_reading(
    model: Model,
    prompts: Prompts,
    *,
    observables: Observables = (),
    claims: ClaimLike | Sequence[ClaimLike] = (),
    step: int | None = None,
    arm: str = "no-bos",
    check: bool = True,
) -> Reading:
    """Measure a model in the middle of a training loop.

    The model is put into evaluation mode and back; gradients, modes, and the states of the
    random generators of Python, numpy and torch are afterwards what they were, so that a loop
    with readings trains the same weights as one without.

    Parameters
    ----------
    model : transformers model, or (model, tokenizer)
        As it stands in memory.
    prompts : as for `refutable.observe`
        The same at each step, so that readings can be compared.
    observables : as for `refutable.observe`, optional
        What to measure.
    claims : claim, id, pattern, or a sequence of them, optional
        What to decide. Their null controls are measured at the first reading of a process and
        kept for the later ones, where the config is the same.
    step : int, optional
        Number of the step, kept with the reading.
    arm : {"no-bos", "bos"}
        Of the observables; claims state their own.
    check : bool
        Whether the instrument is checked at each reading.

    Returns
    -------
    Reading

    Raises
    ------
    RefutableError
        If an observable could not be measured; of a claim that could not the results tell.
    """
    chosen = claims_of(claims)
    has_observables = isinstance(observables, str) or callable(observables) or bool(observables)
    if not chosen and not has_observables:
        raise ClaimError("nothing to measure: name observables or claims")
    started = time.perf_counter()
    settings = Settings(check=check)
    store = process_store() if check else None
    with _same_random_state(), opened([model], settings, store=store) as (harness, library, names):
        label = named_prompts(library, prompts)
        asked = plan(harness, names[0], label, observables, arm) if has_observables else []
        planned = plan_claims(chosen, harness, library, names, label)
        seen = dataset(harness, names[0], label, asked, arm) if asked else xr.Dataset()
        results = decided(planned, harness, library) if chosen else None
    return Reading(step, seen, results, time.perf_counter() - started)


@contextmanager
def _same_random_state() -> Iterator[None]:
    plain, drawn = random.getstate(), np.random.get_state()  # noqa: NPY002  (what others use)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(drawn)  # noqa: NPY002


def _mean(array: xr.DataArray) -> float:
    """Mean over families, each weighing the same; over everything else within them."""
    if "family" in array.coords and "prompt" in array.dims:
        rest = [dim for dim in array.dims if dim != "prompt"]
        array = array.mean(rest).groupby("family").mean()
    return float(array.mean())
