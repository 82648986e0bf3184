"""The interpolated trigram model against numbers counted by hand."""

import math

import numpy as np
import pytest

from refutable.training.trigram import fit_trigram

# Tokens: 0 a, 1 b, 2 c. Two rows: a b a b c / a b a.
ROWS = np.array([[0, 1, 0, 1, 2], [0, 1, 0, 2, 2]])


def test_counts_by_hand():
    model = fit_trigram(ROWS, vocabulary=3)
    # second or later tokens: b a b c | b a c c
    assert model.total == 8
    assert model.unigrams.of(np.array([0, 1, 2])).tolist() == [2, 3, 3]
    # a->b three times (a b, a b, a b), a->c once, b->a twice, b->c once, c->c once
    pairs = np.array([0 * 3 + 1, 0 * 3 + 2, 1 * 3 + 0, 1 * 3 + 2, 2 * 3 + 2, 2 * 3 + 0])
    assert model.bigrams.of(pairs).tolist() == [3, 1, 2, 1, 1, 0]
    # a b a twice, b a b once, b a c once, a b c once, a c c once
    triples = np.array([[0, 1, 0], [1, 0, 1], [1, 0, 2], [0, 1, 2], [0, 2, 2], [2, 2, 2]])
    keys = triples @ np.array([9, 3, 1])
    assert model.trigrams.of(keys).tolist() == [2, 1, 1, 1, 1, 0]


def test_probability_by_hand_with_given_weights():
    model = fit_trigram(ROWS, vocabulary=3)
    model.weights[:] = [0.4, 0.3, 0.2, 0.1]
    scored = np.exp(model.log_probability(np.array([[0, 1, 0]])))[0]
    # b after a: no trigram context; .3 * 3/4 + .2 * 3/8 + .1 / 3
    assert scored[0] == pytest.approx(0.3 * 3 / 4 + 0.2 * 3 / 8 + 0.1 / 3)
    # a after a b: .4 * 2/3 + .3 * 2/3 + .2 * 2/8 + .1 / 3
    assert scored[1] == pytest.approx(0.4 * 2 / 3 + 0.3 * 2 / 3 + 0.2 * 2 / 8 + 0.1 / 3)


def test_probabilities_sum_to_one_after_a_seen_context():
    random = np.random.default_rng(0)
    model = fit_trigram(random.integers(0, 5, (200, 9)), vocabulary=5)
    rows = np.array([[1, 3, c] for c in range(5)])
    assert np.exp(model.log_probability(rows)[:, 1]).sum() == pytest.approx(1.0)


def test_noise_without_structure_scores_at_its_entropy():
    random = np.random.default_rng(1)
    model = fit_trigram(random.integers(0, 8, (2000, 11)), vocabulary=8)
    assert model.loss(random.integers(0, 8, (500, 11))) == pytest.approx(math.log(8), abs=0.005)


def test_a_second_order_rule_is_found_where_bigrams_see_nothing():
    random = np.random.default_rng(2)

    def rows(count: int) -> np.ndarray:
        out = random.integers(0, 4, (count, 12))
        for t in range(2, 12):
            follows = random.random(count) < 0.9
            out[:, t] = np.where(follows, (out[:, t - 1] + out[:, t - 2]) % 4, out[:, t])
        return out

    model = fit_trigram(rows(3000), vocabulary=4)
    test = rows(500)
    right = 0.9 + 0.1 / 4
    entropy = -right * math.log(right) - 3 * 0.025 * math.log(0.025)
    assert -model.log_probability(test)[:, 1:].mean() == pytest.approx(entropy, abs=0.02)
    # rare contexts lean less on the trigram than frequent ones
    assert model.weights[-5:, 0].max() > 0.8


def test_deleted_counts_distrust_trigrams_seen_once():
    random = np.random.default_rng(3)
    model = fit_trigram(random.integers(0, 300, (100, 20)), vocabulary=300)
    # every context is all but unique: its trigram says nothing about other occurrences
    assert model.weights[0, 0] < 0.05
    assert model.loss(random.integers(0, 300, (50, 20))) < math.log(300) + 0.1
