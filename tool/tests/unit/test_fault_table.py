"""Every fault of docs/gate.md planted in a copy of the small model: changed, cause named."""

from __future__ import annotations

import pytest
from support import faults, finer_faults, more_faults

from refutable.gate.policy import Policy
from refutable.gate.runs import compare_releases
from refutable.gate.wording import first_line
from refutable.measurement.harness import open_harness
from refutable.measurement.release import release_of
from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.spec.prompts import PromptLibrary
from refutable.system.paths import fixtures

PROMPTS = (
    "battery:factual-geography,factual-biology,syntactic-inversion,cliche-proverbs,"
    "novel-catalogue,nonsense-word-salad,code-python,dialogue-service"
)
pytestmark = pytest.mark.slow


def measured(folder):
    return release_of(open_harness(PromptLibrary([fixtures()])), str(folder), PROMPTS)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    loaded = load(resolve("tiny-rmsnorm"))
    folder = tmp_path_factory.mktemp("faults") / "base"
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder, measured(folder)


def answered(base, fault, tmp_path):
    folder, release = base
    candidate = faults.copy(folder, tmp_path / "candidate")
    fault.make(candidate)
    return compare_releases(release, measured(candidate), Policy())


@pytest.mark.parametrize(
    "fault",
    [*faults.FAULTS, *more_faults.FAULTS, *finer_faults.FAULTS],
    ids=lambda fault: fault.name,
)
def test_a_fault_is_changed_and_its_cause_named(base, fault, tmp_path):
    answer = answered(base, fault, tmp_path)
    line = first_line(answer)
    assert answer.failed == fault.failing, line
    assert line.startswith("changed: " if fault.failing else "same: "), line
    assert faults.names(line, fault), line


@pytest.mark.parametrize(
    "variant",
    [*faults.HARMLESS, *more_faults.HARMLESS, *finer_faults.HARMLESS],
    ids=lambda variant: variant.name,
)
def test_a_harmless_variant_is_the_same(base, variant, tmp_path):
    answer = answered(base, variant, tmp_path)
    assert not answer.failed, first_line(answer)
    assert faults.names(first_line(answer), variant), first_line(answer)
    assert not any(fact.suspect for model in answer.models for fact in model.facts)


@pytest.mark.parametrize(
    ("write", "fault"),
    [(faults.write_windowed, faults.WINDOW), (faults.write_gemma, faults.UNSCALED)],
    ids=["window", "unscaled"],
)
def test_faults_of_other_shapes(write, fault, base, tmp_path):
    folder = write(tmp_path / "base")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((base[0] / name).read_bytes())
    line = first_line(answered((folder, measured(folder)), fault, tmp_path))
    assert line.startswith("changed: ")
    assert faults.names(line, fault), line
