"""Layouts: every prompt once, budgets kept, prompts of like length together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from refutable.capture.batch import make_batch
from refutable.capture.compare import compare, relative_difference
from refutable.capture.packing import Pack, Segment, like_lengths, make_packs
from refutable.capture.plan import make_plan
from refutable.errors import ClaimError, InstrumentError
from refutable.observables.registry import REGISTRY

LENGTHS = [4, 9, 1, 6, 30, 5, 5, 12]


@pytest.mark.parametrize("layout", ["packed", "padded", "single"])
@pytest.mark.parametrize("budget", [1, 16, 40, 1000])
def test_every_prompt_lies_in_one_pack_and_nothing_overlaps(layout: str, budget: int) -> None:
    packs = make_packs(LENGTHS, layout, token_budget=budget)
    assert sorted(p for pack in packs for p in pack.prompts) == list(range(len(LENGTHS)))
    for pack in packs:
        taken = np.zeros((pack.rows, pack.width), dtype=int)
        for segment in pack.segments:
            assert segment.length == LENGTHS[segment.prompt]
            taken[segment.row, segment.start : segment.start + segment.length] += 1
        assert taken.max() == 1
        assert taken.sum() == pack.tokens
        if layout == "packed":
            assert taken.all(), "no pad token is computed in a packed pass"
        assert len(pack.segments) == 1 or pack.rows * pack.width <= budget


def test_packs_are_filled_in_order_up_to_the_budget() -> None:
    packs = make_packs(LENGTHS, "packed", token_budget=16)
    assert [pack.prompts for pack in packs] == [(0, 1, 2), (3,), (4,), (5, 6), (7,)]
    assert packs[0].segments[1] == Segment(prompt=1, row=0, start=4, length=9)
    few = make_packs(LENGTHS, "packed", token_budget=1000, most_prompts=3)
    assert [len(pack.segments) for pack in few] == [3, 3, 2]


def test_padded_rows_are_of_like_length() -> None:
    packs = make_packs(LENGTHS, "padded", token_budget=1000)
    for pack in packs:
        lengths = [segment.length for segment in pack.segments]
        assert max(lengths) <= 1.25 * min(lengths) + 1
    assert sum(pack.rows * pack.width for pack in packs) < 1.2 * sum(LENGTHS)


@pytest.mark.parametrize(
    ("lengths", "layout", "message"),
    [
        ([], "packed", "no prompts"),
        ([3, 0, 2], "packed", "prompt 1 holds no token"),
        ([3], "diagonal", "layout='diagonal'"),
    ],
)
def test_what_cannot_be_laid_out_is_an_error(lengths: list[int], layout: str, message: str) -> None:
    with pytest.raises(InstrumentError, match=message):
        make_packs(lengths, layout, token_budget=10)


def test_groups_of_like_length_bound_the_padding() -> None:
    lengths = [200, 3, 4, 60, 5, 190, 70, 24]
    (pack,) = make_packs(lengths, "packed", token_budget=1000)
    groups = like_lengths(pack)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert [[lengths[i] for i in group] for group in groups] == [
        [3, 4, 5, 24],
        [60, 70],
        [190, 200],
    ]


def test_batches_find_each_token_again() -> None:
    ids = [[10, 11], [20, 21, 22], [30]]
    pack = Pack("padded", 3, 3, tuple(Segment(i, i, 0, len(x)) for i, x in enumerate(ids)))
    batch = make_batch(pack, ids, "cpu", attention=True)
    flat = batch.inputs["input_ids"].reshape(-1)
    assert flat[batch.tokens].tolist() == [10, 11, 20, 21, 22, 30]
    assert flat[batch.last].tolist() == [11, 22, 30]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    assert "position_ids" not in batch.inputs
    (group,) = batch.groups
    laid_out = flat[group.flat].view(3, 3)
    place = {prompt: row for row, prompt in enumerate(group.prompts.tolist())}
    assert [laid_out[place[i], : len(x)].tolist() for i, x in enumerate(ids)] == ids
    assert laid_out.reshape(-1)[batch.unsort[batch.tokens]].tolist() == [10, 11, 20, 21, 22, 30]
    rows = torch.tensor([[[7.0, 1.0, 5.0]]]).expand(3, 1, 3)
    means = torch.einsum("phq,pq->ph", rows, group.weights)[:, 0]
    by_prompt = {int(i): float(m) for i, m in zip(group.prompts, means, strict=True)}
    assert by_prompt[0] == 1.0
    assert by_prompt[1] == 3.0
    assert np.isnan(by_prompt[2]), "a prompt of one token has no row t >= 1"


def test_positions_restart_in_a_pack() -> None:
    (pack,) = make_packs([2, 3], "packed", token_budget=10)
    batch = make_batch(pack, [[5, 6], [7, 8, 9]], "cpu", attention=False)
    assert batch.inputs["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 0, 1, 2]]
    assert "attention_mask" not in batch.inputs


def test_a_plan_is_the_union_of_what_is_asked_for() -> None:
    plan = make_plan([REGISTRY["residual_norm"], REGISTRY["residual_norm"], REGISTRY["n_tokens"]])
    assert [item.name for item in plan.observables] == ["n_tokens", "residual_norm"]
    assert (plan.attention, plan.logits) == (False, "none")
    plan = make_plan([REGISTRY["attention_first"], REGISTRY["top_token"]])
    assert (plan.attention, plan.logits) == (True, "last")
    with pytest.raises(ClaimError, match="empty"):
        make_plan([])


def test_differences_are_relative_and_miss_nothing() -> None:
    wanted = np.array([1.0, -4.0, np.nan])
    assert relative_difference(wanted + np.array([0, 0.4, 0]), wanted) == pytest.approx(0.1)
    assert relative_difference(wanted + np.array([0, 0.5, 0]), wanted, by_range=True) == (
        pytest.approx(0.1)
    )
    assert relative_difference(np.array([1.0, -4.0, 2.0]), wanted) == float("inf")
    assert relative_difference(np.array([1.0, np.nan, np.nan]), wanted) == float("inf")
    assert relative_difference(np.zeros(3), np.zeros(2)) == float("inf")
    assert relative_difference(np.array([1e-30]), np.zeros(1)) == float("inf")
    assert relative_difference(np.zeros(2), np.zeros(2)) == 0.0
    assert relative_difference(np.array([3, 4]), np.array([1, 2])) == 0.0


def test_a_comparison_names_the_worst_array() -> None:
    import xarray as xr

    def array(values: list[float], order: list[str]) -> xr.DataArray:
        return xr.DataArray(values, dims="prompt", coords={"prompt": order})

    wanted = {"a": array([1.0, 2.0], ["x", "y"]), "b": array([5.0, 10.0], ["x", "y"])}
    measured = {"a": array([2.0, 1.0], ["y", "x"]), "b": array([5.0, 9.0], ["x", "y"])}
    worst = compare(measured, wanted)
    assert (worst.what, worst.value) == ("b", pytest.approx(0.1))
