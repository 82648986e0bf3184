"""A model that is filled block by block gives what it gives whole; one that does not is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import CONFIGS, VOCAB, build

from refutable.capture.measure import measure
from refutable.capture.sweep import Job, sweep
from refutable.errors import InstrumentError, NotMeasurableError, RefutableError
from refutable.measurement import streaming
from refutable.measurement.harness import Harness, open_harness
from refutable.measurement.needs import Need
from refutable.measurement.room import parse_memory
from refutable.measurement.state import Settings
from refutable.models.encode import Encoded
from refutable.models.sites import find_sites
from refutable.models.streamed import StreamedModel, missing_tensors, sites_of_streamed
from refutable.models.weights.reading import WeightReader
from refutable.observables.registry import REGISTRY
from refutable.spec.prompts import PromptLibrary
from refutable.studies.catalogue import find_claim
from refutable.system.paths import fixtures

NAMES = (
    "residual_norm",
    "embedding_norm",
    "n_blocks",
    "residual_log_variance",
    "attention_entropy",
    "next_token_entropy",
    "own_token_loss",
)
ITEMS = [REGISTRY[name] for name in NAMES]
QUICK = ("llama", "gpt2", "gemma3_text")


def prompts() -> Encoded:
    source = np.random.default_rng(4)
    ids = tuple(
        tuple(int(i) for i in source.integers(3, VOCAB, n)) for n in (9, 3, 14, 1, 22, 7, 12, 6)
    )
    names = tuple(f"f{i // 2}/{i % 2}" for i in range(len(ids)))
    return Encoded(ids, names, tuple(name.split("/")[0] for name in names), "no-bos", None)


def reader_of(model: Any) -> WeightReader:
    return WeightReader.from_state_dict(model.state_dict(), model.config)


def streamed_of(reader: WeightReader) -> tuple[StreamedModel, Any]:
    whole = StreamedModel(reader, "float32")
    part = StreamedModel(reader, "float32", blocks=whole.representative)
    return whole, sites_of_streamed(whole, part)


def assert_same(swept: dict[str, Any], whole: dict[str, Any]) -> None:
    assert swept.keys() == whole.keys()
    for name, array in whole.items():
        assert swept[name].dims == array.dims
        np.testing.assert_allclose(swept[name].values, array.values, rtol=1e-5, atol=1e-6)
        for label in array.coords:
            assert list(swept[name][label].values) == list(array[label].values)


@pytest.mark.parametrize(
    "kind",
    [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in CONFIGS],
)
def test_a_sweep_gives_what_the_model_gives_whole(kind: str) -> None:
    model, encoded = build(kind), prompts()
    streamed, sites = streamed_of(reader_of(model))
    whole_sites = find_sites(model)
    assert set(sites) == set(whole_sites)
    assert sites.norm_kinds == whole_sites.norm_kinds
    jobs = [Job(encoded, ITEMS, "single"), Job(encoded.only((0, 2, 4)), ITEMS[:3], "packed")]
    first, second = sweep(streamed, sites, jobs)
    assert_same(first, measure(model, whole_sites, encoded, ITEMS, layout="single"))
    wanted = measure(model, whole_sites, encoded.only((0, 2, 4)), ITEMS[:3], layout="packed")
    assert_same(second, wanted)
    # It is as empty as it was, and nothing hangs on it.
    assert all(parameter.is_meta for parameter in streamed.model.parameters())
    assert not any(module._forward_hooks for module in streamed.model.modules())
    assert not any("forward" in block.__dict__ for block in sites.blocks)


def test_one_block_is_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    streamed, sites = streamed_of(reader_of(build("llama")))
    seen = []
    block = streamed.structure.blocks[0].__class__
    forward = block.forward

    def spied(self: Any, *args: Any, **kwargs: Any) -> Any:
        filled = [not next(b.parameters()).is_meta for b in streamed.structure.blocks]
        seen.append(filled.index(True))
        assert sum(filled) == 1
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(block, "forward", spied)
    sweep(streamed, sites, [Job(prompts(), ITEMS[:1], "single")])
    assert seen == [layer for layer in range(len(sites.blocks)) for _ in range(len(prompts()))]


def test_an_untrained_copy_is_drawn_as_its_class_draws_it() -> None:
    model = build("gpt2")
    reader = reader_of(model)
    streamed, sites = streamed_of(reader)
    drawn = reader.untrained(3)
    (swept,) = sweep(streamed.reading(drawn), sites, [Job(prompts(), ITEMS, "single")])
    torch.manual_seed(0)
    fresh = type(model)(model.config).eval().requires_grad_(False)
    for name, parameter in fresh.named_parameters():
        values = torch.from_numpy(drawn.tensor(name))
        if parameter.numel() > 2000:
            assert float(values.std()) == pytest.approx(float(parameter.std()), rel=0.1)
        parameter.copy_(values)
    assert_same(swept, measure(fresh, find_sites(fresh), prompts(), ITEMS, layout="single"))


def test_a_checkpoint_that_lacks_a_tensor_or_holds_another_is_refused() -> None:
    model = build("llama")
    state = dict(model.state_dict())
    whole = StreamedModel(WeightReader.from_state_dict(state, model.config), "float32")
    assert missing_tensors(WeightReader.from_state_dict(state, model.config), whole).passed
    gone = {n: v for n, v in state.items() if n != "model.layers.2.mlp.up_proj.weight"}
    check = missing_tensors(WeightReader.from_state_dict(gone, model.config), whole)
    assert not check.passed
    assert "model.layers.2.mlp.up_proj.weight" in check.detail
    more = {**state, "model.layers.0.mlp.extra.weight": torch.ones(3, 3)}
    check = missing_tensors(WeightReader.from_state_dict(more, model.config), whole)
    assert "model.layers.0.mlp.extra.weight" in check.detail


# -- the run ---------------------------------------------------------------------------------

TINY = str(fixtures() / "tiny" / "rmsnorm")
CLAIM = replace(find_claim("gain.rmsnorm-training-expands"), id="gain.few-copies")
CLAIM = replace(CLAIM, control=replace(CLAIM.control, seeds=2))


def harness(folder: Path, monkeypatch: pytest.MonkeyPatch, memory: int) -> Harness:
    monkeypatch.setenv("REFUTABLE_CACHE", str(folder))
    made = open_harness(
        PromptLibrary([fixtures()]), Settings(memory=memory), models={"rmsnorm": TINY}
    )
    made.plan([Need(CLAIM, "rmsnorm", "five-registers", "no-bos")])
    return made


def test_a_model_that_does_not_fit_is_measured_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = Need(CLAIM, "rmsnorm", "five-registers", "no-bos")
    measured, reports = {}, {}
    for name, memory in (("whole", 0), ("streamed", 1000)):
        made = harness(tmp_path / name, monkeypatch, memory)
        measured[name] = made.subject(need)
        reports[name] = made.report("rmsnorm")
    whole, streamed = measured["whole"], measured["streamed"]
    for in_memory, by_block in ((whole.observations, streamed.observations),):
        np.testing.assert_allclose(in_memory["residual_norm"], by_block["residual_norm"], rtol=1e-5)
    assert whole.check is not None
    assert streamed.check is not None
    assert len(streamed.check[0]["residual_norm"]["prompt"]) == 6
    # Copies that were drawn part by part are others than those that were made whole.
    for in_memory, by_block in zip(whole.controls, streamed.controls, strict=True):
        a, b = in_memory["residual_norm"], by_block["residual_norm"]
        assert a.shape == b.shape
        assert not np.allclose(a, b, rtol=1e-3)
        assert float(a.mean()) == pytest.approx(float(b.mean()), rel=0.2)
    checks = {check.name: check for check in reports["streamed"].checks}
    assert checks["block by block"].passed
    assert checks["layout, all blocks [five-registers, no-bos]"].passed
    assert {cost.what for cost in reports["streamed"].costs} == {"instrument check", "one sweep"}
    assert "block by block" not in {check.name for check in reports["whole"].checks}


def test_what_needs_the_whole_model_says_so_and_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = harness(tmp_path, monkeypatch, 1000)
    other = Need(find_claim("literature.induction-head"), "rmsnorm", "five-registers", "no-bos")
    made.plan([other])
    with pytest.raises(NotMeasurableError, match=r"block by block.*--claim-memory"):
        made.subject(other)
    assert len(made.subject(Need(CLAIM, "rmsnorm", "five-registers", "no-bos")).controls) == 2


@pytest.mark.parametrize(("blocks", "name"), [(2, "block by block"), (None, "layout, all blocks")])
def test_a_sweep_that_is_wrong_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int | None, name: str
) -> None:
    made = harness(tmp_path, monkeypatch, 1000)
    calls = []

    def wrong(streamed: Any, sites: Any, jobs: Any) -> Any:
        calls.append(len(jobs))
        swept = sweep(streamed, sites, jobs)
        if (len(jobs) == 1) == (blocks is not None):
            swept[-1] = {key: value * 1.01 for key, value in swept[-1].items()}
        return swept

    monkeypatch.setattr(streaming, "sweep", wrong)
    with pytest.raises(InstrumentError, match=name):
        made.measure("rmsnorm")
    assert calls


@pytest.mark.parametrize(
    ("text", "size"), [("", 0), ("8GB", 8 * 10**9), ("500mb", 5 * 10**8), ("1.5 GB", 15 * 10**8),
                       ("2G", 2 * 10**9), ("1000", 1000), ("7B", 7)]
)  # fmt: skip
def test_sizes_of_memory(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["much", "-3GB", "0", "8XB", "GB"])
def test_what_is_no_size_of_memory_is_refused(text: str) -> None:
    with pytest.raises(RefutableError, match="8GB"):
        parse_memory(text)
