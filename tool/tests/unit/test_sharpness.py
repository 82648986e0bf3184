"""The loss around a model's weights, on losses whose shape is known."""

import math

import numpy as np
import pytest
import torch
from support.architectures import VOCAB, build
from torch import nn
from transformers.pytorch_utils import Conv1D

from refutable.models import large
from refutable.observables import sharpness


class Matrices(nn.Module):
    """A bias, a linear layer (filters are rows) and a Conv1D (filters are columns)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(5, 7)
        self.turned = Conv1D(3, 4)
        nn.init.normal_(self.turned.bias)
        self.requires_grad_(False).double()


CURVATURE = np.array([0.5, 2.0])


def quadratic(model):
    """Curvature times half the squared norm of all matrices: two values, as of two documents."""
    return lambda: (
        CURVATURE
        * sum(float(w.square().sum()) / 2 for w in (model.linear.weight, model.turned.weight))
    )


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_each_filter_of_a_direction_has_the_norm_of_the_models_own():
    model = Matrices()
    drawn = sharpness.random_direction(model, seed=3, index=0)
    assert set(drawn) == {"linear.weight", "turned.weight"}, "biases and gains stay"
    torch.testing.assert_close(drawn["linear.weight"].norm(dim=1), model.linear.weight.norm(dim=1))
    torch.testing.assert_close(drawn["turned.weight"].norm(dim=0), model.turned.weight.norm(dim=0))
    rows = drawn["turned.weight"].norm(dim=1) - model.turned.weight.norm(dim=1)
    assert rows.abs().min() > 1e-3, "a row of a Conv1D is no filter"


def test_two_directions_differ_and_one_repeats():
    model = Matrices()
    first, again, other, seeded = (
        sharpness.random_direction(model, seed, index)["linear.weight"]
        for seed, index in ((3, 0), (3, 0), (3, 1), (4, 0))
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first, seeded)


@pytest.mark.parametrize("radius", [0.1, 0.5])
def test_sharpness_of_a_quadratic_is_its_curvature(radius):
    # Both signs together leave curvature * radius^2 * |w|^2 / 2, whatever the direction.
    model = Matrices()
    squares = sum(float(w.square().sum()) for w in (model.linear.weight, model.turned.weight))
    rises = sharpness.sharpness_of(model, quadratic(model), seed=1, radius=radius, directions=3)
    assert rises == pytest.approx(CURVATURE * radius**2 * squares / 2, rel=1e-9)


def test_a_linear_loss_has_no_sharpness():
    model = Matrices()
    rises = sharpness.sharpness_of(model, lambda: model.linear.weight.sum().numpy(), seed=0)
    assert rises == pytest.approx(0.0, abs=1e-12)


class Letters:
    """Reads letters as token ids."""

    def __call__(self, string, **how):
        return {"input_ids": [ord(c) % VOCAB for c in string]}


class Subject:
    """The fields of a loaded model that these experiments read."""

    def __init__(self, model):
        self.model, self.tokenizer, self.device = model, Letters(), "cpu"
        self.facts = type("Facts", (), {"context": 20, "parameters": 1000})()
        self.spec = type("Spec", (), {"id": "random", "seed": 5})()
        self.weights_digest = "trained"


@pytest.fixture(scope="module")
def subject():
    return Subject(build("gpt2").requires_grad_(False))


def test_a_step_of_length_0_changes_nothing_and_weights_come_back_bit_for_bit(subject):
    before = state(subject.model)
    _, loss = sharpness.held_out(subject)
    drawn = sharpness.random_direction(subject.model, 5, 0)
    here, nowhere, there = sharpness.losses_along(
        subject.model, loss, [(), [(0.0, drawn)], [(0.3, drawn)]]
    )
    assert np.array_equal(here, nowhere)
    assert np.abs(there - here).min() > 0
    after = subject.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_weights_come_back_after_an_error(subject):
    before = state(subject.model)

    def broken():
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        sharpness.sharpness_of(subject.model, broken, seed=0)
    assert all(torch.equal(before[n], t) for n, t in subject.model.state_dict().items())


def test_the_loss_of_a_document_is_the_models_own(subject):
    from refutable.observables.prose.text import documents

    names, loss = sharpness.held_out(subject, every=9)
    texts = documents()[1][::9]
    assert len(names) == len(texts) == 4
    for value, text in zip(loss(), texts, strict=True):
        ids = torch.tensor([[ord(c) % VOCAB for c in text[:20]]])
        assert value == pytest.approx(float(subject.model(input_ids=ids, labels=ids).loss))


def test_curves_and_surface_meet_in_the_model_and_agree(subject):
    curve = sharpness.landscape_curve(subject, None)
    surface = sharpness.landscape_surface(subject, None)
    assert curve.sel(step=0.0).values.tolist() == [0.0, 0.0, 0.0]
    assert float(surface.sel(first=0.0, second=0.0)) == 0.0
    # The two figures share their first directions, so the axes of the plane are curves.
    along = [float(surface.sel(first=x, second=0.0)) for x in (-0.3, 0.3)]
    assert along == pytest.approx(curve.sel(direction=0, step=[-0.3, 0.3]).values, abs=1e-6)
    across = [float(surface.sel(first=0.0, second=x)) for x in (-0.3, 0.3)]
    assert across == pytest.approx(curve.sel(direction=1, step=[-0.3, 0.3]).values, abs=1e-6)


def test_of_a_large_model_the_curve_is_read_off_the_plane(subject, monkeypatch):
    monkeypatch.setattr(large, "LARGE", 1)
    calls = []
    handle = subject.model.register_forward_hook(lambda *_: calls.append(1))
    curve = sharpness.landscape_curve(subject, None)
    surface = sharpness.landscape_surface(subject, None)
    handle.remove()
    assert len(calls) == len(sharpness.SURFACE_LARGE) ** 2
    assert curve.sizes == {"direction": 2, "step": len(sharpness.SURFACE_LARGE)}
    assert curve.sel(direction=0).values.tolist() == surface.sel(second=0.0).values.tolist()
    assert curve.sel(direction=1).values.tolist() == surface.sel(first=0.0).values.tolist()


def test_sharpness_by_document_takes_the_models_seed(subject):
    values = sharpness.sharpness(subject, None)
    assert values.dims == ("text",)
    assert list(values["family"].values) == list(values["text"].values)
    of_fifth = sharpness.sharpness_by_document(subject, seed=5)
    other = sharpness.sharpness_by_document(subject, seed=6)
    assert np.array_equal(values, of_fifth)
    assert not np.allclose(values, other)
    assert math.isfinite(float(values.sum()))
