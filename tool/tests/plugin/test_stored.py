"""What the store gives back, what it lacks, and where a result says that it came from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open
from support.projects import claim_source, counting, evidence, loads, module

from refutable.errors import NotMeasurableError
from refutable.measurement.harness import Harness
from refutable.measurement.needs import Need
from refutable.measurement.state import Settings, Sources
from refutable.models.registry import resolve
from refutable.models.sources import locate
from refutable.observables.registry import REGISTRY
from refutable.spec.prompts import load_prompts
from refutable.store.committed import Committed
from refutable.store.store import ObservationKey, Store
from refutable.studies.catalogue import find_claim
from refutable.system.paths import fixtures

from .conftest import DATA

pytestmark = pytest.mark.filterwarnings("default")


def arrays(project: pytest.Pytester) -> dict[tuple[str, str], Path]:
    """Files of the store by (observable, role)."""
    measured = {}
    for path in (project.path / "cache" / "observations").rglob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            key = json.loads(file.metadata()["refutable"])["key"]
        measured[key["observable"], key["role"]] = path
    return measured


@pytest.mark.parametrize("kind", ["array", "notes"])
def test_a_damaged_file_is_measured_again(
    project: pytest.Pytester, models: Path, kind: str
) -> None:
    log = project.path / "loads.txt"
    project.makeconftest(DATA + counting(log))
    project.makepyfile(test_mine=module(claim_source("grows")))
    model = f"--claim-model={models / 'little'}"
    project.runpytest_inprocess(model).assert_outcomes(passed=1)
    before = evidence(project)["results"][0]["estimate"]
    file = arrays(project)["residual_norm", ""]
    if kind == "notes":
        (file,) = (project.path / "cache" / "observations").rglob("*.json")
    file.write_bytes(file.read_bytes()[:-7])

    again = project.runpytest_inprocess(model)
    again.assert_outcomes(passed=1)
    assert loads(log) == ["little", "little"]
    assert evidence(project)["results"][0]["estimate"] == before
    again.stdout.fnmatch_lines(["stored * is damaged and is measured again: *"])
    project.runpytest_inprocess(model).assert_outcomes(passed=1)
    assert loads(log) == ["little", "little"]


def test_a_shuffled_control_may_be_all_that_is_missing(
    project: pytest.Pytester, models: Path
) -> None:
    shuffled = claim_source("shuffles", more="control=shuffled(seeds=2),")
    project.makepyfile(
        test_mine="from refutable.spec.claim import shuffled\n"
        + module(claim_source("grows"), shuffled)
    )
    model = f"--claim-model={models / 'little'}"
    project.runpytest_inprocess(model, "-k", "grows").assert_outcomes(passed=1, deselected=1)
    project.runpytest_inprocess(model).assert_outcomes(passed=2)
    assert {role for _, role in arrays(project)} >= {"", "shuffled-0", "shuffled-1"}


def test_a_store_that_cannot_be_written_is_one_line(project: pytest.Pytester, models: Path) -> None:
    log = project.path / "loads.txt"
    project.makeconftest(DATA + counting(log))
    project.makepyfile(test_mine=module(claim_source("grows"), claim_source("grows_too")))
    blocked = project.path / "cache" / "observations" / "observations"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder should be")
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}")
    result.assert_outcomes(errors=2)
    for record in evidence(project)["results"]:
        assert record["reason"].startswith("little: cannot read or write what is measured: ")
        assert "REFUTABLE_CACHE" in record["reason"]
    assert "Traceback" not in result.stdout.str()
    # The second claim is told the same without a second try.
    assert loads(log) == ["little"]


TRAINED = """
from refutable import contrast

@claim(
    id="gain.seeds", statement="s", refuted_if="r", source=Source(study="mine", ref="S"),
    prompts="mine",
    predicts=contrast("twin-none-0", "twin-layernorm-both-0").above(-9.0),
)
def test_seeds(residual_norm):
    \"\"\"Log gain of the last block.\"\"\"
    return growth(residual_norm)
