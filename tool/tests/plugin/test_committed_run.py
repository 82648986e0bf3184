"""Committed observations in a run: labelled, and equal to what is measured on shipped weights."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refutable.cli.commit import BITS
from refutable.errors import NotAvailableError
from refutable.evaluation.evaluate import instrument_error
from refutable.measurement.harness import Harness
from refutable.measurement.needs import Need
from refutable.measurement.state import Settings, Sources
from refutable.measurement.subject import call
from refutable.models.registry import all_specs, resolve
from refutable.models.sources import weights_available
from refutable.models.sources.twin import how_to_train
from refutable.spec.prompts import load_prompts
from refutable.store.committed import Committed, committed_in
from refutable.store.store import Store
from refutable.studies.catalogue import bundled_claims, find_claim
from refutable.system.paths import fixtures

SHIPPED = "twin-layernorm-both-0"
FILE = fixtures() / "twins" / "observations.safetensors"


def harness(folder: Path) -> Harness:
    battery = load_prompts("battery", [fixtures() / "prompts"])
    sets = {"battery": battery}
    return Harness(Sources(Store(folder), None, sets.__getitem__, Settings()))


@pytest.mark.parametrize(
    "claim",
    [
        "gain.norm-kind-decides",
        "ablation.diffuse-attention",
        "ablation.less-specialised-heads",
        "ablation.rmsnorm-reaches-loss",
        "ablation.larger-feed-forward-weights",
    ],
)
def test_committed_values_are_what_the_shipped_weights_give(claim: str, tmp_path: Path) -> None:
    measured, lab = find_claim(claim), harness(tmp_path)
    need = Need(measured, SHIPPED, "battery", "no-bos", controlled=False)
    lab.plan([need])
    subject = lab.subject(need)
    live = call(measured.body, subject.observations, measured.observables)
    committed, state = Committed(FILE), lab.state(SHIPPED)
    replayed = dict(subject.observations)
    for key, _ in lab.archive(SHIPPED).keyed():
        if key.observable in replayed:
            replayed[key.observable] = committed.get(replace(key, role=""))
    again = call(measured.body, replayed, measured.observables)
    # A body takes means of rounded numbers, and the logarithm of a ratio of two of them.
    error = max(instrument_error(measured, subject, live), 1e-6) + 2 * 2.0 ** -(BITS["twin"] + 1)
    assert float(np.abs(live - again).max()) <= error
    # Other digests have other values: the file is not read by chance.
    other = committed.model("twin-none-0")
    assert other is not None
    assert other.weights_digest != state.report.weights_digest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "prompts"),
    [
        ("thoughts-small-0", "modular-steps"),
        ("thoughts-large-0", "modular-steps"),
        ("twin-none-trained-0", "battery"),
    ],
)
def test_what_is_replayed_of_shipped_weights_is_what_they_give(
    model: str, prompts: str, tmp_path: Path
) -> None:
    # A run reads these; here they are measured on the weights, and none is left out.
    committed = committed_in(fixtures())
    sets = {prompts: load_prompts(prompts, [fixtures() / "prompts"])}
    lab = Harness(Sources(Store(tmp_path), None, sets.__getitem__, Settings()))
    group = resolve(model).group
    of_it = [c for c in bundled_claims() if group in c.predicts.names]
    needs = [
        Need(claim, model, prompts, arm, controlled=False)
        for claim in of_it
        if (claim.prompts or "battery") == prompts
        for arm in claim.arms
    ]
    lab.plan(needs)
    for need in needs:
        # What lies along its training needs checkpoints that are not shipped.
        with suppress(NotAvailableError):
            lab.subject(need)
    compared = set()
    for key, live in lab.archive(model).keyed():
        known = None if isinstance(live, dict) or key.role else committed.get(key)
        if known is None or live is None or not np.issubdtype(live.dtype, np.number):
            continue
        compared.add(key.observable)
        scale = max(float(np.abs(live).max()), 1e-3)
        np.testing.assert_allclose(known, live, rtol=1e-4, atol=2e-4 * scale)
    assert len(compared) >= 5


def test_every_twin_that_is_not_shipped_is_committed() -> None:
    known = {
        name
        for path in sorted(fixtures().glob("*/observations.safetensors"))
        for name in Committed(path).models
    }
    absent = [s for s in all_specs() if s.group and s.source == "twin" and not weights_available(s)]
    # 41 early, 25 trained, 3 at their best rate and 30 thought twins.
    assert len(absent) == 41 + 25 + 3 + 30
    assert {s.id for s in absent} <= known
    assert all((fixtures() / s.location).parent.name == s.group for s in absent)


@pytest.mark.parametrize(
    ("model", "command"),
    [
        ("twin-layernorm-both-no-positions-3", "--variant layernorm-both-no-positions --seed 3"),
        ("twin-none-trained-2", "--recipe trained --variant none --seed 2"),
        ("twin-none-tuned-3", "--recipe tuned --variant none --seed 3"),
    ],
)
def test_how_to_train_a_twin_that_is_not_shipped_is_the_command(model: str, command: str) -> None:
    assert how_to_train(resolve(model)) == f"refutable train twins {command}"


def test_a_contrast_of_replayed_seeds_says_so(project: pytest.Pytester) -> None:
    from support.projects import evidence

    result = project.runpytest_inprocess(
        "--pyargs",
        "refutable.claims.last_block_gain.test_norm_swapped",
        "--claim-arm=no-bos",
        # Whatever the verdict is: it is not what is tested here.
        "--claim-update-baseline",
    )
    # On the early twins and on the trained ones.
    result.assert_outcomes(passed=2)
    content = evidence(project)
    (row,) = (r for r in content["results"] if r["claim"] == "gain.norm-kind-decides")
    assert row["source"] == "committed"
    assert row["seeds"] == list(range(8))
    assert row["estimate"]["seeds"] == 8
    origins = {m["id"]: m["origin"] for m in content["models"]}
    assert origins["twin-rmsnorm-both-0"] in ("live", "store")
    assert origins["twin-rmsnorm-both-5"] == "committed"
    assert row["control"]["reading"] is not None
    assert all("untrained" in name for name in row["control"]["models"])
