"""Committed observations: the file, and how a harness uses it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import save_file

from refutable.errors import ModelError, NotAvailableError
from refutable.measurement.harness import Harness
from refutable.measurement.needs import Need
from refutable.measurement.state import Settings, Sources
from refutable.models import registry
from refutable.models.identify import identify
from refutable.models.spec import ModelSource, ModelSpec
from refutable.spec.prompts import load_prompts
from refutable.store.committed import SMALL, Committed, CommittedModel, CommittedWriter, digest_of
from refutable.store.store import ObservationKey, Store
from refutable.system.paths import fixtures

KEY = ObservationKey(
    weights="w", tokenizer="t", prompts="p", arm="bos", observable="depth", version=2,
    dtype="float32", device="cpu", torch="2.6", transformers="5.0",
)  # fmt: skip


def array(dtype: str = "float32") -> xr.DataArray:
    return xr.DataArray(
        np.arange(6, dtype=dtype).reshape(3, 2) / 7,
        dims=("prompt", "layer"),
        coords={
            "prompt": ["a/0", "a/1", "b/0"],
            "family": ("prompt", ["a", "a", "b"]),
            "layer": [0, 1],
        },
        name="depth",
    )


def written(tmp_path: Path, *pairs: tuple[ObservationKey, xr.DataArray]) -> Committed:
    writer = CommittedWriter()
    for key, values in pairs:
        writer.put(key, values)
    writer.write(tmp_path / "committed.safetensors")
    return Committed(tmp_path / "committed.safetensors")


def test_an_array_comes_back_with_its_labels(tmp_path: Path) -> None:
    measured = written(tmp_path, (KEY, array()), (replace(KEY, arm="no-bos"), array() * 2))
    assert measured.get(KEY) is not None
    xr.testing.assert_identical(measured.get(KEY), array())
    xr.testing.assert_identical(measured.get(replace(KEY, arm="no-bos")), array() * 2)


def test_wide_floats_are_kept_as_float32(tmp_path: Path) -> None:
    values = written(tmp_path, (KEY, array("float64"))).get(KEY)
    assert values is not None
    assert values.dtype == np.float32
    assert np.allclose(values, array("float64"), rtol=1e-7)


def test_numbers_are_rounded_in_large_arrays_alone(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=SMALL + 1).astype(np.float32)
    large = xr.DataArray(rows, dims=("prompt",), name="depth")
    writer, few = CommittedWriter(bits=10), replace(KEY, arm="no-bos")
    writer.put(KEY, large)
    writer.put(few, large[:-1])
    writer.write(tmp_path / "committed.safetensors")
    measured = Committed(tmp_path / "committed.safetensors")
    xr.testing.assert_identical(measured.get(few), large[:-1])
    error = np.abs(measured.get(KEY) / large - 1).max()
    assert 2**-13 < error <= 2**-11


def test_what_a_file_holds_is_taken_over(tmp_path: Path) -> None:
    first = written(tmp_path, (KEY, array()), (replace(KEY, arm="no-bos"), array() * 2))
    writer = CommittedWriter()
    writer.take(first)
    writer.put(replace(KEY, arm="no-bos"), array() * 3)
    writer.put(replace(KEY, role="untrained-7"), array() * 4)
    writer.write(tmp_path / "more.safetensors")
    measured = Committed(tmp_path / "more.safetensors")
    xr.testing.assert_identical(measured.get(KEY), array())
    xr.testing.assert_identical(measured.get(replace(KEY, arm="no-bos")), array() * 3)
    xr.testing.assert_identical(measured.get(replace(KEY, role="untrained-7")), array() * 4)


def test_arrays_are_kept_under_a_raised_version_or_left_out(tmp_path: Path) -> None:
    other = replace(KEY, arm="no-bos")
    first = written(tmp_path, (KEY, array()), (other, array() * 2))
    raised = replace(KEY, version=KEY.version + 1)
    writer = CommittedWriter()
    writer.take(first, {digest_of(KEY): digest_of(raised), digest_of(other): None})
    writer.write(tmp_path / "more.safetensors")
    measured = Committed(tmp_path / "more.safetensors")
    xr.testing.assert_identical(measured.get(raised), array())
    assert KEY not in measured
    assert other not in measured


@pytest.mark.parametrize(
    ("change", "there"),
    [
        ({"torch": "2.14", "transformers": "6", "device": "cuda"}, True),
        ({"weights": "other"}, False),
        ({"version": 3}, False),
        ({"prompts": "other"}, False),
        ({"role": "untrained-0"}, False),
        ({"dtype": "bfloat16"}, False),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_a_value_stands_for(tmp_path: Path, change: dict[str, str], there: bool) -> None:
    measured = written(tmp_path, (KEY, array()))
    assert (replace(KEY, **change) in measured) is there
    assert (measured.get(replace(KEY, **change)) is not None) is there


def test_without_a_file_nothing_is_committed(tmp_path: Path) -> None:
    measured = Committed(tmp_path / "none.safetensors")
    assert KEY not in measured
    assert measured.model("twin") is None
    assert measured.models == ()


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1", None])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "committed.safetensors"
    if content is None:
        # A file of safetensors, but not one of these.
        save_file({"a": np.zeros(2, dtype="float32")}, path, metadata={"refutable": "{}"})
    else:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot read the committed observations") as told:
        Committed(path).model("twin")
    assert "\n" not in str(told.value)


# -- in a harness -----------------------------------------------------------------------------

ABSENT = ModelSpec(
    "absent", ModelSource.TWIN, "twins/nowhere", group="layernorm-both", seed=91, tags=("x",)
)


def claims() -> tuple[object, object]:
    from refutable.studies.catalogue import find_claim

    return find_claim("gain.norm-kind-decides"), find_claim("ablation.diffuse-attention")


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Committed:
    """A file that holds the residual norms of a model whose weights are nowhere."""
    monkeypatch.setattr(registry, "all_specs", lambda: (ABSENT,))
    prompts = load_prompts("five-registers", [fixtures() / "prompts"])
    facts = identify(resolve_twin()).facts
    writer = CommittedWriter()
    writer.models["absent"] = CommittedModel(facts, "digest", "words", "config")
    values = xr.DataArray(
        np.linspace(1, 2, 25 * 7, dtype="float32").reshape(25, 7),
        dims=("prompt", "layer"),
        coords={
            "prompt": [p.id for p in prompts.prompts],
            "family": ("prompt", [p.family for p in prompts.prompts]),
            "layer": range(7),
        },
    )
    key = ObservationKey(
        weights="digest", tokenizer="words", prompts=prompts.content_hash, arm="no-bos",
        observable="residual_norm", version=1, dtype="float32", device="cpu",
    )  # fmt: skip
    writer.put(key, values)
    notes = {"layout": "packed", "attention": "sdpa", "checks": []}
    writer.put_json(replace(key, observable="instrument-notes", role="notes"), notes)
    writer.write(tmp_path / "committed.safetensors")
    return Committed(tmp_path / "committed.safetensors")


def resolve_twin() -> ModelSpec:
    return ModelSpec("twin", ModelSource.TWIN, "twins/layernorm-both/seed-0")


def harness(tmp_path: Path, committed: Committed | None) -> Harness:
    sets = {"five-registers": load_prompts("five-registers", [fixtures() / "prompts"])}
    return Harness(Sources(Store(tmp_path / "store"), committed, sets.__getitem__, Settings()))


def test_a_model_without_weights_is_known_by_what_is_committed(
    tmp_path: Path, committed: Committed
) -> None:
    gain, _ = claims()
    lab = harness(tmp_path, committed)
    facts = lab.facts("absent")
    assert (facts.group, facts.seed, facts.blocks) == ("layernorm-both", 91, 6)
    need = Need(gain, "absent", "five-registers", "no-bos", controlled=False)  # type: ignore[arg-type]
    lab.plan([need])
    growth = lab.subject(need).observations["log_growth"]
    plain = np.linspace(1, 2, 25 * 7).reshape(25, 7)
    assert np.allclose(growth[:, -1], np.log(plain[:, 6] / plain[:, 5]), atol=1e-6)
    report = lab.report("absent")
    assert report is not None
    assert (report.origin, report.weights_digest, report.layout) == (
        "committed",
        "digest",
        "packed",
    )


def test_what_is_not_committed_is_said_in_one_line(tmp_path: Path, committed: Committed) -> None:
    _, diffuse = claims()
    lab = harness(tmp_path, committed)
    need = Need(diffuse, "absent", "five-registers", "no-bos", controlled=False)  # type: ignore[arg-type]
    lab.plan([need])
    with pytest.raises(NotAvailableError, match="attention_entropy of it is not committed") as told:
        lab.subject(need)
    assert "--variant layernorm-both --seed 91" in str(told.value)


def test_a_model_that_nothing_is_committed_of_is_a_missing_model(
    tmp_path: Path, committed: Committed
) -> None:
    with pytest.raises(ModelError, match="the weights of absent are not shipped"):
        harness(tmp_path, None).facts("absent")
