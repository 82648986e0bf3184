"""Tensors rescaled against each other, roundings of several blocks, and noise that is no rounding.

What is kept of tensors tells them apart; what the model says decides whether they pass.
"""

from __future__ import annotations

import pytest
import torch
from support.small_decoder import BASE, NORM, OUT, UP, Q, release, report

from refutable.gate.answer import cleared
from refutable.gate.folded import rescaled_against
from refutable.gate.weights import weight_facts

DOWN = "model.layers.{}.mlp.down_proj.weight"


def facts_of(change):
    held = {name: value.clone() for name, value in BASE.items()}
    change(held)
    return weight_facts(release(BASE), release(held))


def folded(held, layers=range(4), parts="qkv", offset=0.0):
    for layer in layers:
        gain = held[NORM.format(layer)] + offset
        for part in parts:
            name = f"model.layers.{layer}.self_attn.{part}_proj.weight"
            held[name] = held[name] * gain
        held[NORM.format(layer)] = torch.ones_like(gain) - offset


@pytest.mark.parametrize("offset", [0.0, 1.0], ids=["gain", "1 + gain"])
def test_gains_folded_in_every_block_are_one_fact_that_behaviour_clears(offset):
    (fact,) = facts_of(lambda held: folded(held, offset=offset))
    assert fact.suspect
    assert fact.tensors == 16
    assert fact.blocks == (0, 1, 2, 3)
    (passed,) = cleared([fact], report(2e-7))
    assert not passed.suspect
    assert passed.text == (
        "16 tensors of blocks 0 to 3 rewritten consistently: the function is the same"
    )
    # A matrix behind the norm that was forgotten shows in what the model says.
    (kept,) = cleared([fact], report(1e-4))
    assert kept.suspect
    assert "rescaled against each other" in kept.text


def test_a_gain_folded_without_a_partner_is_no_fold():
    def change(held):
        held[NORM.format(1)] = torch.ones_like(held[NORM.format(1)])

    (fact,) = facts_of(change)
    assert not fact.folds
    assert "holds 1 throughout" in fact.text


def test_what_else_was_changed_in_the_same_release_is_told_beside():
    def change(held):
        folded(held)
        held[DOWN.format(2)] = held[DOWN.format(2)] * 1.1

    facts = cleared(facts_of(change), report(1e-7))
    assert [f.text.split(" (")[0] for f in facts if f.suspect] == [
        f"{DOWN.format(2)} rescaled by 1.1"
    ]


def test_neurons_rescaled_one_by_one_undo_each_other():
    factors = 2.0 ** torch.arange(48).remainder(5).sub(2)
    factors[7] = -3.0

    def change(held, wrong=1.0):
        held[UP.format(2)] = held[UP.format(2)] * factors[:, None]
        held[DOWN.format(2)] = held[DOWN.format(2)] / factors * wrong

    (fact,) = facts_of(change)
    assert fact.undoes
    assert fact.blocks == (2,)
    assert not any(f.undoes for f in facts_of(lambda held: change(held, 1.01)))
    # No norm is among them, so sums alone are made in another order.
    assert not cleared([fact], report(4e-9))[0].suspect
    assert cleared([fact], report(2e-7))[0].suspect


@pytest.mark.parametrize(
    ("activation", "part", "sign", "undone"),
    [("relu", "fc1", 1, True), ("relu", "fc1", -1, False), ("gelu", "fc1", 1, False),
     ("silu", "gate_proj", 1, False), ("silu", "up_proj", -1, True)],
)  # fmt: skip
def test_a_factor_reaches_what_is_behind_an_activation_that_lets_it_through(
    activation, part, sign, undone
):
    source = torch.Generator().manual_seed(2)
    into, out = f"h.0.mlp.{part}.weight", "h.0.mlp.down.weight"
    held = {into: torch.randn(24, 8, generator=source), out: torch.randn(8, 24, generator=source)}
    factors = sign * 2.0 ** torch.arange(24).remainder(3)
    other = {into: held[into] * factors[:, None], out: held[out] / factors}
    groups = rescaled_against([*held], release(held).weights, release(other).weights, activation)
    assert bool(groups) is undone


def rotated(held, layers):
    turn = torch.linalg.qr(BASE[OUT.format(3)])[0]
    for layer in layers:
        held[OUT.format(layer)] = held[OUT.format(layer)] @ turn


@pytest.mark.parametrize(("divergence", "passes"), [(4e-9, True), (9e-9, True), (2e-8, False)])
def test_roundings_of_two_blocks_add_up(divergence, passes):
    facts = facts_of(lambda held: [held.update({
        OUT.format(layer): held[OUT.format(layer)] @ torch.linalg.qr(BASE[Q.format(3)])[0],
        Q.format(layer): torch.linalg.qr(BASE[OUT.format(3)])[0] @ held[Q.format(layer)],
    }) for layer in (1,)])  # fmt: skip
    one = cleared(facts, report(divergence))
    assert any(f.suspect for f in one) is not (divergence <= 5e-9)
    marked = [*facts, *(f.__class__(f.kind, f.text, True, f.rank, (2,), whole=0.5) for f in facts)]
    assert any(f.suspect for f in cleared(marked, report(divergence))) is not passes


def noisy(share):
    source = torch.Generator().manual_seed(8)
    return lambda matrix: matrix + share * torch.randn(matrix.shape, generator=source)


def eight_bits(matrix):
    step = matrix.abs().amax(dim=1, keepdim=True) / 127
    return (matrix / step).round() * step


CHANGES = {
    "0.5 % noise": (noisy(0.005), True),
    "1 % noise": (noisy(0.01), True),
    "3 % noise": (noisy(0.03), True),
    "bfloat16": (lambda matrix: matrix.to(torch.bfloat16).float(), False),
    "8 bits": (eight_bits, False),
}


@pytest.mark.parametrize("width", [512, 64])
@pytest.mark.parametrize("name", CHANGES)
def test_noise_in_one_matrix_is_suspect_and_rounding_is_told(name, width):
    make, suspect = CHANGES[name]
    matrix = torch.randn(512, width, generator=torch.Generator().manual_seed(7))
    base = {**BASE, OUT.format(1): matrix}
    (fact,) = weight_facts(release(base), release({**base, OUT.format(1): make(matrix)}))
    assert fact.suspect is suspect, fact.text
    assert fact.text.startswith(OUT.format(1))
