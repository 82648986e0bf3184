"""Tails of spectra: planted exponents, the package powerlaw's own numbers, planted matrices."""

from __future__ import annotations

import warnings

import numpy as np
import powerlaw
import pytest
import torch
from support.checkpoints import llama

from refutable.models.weights.reading import WeightReader
from refutable.observables.weights.spectra import tail_of
from refutable.observables.weights.tails import shuffled_spectrum_tails, spectrum_tails
from refutable.studies.catalogue import find_claim

SAMPLES = {
    "power 2.5": lambda rng: (1 - rng.random(400)) ** (-1 / 1.5),
    "power 4": lambda rng: (1 - rng.random(400)) ** (-1 / 3),
    "log-normal": lambda rng: np.exp(rng.standard_normal(400)),
    "exponential": lambda rng: rng.exponential(size=400),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_fit_is_that_of_the_package_powerlaw(name):
    values = SAMPLES[name](np.random.default_rng(12))
    tail = tail_of(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = powerlaw.Fit(values, verbose=False, parameter_ranges={"alpha": [1.0, 50.0]})
        assert tail.exponent == pytest.approx(fit.power_law.alpha, rel=1e-6)
        assert tail.share == pytest.approx(float(np.mean(values >= fit.xmin)), abs=1e-9)
        ratio, _ = fit.distribution_compare("lognormal", "power_law",
            normalized_ratio=True)  # fmt: skip
    if tail.log_normal_z > 0.1:
        assert tail.log_normal_z == pytest.approx(ratio, abs=0.02)
    else:
        # The package searches other log-normals; the best one is never far below a power law.
        assert ratio <= tail.log_normal_z + 0.02


@pytest.mark.parametrize("alpha", [2.5, 4.0])
def test_a_power_law_of_known_exponent(alpha):
    values = (1 - np.random.default_rng(12).random(1500)) ** (-1 / (alpha - 1))
    assert tail_of(values).exponent == pytest.approx(alpha, rel=0.06)
    assert tail_of(values).log_normal_z < 1.645


def test_few_or_equal_values_have_no_tail():
    assert np.isnan(tail_of(np.ones(5)).exponent)
    assert np.isnan(tail_of(np.ones(50)).exponent)
    assert np.isnan(tail_of(np.zeros(50)).exponent)


def planted(power: bool) -> WeightReader:
    """A small Llama whose matrices have eigenvalues of a power law of exponent 3, or are noise."""
    model = llama(
        hidden_size=320, intermediate_size=640, num_hidden_layers=2, num_attention_heads=4
    )
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim != 2:
                continue
            parameter.copy_(torch.randn(parameter.shape, generator=source))
            if power:
                u, s, v = torch.linalg.svd(parameter, full_matrices=False)
                drawn = (1 - torch.rand(s.shape, generator=source)) ** -0.5
                parameter.copy_(u @ torch.diag(drawn.sqrt()) @ v)
    return WeightReader.from_state_dict(model.state_dict(), model.config)


def test_planted_tails_are_found_and_shuffling_the_weights_removes_them():
    claim = find_claim("literature.heavy-tails")
    with_tails, noise = planted(power=True), planted(power=False)
    assert float(claim.body(spectrum_tails(with_tails))) > 0.8
    assert float(claim.body(spectrum_tails(noise))) < 0.2
    assert claim.control is not None
    copies = claim.control.body(shuffled_spectrum_tails(with_tails))
    assert copies.sizes == {"copy": 19}
    assert float(copies.max()) < 0.5
    assert float(copies.std()) > 0
