"""Linear probes: labels by hand, planted truth, and an independent regression on a real twin."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.spatial.distance import cdist
from sklearn.model_selection import GroupKFold

from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.observables.probing import probes
from refutable.observables.probing.token_labels import LABELS, labels_of, token_spans
from refutable.observables.prose import text
from refutable.studies.catalogue import find_claim


@pytest.fixture(scope="module")
def twin():
    return load(resolve("twin-rmsnorm-both-0"))


def cut(string, pieces):
    """Characters of pieces that make up a string."""
    ends = np.cumsum([len(piece) for piece in pieces])
    assert "".join(pieces) == string
    return [(int(end) - len(piece), int(end)) for piece, end in zip(pieces, ends, strict=True)]


def test_labels_by_hand():
    pieces = ["He", " sa", "id", ":", ' "', "Go", " (", "N", "OW", ")", '"', "\n", "12", " x"]
    string = "".join(pieces)
    named = {
        label: [LABELS[label][c] for c in row]
        for label, row in zip(LABELS, labels_of(string, cut(string, pieces)), strict=True)
    }
    w, p, s = "word", "punctuation", "space"
    assert named["token class"] == [w, w, w, p, p, w, p, w, w, p, p, s, "number", w]
    lower, capital, no = "lower case", "capital", "no letter"
    assert named["capitalisation"] == [
        capital, lower, lower, no, no, capital, no, capital, capital, no, no, no, no, lower
    ]  # fmt: skip
    f, t, o = "first", "later", "outside"
    assert named["place in word"] == [f, f, t, o, o, f, o, f, t, o, o, o, f, f]
    x = "letter"
    assert named["next character"] == [s, x, p, s, x, s, x, x, p, p, s, "digit", s, s]
    i = "inside"
    assert named["bracket depth"] == [o, o, o, o, i, i, i, i, i, i, o, o, o, o]


def test_brackets_that_were_opened_earlier_in_the_paragraph_count():
    string = "(a\nb (c d) e"
    spans = [(k, k + 1) for k in range(7, len(string))]
    assert labels_of(string, spans)[4].tolist() == [1, 1, 0, 0, 0]


class Offsetless:
    """A tokenizer that cannot tell offsets."""

    def __init__(self, tokenizer):
        self.tokenizer, self.decode = tokenizer, tokenizer.decode

    def __call__(self, string, return_offsets_mapping=False, **how):
        if return_offsets_mapping:
            raise NotImplementedError
        return self.tokenizer(string, **how)


def test_tokens_are_found_without_offsets(twin):
    string = 'And Miss Woodhouse said, "Never (in 1815)!"\nShe was  gone; it was too late.'
    wanted = token_spans(twin.tokenizer, string)
    assert [string[a:b] for a, b in wanted][:3] != [string, "", ""]
    assert token_spans(Offsetless(twin.tokenizer), string) == wanted
    odd = token_spans(Offsetless(twin.tokenizer), "na\u00efve caf\u00e9 was open")
    whole = token_spans(twin.tokenizer, "na\u00efve caf\u00e9 was open")
    assert odd[-2:] == whole[-2:]


def planted(rows=1200, dims=24, classes=3, seed=5):
    random = np.random.default_rng(seed)
    # Classes are of very different sizes.
    truth = random.choice(classes, rows, p=[0.8, 0.15, 0.05])
    noise = random.standard_normal((rows, dims))
    ways = random.standard_normal((classes, dims))
    return truth, noise, noise + 3 * ways[truth], np.repeat(np.arange(20), rows // 20)


def test_probes_find_what_is_there_and_nothing_else():
    truth, noise, encoded, groups = planted()
    (seen,) = probes.probe_recalls(encoded, truth[None], [3], groups)
    (blind,) = probes.probe_recalls(noise, truth[None], [3], groups)
    assert seen.min() > 0.98
    assert blind.mean() == pytest.approx(1 / 3, abs=0.07)


def plain_recalls(rows, truth, classes, groups):
    """Nearest class mean in the metric of the penalized covariance, on standardized dims."""
    given = np.full(len(truth), -1)
    for train, test in GroupKFold(probes.FOLDS).split(rows, groups=groups):
        middle, scale = rows[train].mean(0), rows[train].std(0)
        x, z = (rows[train] - middle) / scale, (rows[test] - middle) / scale
        metric = np.linalg.inv(x.T @ x + probes.RIDGE * np.eye(x.shape[1]))
        means = np.stack([x[truth[train] == k].mean(0) for k in range(classes)])
        given[test] = cdist(z, means, "mahalanobis", VI=metric).argmin(1)
    return [np.mean(given[truth == k] == k) for k in range(classes)]


def test_several_labels_at_once_are_each_an_ordinary_discriminant():
    truth, noise, encoded, groups = planted(seed=6)
    rows = noise + 0.2 * (encoded - noise)
    other = (rows[:, 0] + rows[:, 1] ** 2 > 1).astype(int)
    both = probes.probe_recalls(rows, np.stack([truth, other]), [3, 2], groups)
    np.testing.assert_allclose(both[0], plain_recalls(rows, truth, 3, groups), atol=1e-12)
    np.testing.assert_allclose(both[1], plain_recalls(rows, other, 2, groups), atol=1e-12)
    assert 0.4 < both[0].mean() < 0.95
    # Tokens without a class neither count nor take part in the class means.
    some = np.where(truth == 2, -1, truth)
    (left,) = probes.probe_recalls(rows, some[None], [3], groups)
    assert np.isnan(left[2])
    assert left[:2].mean() > both[0][:2].mean()


def test_a_class_that_is_rare_in_one_half_is_left_out():
    halves = np.repeat([0, 1], 100)
    classes = np.r_[np.zeros(60), np.ones(20), np.full(20, 2), np.zeros(60), np.ones(21), [2] * 19]
    integers = probes.countable(classes.astype(int), 3, halves)
    assert np.array_equal(integers, np.where(classes == 2, -1, classes))


def test_the_control_task_can_only_be_memorised():
    random = np.random.default_rng(7)
    types = random.integers(0, 60, 3000)
    truth = (types % 3 == 0).astype(int)
    control = probes.control_classes(truth, types, 8)
    assert all(len(set(control[types == kind])) == 1 for kind in range(60))
    assert control.tolist() == probes.control_classes(truth, types, 8).tolist()
    assert 0.15 < control.mean() < 0.55
    assert not np.array_equal(control, truth)
    groups = np.arange(3000) // 100
    memory = np.eye(60)[types]
    (told,) = probes.probe_recalls(memory, control[None], [2], groups)
    assert told.min() == 1.0
    # Without the types themselves the task can be read off and its control cannot.
    task = truth[:, None] + 0.1 * random.standard_normal((3000, 2))
    recalls = probes.probe_recalls(task, np.stack([truth, control]), [2, 2], groups)
    assert recalls[0].min() > 0.99
    assert recalls[1].mean() == pytest.approx(0.5, abs=0.15)


def test_accuracy_on_a_twin_is_that_of_its_own_hidden_states(twin, monkeypatch):
    few = [document[:2500] for document in text.documents()[1][4:24]]
    names = [str(i) for i in range(len(few))]
    monkeypatch.setattr(probes, "documents", lambda: (names, few))
    values = probes.probe_accuracy(twin, None)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in twin.model.modules())
    assert values.layer.values.tolist() == [-1, 0, 1, 2, 3, 4, 5]
    windows = [text.windows_of(twin, document) for document in few]
    with torch.no_grad():
        hidden = twin.model(input_ids=torch.cat(windows), output_hidden_states=True).hidden_states
    groups = np.repeat(np.arange(20), [w[:, 1:].numel() for w in windows])
    classes = np.concatenate(
        [
            labels_of(d, token_spans(twin.tokenizer, d)[: w.numel()])
            .reshape(5, *w.shape)[:, :, 1:]
            .reshape(5, -1)
            for d, w in zip(few, windows, strict=True)
        ],
        axis=1,
    )
    for label, layer, half in (("place in word", 2, 1), ("capitalisation", -1, 0)):
        # hidden_states starts with the embedding; its last is after the final norm.
        rows = hidden[layer + 1][:, 1:].reshape(-1, 72).double().numpy()
        chosen, truth = groups % 2 == half, classes[list(LABELS).index(label)]
        wanted = np.mean(plain_recalls(rows[chosen], truth[chosen], 3, groups[chosen]))
        got = float(values.sel(label=label, kind="task", layer=layer, half=half))
        assert got == pytest.approx(wanted, abs=2e-3)


def accuracies(task, control):
    """Accuracy by label, kind, layer and half."""
    return xr.DataArray(
        np.stack([task, control], axis=1),
        dims=("label", "kind", "layer", "half"),
        coords={"kind": ["task", "control"], "layer": [-1, 0, 1, 2], "half": [0, 1]},
    )


def test_best_and_worst_blocks_are_scored_on_the_other_half():
    best_minus_worst = find_claim("ablation.blocks-encode-differently").body
    # One label; the embedding (layer -1) must not be chosen.
    task = np.array([[[9.0, 9.0], [0.6, 0.5], [0.9, 0.7], [0.5, 0.8]]])
    control = np.broadcast_to([0.1, 0.2], task.shape)
    # Half 0 chooses 1 over 2: 0.7 - 0.8. Half 1 chooses 2 over 0: 0.5 - 0.6.
    assert float(best_minus_worst(accuracies(task, control))) == pytest.approx(-0.1)
    # Half 0 chooses 1 over 0: 0.8 - 0.6. Half 1 chooses 1 over 2: 0.9 - 0.8.
    uneven = np.array([[[9.0, 9.0], [0.5, 0.6], [0.9, 0.8], [0.8, 0.5]]])
    assert float(best_minus_worst(accuracies(uneven, np.zeros_like(uneven)))) == pytest.approx(0.15)
    noise = np.random.default_rng(9).normal(0.8, 0.1, (2000, 4, 2))
    chosen = float(best_minus_worst(accuracies(noise, np.zeros_like(noise))))
    assert abs(chosen) < 0.01
