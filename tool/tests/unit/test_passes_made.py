"""Passes that the check of the instrument made are not made again by the run."""

from __future__ import annotations

import pytest
import torch
import xarray as xr

from refutable.capture.last_states import LAST_STATES
from refutable.capture.measure import measure, passes_of
from refutable.capture.plan import make_plan
from refutable.measurement.instrument import check
from refutable.models.encode import encode
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.models.sites import find_sites
from refutable.observables.registry import REGISTRY
from refutable.spec.prompts import PromptLibrary
from refutable.system.paths import fixtures

ASKED = [REGISTRY[name] for name in ("residual_norm_tokens", "own_token_loss", "n_blocks")]


@pytest.fixture(scope="module")
def subject():
    loaded = load(resolve("tiny-rmsnorm"))
    prompts = PromptLibrary([fixtures()])("battery:factual-geography,factual-lives,verse-rhymed")
    return loaded, find_sites(loaded.model), encode(prompts, loaded.tokenizer, loaded.facts, "bos")


def tokens_run(model, run):
    seen = []
    handle = model.get_input_embeddings().register_forward_hook(
        lambda module, args, output: seen.append(args[0].numel())
    )
    try:
        return run(), sum(seen)
    finally:
        handle.remove()


def test_what_the_check_ran_is_taken_over_as_it_is(subject):
    loaded, sites, encoded = subject
    checks = check(loaded, sites, encoded, ASKED, riding=[LAST_STATES])
    assert all(LAST_STATES.name in parts for parts in checks.made.values())
    assert checks.layout == "packed"
    packs = passes_of(loaded.model, encoded, make_plan(ASKED), checks.layout)
    assert set(checks.made) <= set(packs)
    assert len(checks.made) > 1

    def run(made):
        return measure(loaded.model, sites, encoded, ASKED, layout="packed", made=made)

    fresh, every = tokens_run(loaded.model, lambda: run(None))
    again, fewer = tokens_run(loaded.model, lambda: run(checks.made))
    spared = sum(pack.tokens for pack in packs if pack in checks.made)
    assert spared > 0
    assert fewer == every - spared
    for name, array in fresh.items():
        xr.testing.assert_equal(again[name], array)


def test_a_pass_that_lacks_an_observable_is_made(subject):
    loaded, sites, encoded = subject
    made = {}
    measure(loaded.model, sites, encoded, ASKED[:1], layout="packed", made=made)
    (checks, ran) = tokens_run(
        loaded.model,
        lambda: measure(loaded.model, sites, encoded, ASKED, layout="packed", made=made),
    )
    assert ran == sum(len(ids) for ids in encoded.ids)
    assert torch.isfinite(torch.from_numpy(checks["residual_norm_tokens"].values)).any()
    assert all({item.name for item in ASKED} <= set(parts) for parts in made.values())
