"""Every fault of docs/gate.md planted in a copy of the small model: changed, cause named."""

from __future__ import annotations

import fault_table
import pytest
from support import faults, shape_faults

from refutable.gate.wording import first_line
from refutable.models.load import load
from refutable.models.registry import resolve

PROMPTS = (
    "battery:factual-geography,factual-biology,syntactic-inversion,cliche-proverbs,"
    "novel-catalogue,nonsense-word-salad,code-python,dialogue-service"
)
pytestmark = pytest.mark.slow
OF_SHAPES = [
    (kind, shape, fault)
    for kind, known in (("fault", shape_faults.FAULTS), ("harmless", shape_faults.HARMLESS))
    for shape, planted in known.items()
    for fault in planted
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    loaded = load(resolve("tiny-rmsnorm"))
    folder = tmp_path_factory.mktemp("faults") / "base"
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder, fault_table.measured(folder, PROMPTS)


@pytest.fixture(scope="module")
def shapes(base, tmp_path_factory):
    """Releases of other shapes, each written and measured once, by name."""
    known = {}

    def of(name, write):
        if name not in known:
            folder = write(tmp_path_factory.mktemp("shapes") / name)
            for file in ("tokenizer.json", "tokenizer_config.json"):
                (folder / file).write_bytes((base[0] / file).read_bytes())
            known[name] = folder, fault_table.measured(folder, PROMPTS)
        return known[name]

    return of


def answered(base, fault, tmp_path):
    folder, release = base
    candidate = faults.copy(folder, tmp_path / "candidate")
    fault.make(candidate)
    return fault_table.answered(release, candidate, PROMPTS)


def right(kind, fault, answer):
    line = first_line(answer)
    assert answer.failed == (kind == "fault" and fault.failing), line
    assert line.startswith(("changed: ", "broken: ") if answer.failed else "same: "), line
    assert faults.names(line, fault), line
    suspect = any(fact.suspect for model in answer.models for fact in model.facts)
    assert not (kind == "harmless" and suspect), line


@pytest.mark.parametrize(
    ("kind", "fault"), fault_table.KNOWN, ids=lambda one: str(getattr(one, "name", one))
)
def test_a_fault_is_changed_and_its_cause_named_and_a_harmless_copy_is_the_same(
    kind, fault, base, tmp_path
):
    right(kind, fault, answered(base, fault, tmp_path))


@pytest.mark.parametrize(
    ("kind", "shape", "fault"), OF_SHAPES, ids=lambda one: str(getattr(one, "name", one))
)
def test_faults_and_harmless_copies_of_other_shapes(kind, shape, fault, shapes, tmp_path):
    of = shapes(shape, lambda folder: shape_faults.write(shape, folder))
    right(kind, fault, answered(of, fault, tmp_path))


@pytest.mark.parametrize(
    ("write", "fault"),
    [(faults.write_windowed, faults.WINDOW), (faults.write_gemma, faults.UNSCALED)],
    ids=["window", "unscaled"],
)
def test_faults_of_small_mistral_and_gemma(write, fault, shapes, tmp_path):
    right("fault", fault, answered(shapes(write.__name__, write), fault, tmp_path))