"""


def test_a_result_says_where_its_own_numbers_came_from(project: pytest.Pytester) -> None:
    # What a twin was like halfway through its training is committed; its weights are shipped.
    halfway = claim_source(
        "halfway",
        predicts="mean.within(-99.0, 99.0)",
        observable="relative_gradient_at_loss",
        body='return relative_gradient_at_loss.mean("layer").rename(text="prompt")',
    )
    project.makepyfile(
        test_mine=module(claim_source("ends", predicts="mean.above(-9.0)"), halfway) + TRAINED
    )
    twins = [f"--claim-model=twin-{name}-0" for name in ("none", "layernorm-both")]
    for origin in ("live", "store"):
        project.runpytest_inprocess(*twins).assert_outcomes(passed=5)
        content = evidence(project)
        sources = {(r["claim"], r["source"]) for r in content["results"]}
        assert sources == {
            ("gain.ends", origin),
            ("gain.halfway", "committed"),
            ("gain.seeds", origin),
        }
        assert {m["origin"] for m in content["models"]} == {origin}


SEEDS = """
from refutable import contrast, untrained

@claim(
    id="gain.seeds", statement="s", refuted_if="r", source=Source(study="mine", ref="S"),
    prompts="mine",
    predicts=contrast("none", "layernorm-both", exclude_seeds=(0,)).above(-9.0),
    control=untrained(seeds=2),
)
def test_seeds(residual_norm):
    \"\"\"Log gain of the last block.\"\"\"
    return growth(residual_norm)
"""


def test_a_group_whose_first_member_is_not_here_has_no_control(project: pytest.Pytester) -> None:
    # Of one group the first seed was trained here, which has the copies; of the other the fifth.
    for name, seed in (("layernorm-both", 1), ("none", 5)):
        shipped = locate(resolve(f"twin-{name}-0")).folder
        shutil.copytree(shipped, project.path / "cache" / "twins" / f"{name}-{seed}" / "checkpoint")
    project.makepyfile(test_mine=module(SEEDS))
    project.runpytest_inprocess().assert_outcomes(passed=1)
    (record,) = evidence(project)["results"]
    assert record["verdict"] == "inconclusive"
    assert record["control"] is None
    assert "of the models" in record["estimate"]["note"]


# -- in a harness -----------------------------------------------------------------------------


def harness(folder: Path, *, committed: bool = False, **names: Path) -> Harness:
    battery = load_prompts("battery", [fixtures() / "prompts"])
    shipped = Committed(fixtures() / "twins" / "observations.safetensors") if committed else None
    sets = {"battery": battery}
    sources = Sources(Store(folder / "store"), shipped, sets.__getitem__, Settings())
    return Harness(sources, models={model: str(path) for model, path in names.items()})


def subject(lab: Harness, claim: str, model: str) -> object:
    need = Need(find_claim(claim), model, "battery", "no-bos", controlled=False)
    lab.plan([need])
    return lab.subject(need).observations


def test_a_reason_that_can_be_mended_is_not_remembered(tmp_path: Path) -> None:
    twin, claim = "twin-none-0", "ablation.sharper-without-norms-at-equal-loss"
    # Neither the checkpoints of its training are here nor what is committed of them.
    with pytest.raises(NotMeasurableError, match="the checkpoints of twin-none-0's training"):
        subject(harness(tmp_path), claim, twin)
    stored = [path.read_text() for path in (tmp_path / "store").rglob("*.json")]
    assert not [text for text in stored if "the checkpoints of" in text]


def test_what_lies_beside_the_weights_counts(tmp_path: Path) -> None:
    whole = locate(resolve("no-position-0")).folder
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy, ignore=shutil.ignore_patterns("training.json"))
    claim = "noposition.positions-stay-zero"
    with pytest.raises(NotMeasurableError, match="was not trained by the no-position study"):
        subject(harness(tmp_path, copy=copy), claim, "copy")
    # The shipped model has the same weights, and the record of its training.
    assert subject(harness(tmp_path), claim, "no-position-0")


def test_models_that_one_is_compared_with_are_part_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path / "cache"))
    twin, claim = "twin-none-0", "ablation.another-model-is-alike"

    def key(name: str) -> ObservationKey:
        lab = harness(tmp_path)
        lab.plan([Need(find_claim(claim), twin, "battery", "no-bos")])
        return lab.archive(twin).key(REGISTRY[name], "battery", "no-bos", "")

    compared, alone = key("representation_alignment"), key("residual_norm")
    assert key("representation_alignment") == compared
    # Another reference was trained here, and stands for the shipped one.
    other = locate(resolve("twin-layernorm-both-0")).folder
    trained = tmp_path / "cache" / "twins" / "rmsnorm-both-0" / "checkpoint"
    shutil.copytree(other, trained)
    changed = key("representation_alignment")
    assert changed.weights == compared.weights
    assert changed != compared
    assert key("residual_norm") == alone
