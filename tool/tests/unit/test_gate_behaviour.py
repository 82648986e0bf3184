"""Next-token distributions of two releases: divergence, top token and loss against known ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.spoken import RANKS, behaviour, logits, release

from refutable.evidence.release import coarse, fine, read_release, write_release
from refutable.gate.behaviour import compare_behaviour
from refutable.gate.divergence import divergences, pair_tokens, top_differs
from refutable.gate.records import Status
from refutable.stats.paired import paired_change


def exact(p_logits, q_logits):
    p, q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (p_logits, q_logits))
    return (np.exp(p) * (p - q)).sum(-1)


def test_whole_distributions_give_the_divergence_itself():
    a, b = logits(0, vocab=40), logits(1, vocab=40)
    base, candidate = behaviour(a, ranks=40), behaviour(b, ranks=40)
    pairing = pair_tokens(base, candidate)
    assert divergences(base, candidate, pairing) == pytest.approx(exact(a, b), abs=2e-4)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), noise=st.floats(0.0, 2.0))
def test_a_cut_distribution_never_gives_more(seed, noise):
    a = logits(seed, vocab=300)
    b = a + noise * np.random.default_rng(seed).normal(size=a.shape)
    base, candidate = behaviour(a), behaviour(b)
    cut = divergences(base, candidate, pair_tokens(base, candidate))
    assert (cut >= -1e-9).all()
    assert (cut <= exact(a, b) + 1e-4).all()


def test_top_token_differs_where_it_does_and_not_at_ties():
    a = logits(2)
    b = a.copy()
    b[3, a[3].argmax()] -= 30
    near = a.copy()
    first, second = np.argsort(-a[5])[:2]
    near[5, second] = near[5, first] = a[5, first]
    tied = near.copy()
    tied[5, second] += 1e-5
    base = behaviour(a)
    assert top_differs(base, behaviour(b), pair_tokens(base, base)).nonzero()[0].tolist() == [3]
    base, candidate = behaviour(near), behaviour(tied)
    assert top_differs(base, candidate, pair_tokens(base, candidate)).sum() == 0


def test_log_probabilities_survive_sixteen_bits():
    values = -np.geomspace(1e-6, 60, 500)
    assert np.abs(fine(coarse(values)) - values).max() < 1.0e-3
    near = values > -1
    assert np.abs(fine(coarse(values)) - values)[near].max() < 1.3e-4


def test_a_release_is_read_back_and_a_changed_file_is_refused(tmp_path):
    from refutable.errors import EvidenceError

    made = release(logits(0))
    folder = write_release(made, tmp_path)
    back = read_release(folder)
    written, read = made.behaviour["no-bos"], back.behaviour["no-bos"]
    assert (read.ids == written.ids).all()
    assert read.prompts == written.prompts
    assert read.log_probability == pytest.approx(written.log_probability, abs=1e-3)
    assert compare_behaviour(made, back).same_function
    file = folder / "behaviour.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(EvidenceError, match=r"behaviour\.safetensors is not the file"):
        read_release(folder)


def statuses(base, candidate):
    return {c.quantity: c.status for c in compare_behaviour(base, candidate).changes}


def test_a_planted_divergence_beyond_the_margin_is_changed_and_one_below_is_same():
    a = logits(0)
    noise = np.random.default_rng(1).normal(size=a.shape)
    assert statuses(release(a), release(a + 0.01 * noise))["kl"] is Status.SAME
    changed = statuses(release(a), release(a + 0.6 * noise))
    assert changed["kl"] is Status.CHANGED
    assert changed["top"] is Status.CHANGED


def test_loss_on_own_tokens_is_told_apart_from_divergence():
    made = release(logits(0))
    recorded = made.behaviour["no-bos"]
    shifted = replace(made, behaviour={"no-bos": replace(recorded, loss=recorded.loss + 0.2)})
    status_of = statuses(made, shifted)
    assert status_of == {"kl": Status.SAME, "top": Status.SAME, "loss": Status.CHANGED}


def test_tokens_are_paired_where_their_text_ends():
    base = behaviour(logits(0, tokens=6), lengths=(4, 2), prompts=("a", "b"), families=("x", "x"))
    # The candidate cuts the first prompt's second token in two, and puts the prompts otherwise.
    candidate = behaviour(
        logits(0, tokens=7), lengths=(2, 5), prompts=("b", "a"), families=("x", "x")
    )
    base = replace(base, ends=np.array([1, 4, 6, 9, 2, 5]), tokens=np.array([7, 8, 9, 1, 2, 3]))
    candidate = replace(
        candidate, ends=np.array([2, 5, 1, 2, 4, 6, 9]), tokens=np.array([2, 3, 7, 5, 6, 9, 1])
    )
    pairing = pair_tokens(base, candidate)
    assert pairing.base.tolist() == [0, 1, 2, 3, 4, 5]
    assert pairing.candidate.tolist() == [2, 4, 5, 6, 0, 1]
    assert (pairing.split, pairing.shared) == (1, 2)


def test_another_default_arm_is_compared_as_encoded():
    a, b = logits(0), logits(9)
    both = {"no-bos": behaviour(a), "bos": behaviour(b)}
    base = replace(release(a), behaviour=both)
    candidate = replace(base, facts={**base.facts, "tokenizer": {"default": {"bos": True}}})
    status_of = {(c.arm, c.quantity): c.status for c in compare_behaviour(base, candidate).changes}
    assert status_of["no-bos", "kl"] is status_of["bos", "kl"] is Status.SAME
    assert status_of["as encoded", "kl"] is Status.CHANGED


def test_other_prompts_are_not_compared():
    made = release(logits(0))
    report = compare_behaviour(made, replace(made, prompts_hash="other"))
    assert report.changes == ()
    assert "not compared" in report.notes[0]


def test_one_family_far_out_decides_nothing():
    """The mean lies inside the margin; the guard sees the skew."""
    means = np.full(20, 0.002)
    means[0] = 0.12
    rng = np.random.default_rng(0)
    means += 1e-4 * rng.normal(size=20)
    change = paired_change(means, margin=0.02)
    assert not change.same
    assert not change.changed


def test_fewer_than_five_families_decide_nothing():
    a = logits(0)
    few = [release(x, families=4) for x in (a, a + np.random.default_rng(0).normal(size=a.shape))]
    assert set(statuses(*few).values()) == {Status.UNDECIDED}


def test_ranks_are_those_of_the_recorder():
    from refutable.observables.next_token import RANKS as RECORDED

    assert RANKS < RECORDED  # the tests cut harder than the product
