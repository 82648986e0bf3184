"""How often behaviour alarms on unchanged releases, families resampled; and what it sees."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from support import faults
from support.spoken import LENGTH, behaviour, logits, release

from refutable.gate.behaviour import MARGINS, compare_behaviour
from refutable.gate.divergence import divergences, pair_tokens
from refutable.gate.policy import Policy
from refutable.gate.records import Status
from refutable.gate.runs import compare_releases
from refutable.measurement.harness import open_harness
from refutable.measurement.release import release_of
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.spec.prompts import PromptLibrary
from refutable.system.paths import fixtures

RUNS = 200
MOST_ALARMS = RUNS // 20
"""At most 5 %."""
FAMILIES, EACH = 30, 2


def resampled(made, families):
    """Take families of both arms with replacement: a new family of its own for each draw."""
    names = list(dict.fromkeys(made.behaviour["no-bos"].families))
    arms = {a: _resampled(one, [names[f] for f in families]) for a, one in made.behaviour.items()}
    return replace(made, behaviour=arms)


def _resampled(one, families):
    chosen = [
        (f"{draw}/{k}", i)
        for draw, name in enumerate(families)
        for k, i in enumerate(np.flatnonzero(np.array(one.families) == name))
    ]
    starts = np.concatenate([[0], np.cumsum(one.lengths)])
    tokens = np.concatenate([np.arange(starts[i], starts[i + 1]) for _, i in chosen])
    names = tuple(name for name, _ in chosen)
    return replace(
        one, prompts=names, families=tuple(n.split("/")[0] for n in names),
        lengths=one.lengths[[i for _, i in chosen]], tokens=one.tokens[tokens],
        ends=one.ends[tokens], loss=one.loss[tokens], ids=one.ids[tokens],
        log_probability=one.log_probability[tokens], rest=one.rest[tokens],
    )  # fmt: skip


@pytest.mark.slow
def test_unchanged_releases_alarm_in_at_most_a_twentieth_of_resamplings(tmp_path):
    """A release against its copies in bfloat16 and in 8 bits, at the gate's own margins."""
    loaded = load(resolve("tiny-rmsnorm"))
    stored = tmp_path / "base"
    loaded.model.save_pretrained(stored)
    loaded.tokenizer.save_pretrained(stored)
    harness = open_harness(PromptLibrary([fixtures()]))
    library = tomllib.loads((fixtures() / "prompts" / "battery.toml").read_text())
    few = [
        {"name": one["name"], "prompts": sorted(one["prompts"], key=len)[:1]}
        for one in library["family"][::3]
    ]
    table = "".join(f"[[family]]\nname = {json.dumps(f['name'])}\n"
                    f"prompts = {json.dumps(f['prompts'])}\n" for f in few)  # fmt: skip
    prompts = tmp_path / "few.toml"
    prompts.write_text(f'name = "few"\n{table}', encoding="utf-8")
    base = release_of(harness, str(stored), str(prompts))
    rng = np.random.default_rng(1)
    size = len(set(base.behaviour["no-bos"].families))
    for change in (faults.bfloat16, lambda folder: faults.rounded(folder, 8)):
        folder = faults.copy(stored, tmp_path / f"copy-{rng.integers(1 << 30)}")
        change(folder)
        candidate = release_of(harness, str(folder), str(prompts))
        assert not compare_releases(base, candidate, Policy()).failed
        alarms = 0
        for _ in range(RUNS):
            families = rng.integers(0, size, size)
            pair = (resampled(one, families) for one in (base, candidate))
            changes = compare_behaviour(*pair).changes
            alarms += any(change.status is Status.CHANGED for change in changes)
            assert alarms <= RUNS // 20


def drawn(made, families):
    """Take families with replacement: a new family of its own for each draw."""
    one = made.behaviour["no-bos"]
    prompts = [EACH * f + k for f in families for k in range(EACH)]
    tokens = np.concatenate([np.arange(LENGTH * p, LENGTH * (p + 1)) for p in prompts])
    names = tuple(f"{i}/{k}" for i in range(len(families)) for k in range(EACH))
    part = replace(
        one, prompts=names, families=tuple(n.split("/")[0] for n in names),
        lengths=one.lengths[prompts], tokens=one.tokens[tokens], ends=one.ends[tokens],
        loss=one.loss[tokens], ids=one.ids[tokens], log_probability=one.log_probability[tokens],
        rest=one.rest[tokens],
    )  # fmt: skip
    return replace(made, behaviour={"no-bos": part})


@pytest.mark.slow
def test_rounding_at_the_margin_rarely_alarms_in_resampled_families():
    """Two runs of one release differ by rounding as large as the margin lets pass on average."""
    rng = np.random.default_rng(0)
    tokens = FAMILIES * EACH * LENGTH
    a = logits(0, tokens=tokens)
    noise = rng.normal(size=a.shape) * rng.lognormal(0, 0.5, (tokens, 1))
    base = release(a)
    size = _scale(a, noise, MARGINS["kl"])
    rounded = release(a + size * noise)
    margins = {**MARGINS, "loss": 10.0, "top": 1.0}
    alarms = 0
    for _ in range(RUNS):
        families = rng.integers(0, FAMILIES, FAMILIES)
        pair = (drawn(one, families) for one in (base, rounded))
        changes = compare_behaviour(*pair, margins).changes
        alarms += any(change.status is Status.CHANGED for change in changes)
    assert alarms <= MOST_ALARMS


def _scale(a, noise, target):
    """Find the size of noise that makes the mean divergence the target, by bisection."""
    base = behaviour(a)
    low, high = 0.0, 2.0
    for _ in range(12):
        middle = (low + high) / 2
        candidate = behaviour(a + middle * noise)
        mean = divergences(base, candidate, pair_tokens(base, candidate)).mean()
        low, high = (middle, high) if mean < target else (low, middle)
    return low


def test_the_same_release_never_alarms():
    made = release(logits(1))
    report = compare_behaviour(made, made)
    assert {change.status for change in report.changes} == {Status.SAME}
    assert report.same_function
