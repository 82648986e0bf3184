"""The claims of the group `release` on planted truths: each is confirmed, refuted, and controlled.

What they read is planted in real states, heads and weights by test_release_observables, or computed
by plain loops in test_capture_architectures, test_deletion and test_weights_tails.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from support.bodies import CLAIMS, body_value
from support.checkpoints import llama, save

from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.observables.depth import (
    HALF,
    induction_attention,
    lens_divergence,
    off_induction_attention,
)
from refutable.predictions import Measured
from refutable.predictions.base import NullControl
from refutable.records import Reading, Verdict

RELEASE = sorted(claim.id for claim in CLAIMS.values() if "release" in claim.groups)
FAMILIES, BLOCKS, HEADS = 20, 8, 6


def values(*dims, level, spread=0.02, seed=0):
    """Values of forty prompts, two a family, about a level that may differ by block or head."""
    sizes = {"layer": BLOCKS, "head": HEADS}
    noise = np.random.default_rng(seed).normal(size=(2 * FAMILIES, *(sizes[d] for d in dims)))
    ids = [f"f{i // 2}/{i % 2}" for i in range(2 * FAMILIES)]
    coords = {"prompt": ids, "family": ("prompt", [i.split("/")[0] for i in ids])}
    coords |= {dim: np.arange(sizes[dim]) for dim in dims}
    return xr.DataArray(level + spread * noise, dims=("prompt", *dims), coords=coords)


DEPTH = np.arange(BLOCKS)
ONE_HEAD = np.where(np.arange(HEADS) == 2, 0.7, 0.05)
SPREAD = {"spread": 0.1}

PLANTED = {
    # Observable, where the claim is true, where it is not, and the control's observable and level.
    "literature.attention-sink": (
        "attention_first", (("layer", "head"), ONE_HEAD), (("layer", "head"), 0.05),
        ("attention_middle", (("layer", "head"), 0.05)),
    ),
    "literature.blocks-are-spare": (
        "deletion_keeps_top", (("layer",), 0.95), (("layer",), 0.3),
        ("deletion_keeps_other", (("layer",), 0.05)),
    ),
    "literature.induction-head": (
        "induction_attention", (("layer", "head"), ONE_HEAD), (("layer", "head"), 0.05),
        ("off_induction_attention", (("layer", "head"), 0.05)),
    ),
    "literature.lens-converges": (
        "lens_divergence", (("layer",), 9.0 - DEPTH), (("layer",), 1.0 + DEPTH), None,
    ),
    "literature.massive-entries": (
        "largest_to_median", (("layer",), 1.0 + DEPTH), (("layer",), 1.0),
        ("tenth_to_median", (("layer",), 0.5)),
    ),
    "literature.no-ones-direction": (
        "ones_cosine", (("layer",), 0.8), (("layer",), 5.0), ("signs_cosine", (("layer",), 0.8)),
    ),
    "literature.rogue-dimensions": (
        "top_cosine_share", (("layer",), 0.8), (("layer",), 0.2),
        ("first_cosine_share", (("layer",), 0.05)),
    ),
    "literature.stream-grows": (
        "mean_log_residual_norm_rest", (("layer",), 0.1 * DEPTH), (("layer",), -0.1 * DEPTH), None,
    ),
}  # fmt: skip
"""The two others are facts of one number: `OF_ONE_NUMBER`."""
OF_ONE_NUMBER = {"literature.rank-of-logits", "literature.heavy-tails"}


def test_every_claim_of_the_group_has_a_planted_truth_and_full_form():
    assert set(RELEASE) == PLANTED.keys() | OF_ONE_NUMBER
    for claim in map(CLAIMS.get, RELEASE):
        assert claim.source.ref.startswith("B")
        assert claim.source.citation
        assert claim.refuted_if
        assert claim.predicts.region != type(claim.predicts.region)()
        assert claim.control is not None or claim.no_control
        assert claim.margin


def judged(name, observable, level, control=None):
    claim = CLAIMS[name]
    seen = {observable: values(*level[0], level=level[1])}
    error = 1e-6
    measured = Measured(body_value(name, seen), error, 0, claim.unit)
    verdict = claim.predicts.judge(measured).decision.verdict
    if control is None:
        return verdict, None
    other = {control[0]: values(*control[1][0], level=control[1][1], seed=1)}
    placebo = claim.control.body(*(other[n] for n in claim.control.observables))
    null = NullControl("placebo", ("m@placebo",), (placebo,), claim.sesoi)
    return verdict, claim.predicts.read_control(measured, null).reading


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_truth_is_confirmed_and_its_absence_refuted(name):
    observable, present, absent, control = PLANTED[name]
    # Where nothing else is named, the control looks at the same values in another order.
    beside = control or (observable, present)
    assert judged(name, observable, present, beside) == (Verdict.CONFIRMED, _READING.get(
        name, Reading.INFORMATIVE))  # fmt: skip
    assert judged(name, observable, absent)[0] is Verdict.REFUTED


_READING = {
    # States are as far from the all-ones direction as from any other: the control says so.
    "literature.no-ones-direction": Reading.UNINFORMATIVE,
}


def test_the_rank_is_a_number_that_may_err_by_one():
    claim = CLAIMS["literature.rank-of-logits"]
    for value, verdict in ((0, Verdict.CONFIRMED), (-1, Verdict.CONFIRMED), (-5, Verdict.REFUTED)):
        body = body_value(claim.id, {"logit_rank_defect": xr.DataArray(float(value))})
        assert claim.predicts.judge(Measured(body)).decision.verdict is verdict


def test_heads_are_chosen_on_other_sequences_than_they_are_tested_on():
    chance = values("layer", "head", level=0.1, spread=0.2)
    chosen = body_value("literature.induction-head", {"induction_attention": chance})
    assert chosen.sizes == {"prompt": FAMILIES}
    # The strongest head of noise is strong where it was chosen, and nowhere else.
    assert float(chosen.mean()) == pytest.approx(0.1, abs=0.12)
    assert float(chance.isel(prompt=slice(0, None, 2)).mean("prompt").max()) > 0.2


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    made = llama(max_position_embeddings=128, attention_bias=True)
    return load(resolve(save(made, folder)))


def test_a_planted_induction_head_is_found(model):
    """A head whose biases alone, turned by the rotary positions, look 23 tokens back."""
    size, half = 8, 4
    attention = model.model.model.layers[1].self_attn
    angle = (HALF - 1) * 1.0 / 10_000 ** (torch.arange(half) / half)
    keys, queries = torch.zeros(size), torch.zeros(size)
    keys[:half] = 40.0
    # What a query says is what a key says, turned back by as many places.
    queries[:half], queries[half:] = 40.0 * torch.cos(angle), -40.0 * torch.sin(angle)
    with torch.no_grad():
        for part, bias in ((attention.q_proj, queries), (attention.k_proj, keys)):
            part.weight[:size] = 0
            part.bias[:size] = bias
    planted, off = (kind(model, None) for kind in (induction_attention, off_induction_attention))
    assert float(planted.sel(layer=1, head=0).min()) > 0.99
    assert float(off.sel(layer=1, head=0).max()) < 0.01
    assert float(planted.sel(layer=0).max()) < 0.4
    claim = CLAIMS["literature.induction-head"]
    value = body_value(claim.id, {"induction_attention": planted})
    assert claim.predicts.judge(Measured(value)).decision.verdict is Verdict.CONFIRMED


def test_the_lens_is_the_divergence_of_what_a_block_would_predict(model):
    from refutable.models.encode import Encoded

    ids = tuple(tuple((5 * i + 2 * j) % 90 + 1 for j in range(6)) for i in range(4))
    names = tuple(f"f{i}/0" for i in range(4))
    given = Encoded(ids, names, tuple(f"f{i}" for i in range(4)), "no-bos", None)
    measured = lens_divergence(model, given)
    with torch.no_grad():
        for row, prompt in zip(measured.values, ids, strict=True):
            out = model.model(torch.tensor([prompt]), output_hidden_states=True)
            final = torch.log_softmax(out.logits[0, -1].double(), -1)
            for layer, state in enumerate(out.hidden_states[1:-1]):
                early = model.model.lm_head(model.model.model.norm(state[0, -1]))
                logs = torch.log_softmax(early.double(), -1)
                expected = float((final.exp() * (final - logs)).sum())
                assert row[layer] == pytest.approx(expected, rel=1e-4, abs=1e-7)
            assert row[-1] == pytest.approx(0.0, abs=1e-7)
