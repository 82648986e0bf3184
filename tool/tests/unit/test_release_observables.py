"""Observables of the group ``release`` on planted states, heads and blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.checkpoints import llama, save

from refutable.models.encode import Encoded
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.observables.depth import (
    deletion_keeps_top,
    induction_attention,
    lens_divergence,
    logit_rank_defect,
    off_induction_attention,
)
from refutable.observables.stream import (
    FirstCosineShare,
    LargestToMedian,
    OnesCosine,
    SignsCosine,
    TopCosineShare,
)


@dataclass
class States:
    """States of two prompts of three tokens: (token, dim)."""

    value: torch.Tensor

    @property
    def pack(self):
        return SimpleNamespace(segments=[SimpleNamespace(length=3), SimpleNamespace(length=3)])

    def all(self):
        return self.value

    def norms(self):
        return self.value.norm(dim=-1)

    def by_prompt(self, per_token):
        return per_token.reshape(2, 3)


def reduced(kind, value):
    recorder = kind()
    recorder.read("blocks.*.resid_post", 0, States(value))
    return recorder.take(None, 1)[:, 0]


STATES = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))


def test_the_all_ones_direction_is_found_and_a_random_one_is_not():
    planted = 0.01 * STATES + torch.ones(64)
    assert reduced(OnesCosine, planted) == pytest.approx(torch.full((2,), 8.0), rel=1e-3)
    assert (reduced(SignsCosine, planted) < 2).all()
    assert (reduced(OnesCosine, STATES) < 2).all()


def test_one_massive_entry_sets_the_ratio():
    planted = STATES.clone()
    planted[4, 9] = 5000.0
    median = planted[4].abs().median()
    measured = reduced(LargestToMedian, planted)
    assert measured[1] == pytest.approx(float(torch.log10(5000.0 / median)), rel=1e-4)
    assert measured[0] < 1


def test_a_rogue_dimension_makes_the_cosine():
    planted = STATES.clone()
    planted[:, 40] += 30.0
    assert (reduced(TopCosineShare, planted) > 0.9).all()
    assert (reduced(FirstCosineShare, planted).abs() < 0.1).all()


def test_the_share_is_that_of_all_pairs_of_different_tokens():
    unit = (STATES / STATES.norm(dim=-1, keepdim=True)).numpy()[:3]
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    parts = np.mean([unit[i] * unit[j] for i, j in pairs], axis=0)
    expected = np.sort(parts)[-3:].sum() / parts.sum()
    assert float(reduced(TopCosineShare, STATES)[0]) == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    return load(resolve(save(llama(max_position_embeddings=128), folder)))


def encoded(loaded):
    ids = tuple(tuple((7 * i + 3 * j) % 90 + 1 for j in range(5)) for i in range(6))
    names = tuple(f"f{i}/0" for i in range(6))
    return Encoded(ids, names, tuple(f"f{i}" for i in range(6)), "no-bos", None)


def test_the_rank_of_a_whole_head_and_of_one_that_was_cut(loaded):
    assert float(logit_rank_defect(loaded, None)) == 0.0
    head = loaded.model.lm_head.weight
    whole = head.data.clone()
    u, s, v = torch.linalg.svd(whole, full_matrices=False)
    s[-5:] = 0
    try:
        head.data = u @ torch.diag(s) @ v
        assert float(logit_rank_defect(loaded, None)) == -5.0
    finally:
        head.data = whole


def test_a_block_that_writes_nothing_can_be_deleted(loaded):
    kept = {n: p.data.clone() for n, p in loaded.model.named_parameters()}
    block = loaded.model.model.layers[1]
    try:
        block.self_attn.o_proj.weight.data.zero_()
        block.mlp.down_proj.weight.data.zero_()
        values = deletion_keeps_top(loaded, encoded(loaded))
        assert values.sel(layer=1).values.tolist() == [1.0] * 6
        lens = lens_divergence(loaded, encoded(loaded))
        # What an idle block would predict is what the one before it would.
        assert lens.sel(layer=1).values == pytest.approx(lens.sel(layer=0).values, abs=1e-5)
        assert lens.isel(layer=-1).values == pytest.approx(np.zeros(6), abs=1e-5)
        assert not any(len(m._forward_hooks) for m in loaded.model.modules())
    finally:
        for name, parameter in loaded.model.named_parameters():
            parameter.data = kept[name]


def test_random_heads_do_not_copy(loaded):
    values = induction_attention(loaded, None)
    off = off_induction_attention(loaded, None)
    assert values.sizes == {"prompt": 12, "layer": 3, "head": 4}
    # No head of planted noise tells the two places apart: both are near an even share.
    assert float(abs(values - off).mean()) < 0.05
    assert 1 / 48 < float(values.mean()) < 1 / 12


def test_too_short_a_context_is_said(loaded):
    from refutable.errors import NotAvailableError

    short = replace(loaded, facts=replace(loaded.facts, context=32))
    with pytest.raises(NotAvailableError, match="fewer than 48"):
        induction_attention(short, None)
