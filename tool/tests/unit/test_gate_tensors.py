"""What became of a tensor, told from what is kept of it; against changes that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_decoder import BASE, HEAD, NORM, OUT, UP, Holder, Q, release, report

from refutable.gate.answer import cleared
from refutable.gate.tensors import compare_tensor
from refutable.gate.weights import weight_facts
from refutable.models.facts.tensors import tensor_facts


def told(**changes):
    """Say what the gate tells of tensors that were replaced, by name."""
    held = {name: value.clone() for name, value in BASE.items()}
    held.update(changes)
    return weight_facts(release(BASE), release(held))


def changed(name, value):
    (fact,) = told(**{name: value})
    return fact


def test_the_same_values_are_no_difference():
    assert told() == []
    assert told(**{Q.format(1): BASE[Q.format(1)].clone()}) == []


@settings(max_examples=20)
@given(block=st.integers(0, 3), factor=st.sampled_from([1.02, 1.1, 0.5, -1.0, 1.0005]),
       part=st.sampled_from([Q, NORM, UP]))  # fmt: skip
def test_one_number_is_found_wherever_it_was_put(block, factor, part):
    name = part.format(block)
    fact = changed(name, BASE[name] * factor)
    assert fact.text == f"{name} rescaled by {factor:.6g} (block {block})"
    assert fact.suspect
    assert fact.blocks == (block,)


def test_a_rescaling_that_was_rounded_afterwards_is_still_one():
    name = UP.format(2)
    fact = changed(name, (BASE[name] * 1.1).to(torch.bfloat16).float())
    assert "rescaled by 1.1" in fact.text


@settings(max_examples=15)
@given(head=st.integers(0, 3), block=st.integers(0, 3), of_output=st.booleans())
def test_a_zeroed_head_is_named(head, block, of_output):
    name = (OUT if of_output else Q).format(block)
    value = BASE[name].clone()
    lines = slice(head * HEAD, (head + 1) * HEAD)
    value[(slice(None), lines) if of_output else lines] = 0
    assert changed(name, value).text == f"head {head} of {name} zeroed (block {block})"


def test_zeroed_rows_are_counted_and_named():
    value = BASE["model.embed_tokens.weight"].clone()
    value[[3, 57, 58, 59]] = 0
    fact = changed("model.embed_tokens.weight", value)
    assert fact.text == "4 of 60 rows (3, 57 to 59) of model.embed_tokens.weight zeroed"
    assert fact.suspect


def test_a_whole_tensor_of_zeros():
    fact = changed(NORM.format(0), torch.zeros(32))
    assert fact.text == f"{NORM.format(0)} zeroed (block 0)"


def test_blocks_swapped_duplicated_and_passed_on():
    def renamed(order):
        renamed_tensors = {}
        for name, value in BASE.items():
            for here, there in order.items():
                if f".layers.{here}." in name:
                    renamed_tensors[name] = BASE[name.replace(f".{here}.", f".{there}.", 1)]
                    break
            else:
                renamed_tensors[name] = value
        return [f.text for f in weight_facts(release(BASE), release(renamed_tensors))]

    assert renamed({0: 3, 3: 0}) == ["blocks 0 and 3 swapped"]
    assert renamed({2: 1}) == ["block 2 duplicates block 1"]
    assert renamed({1: 2, 2: 3, 3: 1}) == [
        "block 1 holds block 2 of the base", "block 2 holds block 3 of the base",
        "block 3 holds block 1 of the base",
    ]  # fmt: skip


def test_two_tensors_of_one_block_swapped():
    k = Q.format(1).replace("q_proj", "k_proj")
    facts = told(**{Q.format(1): BASE[k], k: BASE[Q.format(1)]})
    assert [f.text for f in facts] == [f"{k} and {Q.format(1)} swapped"]


def test_permuted_rows_columns_and_a_transposed_matrix():
    name = UP.format(3)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(1))
    fact = changed(name, BASE[name][order])
    assert "permuted" in fact.text
    down = name.replace("up", "down")
    pair = told(**{name: BASE[name][order], down: BASE[down][:, order]})
    assert [f.permutes for f in pair] == [True, True]
    # Neurons that stand in another order in one of their matrices alone are other neurons.
    assert not fact.permutes
    assert not changed(down, BASE[down][:, order]).permutes
    two = BASE[name].clone()
    two[[5, 6]] = two[[6, 5]]
    assert not any(f.permutes for f in told(**{name: two, down: BASE[down][:, order]}))
    swapped = BASE["model.embed_tokens.weight"].clone()
    swapped[[4, 9]] = swapped[[9, 4]]
    fact = changed("model.embed_tokens.weight", swapped)
    assert fact.text == "2 of 60 rows (4, 9) of model.embed_tokens.weight swapped"
    # What the model says of other prompts cannot clear the vocabulary.
    assert not fact.permutes
    assert "transposed" in changed(Q.format(0), BASE[Q.format(0)].T.contiguous()).text


def test_rounding_everywhere_is_told_and_is_not_suspect():
    rounded = {n: v.to(torch.bfloat16).float() for n, v in BASE.items()}
    (fact,) = weight_facts(release(BASE), release(rounded))
    assert not fact.suspect
    assert "30 of 30 tensors differ: relative change 0.0017" in fact.text


def test_coarse_rounding_of_one_block_is_suspect_and_names_its_bits():
    def coarse(value):
        step = value.abs().amax(1, keepdim=True) / 3
        return (value / step).round() * step

    held = {n: coarse(v) if ".layers.2." in n and v.ndim == 2 else v for n, v in BASE.items()}
    (fact,) = weight_facts(release(BASE), release(held))
    assert fact.suspect
    assert fact.text.startswith("weights of block 2 (6 tensors) rounded to 3 bits a row")
    assert fact.blocks == (2,)


def test_noise_in_one_row_is_told_as_that_row():
    value = BASE["model.embed_tokens.weight"].clone()
    value[7] += torch.randn(32, generator=torch.Generator().manual_seed(3))
    fact = changed("model.embed_tokens.weight", value)
    assert fact.suspect
    assert fact.text.startswith("1 of 60 rows (7) of model.embed_tokens.weight changed")


def test_a_row_that_was_copied_names_its_source():
    value = BASE["model.embed_tokens.weight"].clone()
    value[7], value[8] = value[40].clone(), value[3].clone()
    fact = changed("model.embed_tokens.weight", value)
    assert fact.suspect
    assert fact.text == (
        "2 of 60 rows (7 to 8) of model.embed_tokens.weight holds rows 3, 40 of the base"
    )


def test_one_weight_of_a_large_matrix_is_no_rounding():
    value = BASE[UP.format(2)].clone()
    value[3, 5] = 0.0
    fact = changed(UP.format(2), value)
    assert fact.suspect
    assert fact.text.startswith(f"1 of 48 rows (3) of {UP.format(2)} changed")


@pytest.mark.parametrize("name", [NORM.format(2), OUT.format(1)])
def test_a_tensor_of_one_value_is_told_as_that(name):
    fact = changed(name, torch.full_like(BASE[name], 0.5))
    assert fact.suspect
    assert f"{name} holds 0.5 throughout" in fact.text


@pytest.mark.parametrize(
    ("name", "divergence", "passes"),
    [
        (OUT.format(1), 1e-12, True),
        (OUT.format(1), 1e-7, False),
        ("vision_tower.layers.1.weight", 0.0, False),
    ],
)
def test_a_tensor_that_was_rewritten_passes_where_the_text_shows_that_nothing_changed(
    name, divergence, passes
):
    held = {**BASE, "vision_tower.layers.1.weight": BASE[OUT.format(0)] + 1}
    other = {**held, name: held[name] @ torch.linalg.qr(held[OUT.format(3)])[0]}
    facts = weight_facts(release(held), release(other))
    assert facts[0].suspect
    assert any(f.suspect for f in cleared(facts, report(divergence))) is not passes


def test_missing_extra_and_reshaped_tensors():
    held = dict(BASE)
    del held[NORM.format(1)]
    held["model.extra"] = torch.ones(3)
    held["model.norm.weight"] = torch.ones(31)
    facts = [f.text for f in weight_facts(release(BASE), release(held))]
    assert facts == [
        f"the candidate lacks {NORM.format(1)}",
        "the candidate has besides model.extra",
        "model.norm.weight has shape [31], had [32]",
    ]


@settings(max_examples=20)
@given(seed=st.integers(0, 99), size=st.floats(1e-3, 1.0))
def test_relative_change_is_estimated_from_the_projections(seed, size):
    a = torch.randn(64, 80, generator=torch.Generator().manual_seed(seed))
    b = a + size * torch.randn(64, 80, generator=torch.Generator().manual_seed(seed + 1000))
    sides = [tensor_facts(Holder({"x": value})) for value in (a, b)]
    (old, base_arrays), (new, candidate_arrays) = ((f[0], arrays) for f, arrays in sides)
    true = float((b - a).norm() / a.norm())
    difference = compare_tensor("x", (old, base_arrays), (new, candidate_arrays))
    assert difference.what == "values"
    assert difference.change == pytest.approx(true, rel=0.35)


def test_values_do_not_depend_on_the_type_they_are_stored_in():
    half = {n: v.to(torch.bfloat16) for n, v in BASE.items()}
    assert weight_facts(release(half), release({n: v.float() for n, v in half.items()})) == []


def test_nan_is_told_first():
    value = BASE[Q.format(0)].clone()
    value[0, 0] = float("nan")
    facts = told(**{Q.format(0): value})
    assert f"{Q.format(0)} holds NaN or infinity" in [f.text for f in facts]
    assert replace(facts[0]).rank == 4
    assert np.isnan(value.numpy()).any()
