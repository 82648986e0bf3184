"""What measuring costs is told, and less is measured where less decides."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import VOCAB, build

from refutable.capture import deletion
from refutable.capture.clock import ModelClock
from refutable.capture.deletion import tops_without_blocks
from refutable.measurement.control_prompts import few_of_each_family
from refutable.measurement.harness import Harness, open_harness
from refutable.measurement.instrument import check
from refutable.measurement.needs import Need
from refutable.measurement.state import Settings
from refutable.models import large
from refutable.models.encode import Encoded
from refutable.models.sites import find_sites
from refutable.observables.registry import REGISTRY
from refutable.plugin.profile import profile_lines
from refutable.records import MeasuringCost
from refutable.spec.prompts import PromptLibrary
from refutable.studies.catalogue import find_claim
from refutable.system.paths import fixtures

MODEL = "tiny-rmsnorm"
CLAIM = "gain.rmsnorm-training-expands"


def encoded(lengths: list[int], families: list[str]) -> Encoded:
    source = np.random.default_rng(4)
    ids = tuple(tuple(int(i) for i in source.integers(3, VOCAB, n)) for n in lengths)
    names = tuple(f"{family}/{place}" for place, family in enumerate(families))
    return Encoded(ids, names, tuple(families), "no-bos", None)


def test_rows_by_token_do_not_keep_a_large_set_from_sharing_passes() -> None:
    model = build("llama")
    lengths = [3 + place % 17 for place in range(120)]
    prompts = encoded(lengths, [f"f{place % 40}" for place in range(120)])
    names = ("residual_norm", "own_token_loss", "next_token_log_probabilities", "own_tokens")
    items = [REGISTRY[name] for name in names]
    actual = check(SimpleNamespace(model=model), find_sites(model), prompts, items)  # type: ignore[arg-type]
    assert actual.layout == "packed"
    compared = actual.reference["residual_norm"].sizes["prompt"]
    assert compared < len(prompts)
    tokens = sum(len(ids) for ids in prompts.ids)
    for name in names[1:]:
        measured, alone = actual.packed[name], actual.reference[name]
        assert measured.shape == alone.shape
        assert len(alone) < tokens
        np.testing.assert_allclose(measured, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("families", "each", "kept"), [(44, 8, 44), (5, 5, 25), (10, 9, 40)])
def test_a_control_of_a_large_model_keeps_every_family(families: int, each: int, kept: int) -> None:
    labels = [f"f{place % families}" for place in range(families * each)]
    prompts = encoded([2 + place % 29 for place in range(len(labels))], labels)
    few = few_of_each_family(prompts)
    assert len(few) == kept
    assert set(few.families) == set(labels)
    assert len(set(Counter(few.families).values())) == 1
    assert list(few.prompt_ids) == [name for name in prompts.prompt_ids if name in few.prompt_ids]
    if kept < len(prompts):
        # Neither the shortest nor the longest of a family stands for it alone.
        for family in set(labels):
            sizes = sorted(len(i) for i, f in zip(prompts.ids, labels, strict=True) if f == family)
            taken = [len(i) for i, f in zip(few.ids, few.families, strict=True) if f == family]
            assert sizes[0] < min(taken)
            assert max(taken) < sizes[-1] or sizes[-2] == sizes[-1]


def harness_in(folder: Path, monkeypatch: pytest.MonkeyPatch, profile: bool = False) -> Harness:
    monkeypatch.setenv("REFUTABLE_CACHE", str(folder))
    return open_harness(PromptLibrary([fixtures()]), Settings(profile=profile))


@pytest.mark.parametrize(
    ("name", "prompts", "fewest"),
    [(CLAIM, "battery", 44), ("gain.register-orders-gain", "length-matched", 60)],
)
def test_controls_of_a_large_model_read_a_few_prompts_and_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, prompts: str, fewest: int
) -> None:
    claim = find_claim(name)
    claim = replace(claim, control=replace(claim.control, seeds=2))
    need = Need(claim, MODEL, prompts, "no-bos")
    counts = []
    for most in (large.LARGE, 1):
        monkeypatch.setattr(large, "LARGE", most)
        made = harness_in(tmp_path, monkeypatch)
        made.plan([need])
        subject = made.subject(need)
        counts.append([len(o["residual_norm"]) for o in (subject.observations, *subject.controls)])
        seen = {str(family) for family in subject.controls[0]["residual_norm"]["family"].values}
        assert seen == set(made.sources.prompts(prompts).families)
    (whole, *copies), (again, *few) = counts
    assert copies == [whole, whole]
    assert again == whole
    assert few == [fewest, fewest]


def test_copies_of_a_model_of_ones_own_read_a_few_prompts_and_its_prose_is_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    shutil.copytree(fixtures() / "tiny" / "rmsnorm", local)
    claim = find_claim(CLAIM)
    claim = replace(claim, control=replace(claim.control, seeds=1))
    noise = find_claim("ablation.noise-costs-loss")
    noise = replace(noise, control=replace(noise.control, seeds=1))
    sizes, slopes = {}, {}
    for model in (MODEL, str(local)):
        made = harness_in(tmp_path, monkeypatch)
        needs = [Need(one, model, "battery", "no-bos") for one in (claim, noise)]
        made.plan(needs)
        copies = [made.subject(need).controls[0] for need in needs]
        sizes[model] = [copies[0]["residual_norm"].sizes["prompt"], *copies[1]["noisy_loss"].shape]
        slopes[model] = copies[1]["noisy_loss"].sel(noise="words", rate=0.2)
    assert sizes[MODEL] == [352, 2, 4, 34]
    assert sizes[str(local)] == [44, 1, 4, 34]
    # The shipped model has the same config, so that its copies are the same models.
    copied, shipped = slopes[str(local)], slopes[MODEL]
    np.testing.assert_allclose(copied.values, shipped.values, rtol=0.05)
    assert not np.array_equal(copied.values, shipped.values)


def test_what_each_part_took_is_told_once_and_nothing_when_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = find_claim(CLAIM)
    claim = replace(claim, control=replace(claim.control, seeds=2))
    need = Need(claim, MODEL, "five-registers", "no-bos")
    made = harness_in(tmp_path, monkeypatch, profile=True)
    made.plan([need])
    made.subject(need)
    report = made.report(MODEL)
    assert report is not None
    parts = Counter(cost.what for cost in report.costs)
    assert parts == {"load": 1, "instrument check": 1, "one pass": 3, "untrained weights": 2}
    passes = [cost for cost in report.costs if cost.what == "one pass"]
    assert [cost.role for cost in passes] == ["", "untrained-0", "untrained-1"]
    # Of a small set the check has run every pass: the model's own are not run again.
    assert passes[0].seconds < passes[1].seconds
    for cost in passes[1:]:
        assert 0 < (cost.in_model or 0) <= cost.seconds
    told = profile_lines(report.costs)
    assert any("one pass (untrained x 2 on five-registers, no-bos)" in line for line in told)
    again = harness_in(tmp_path, monkeypatch)
    again.plan([need])
    again.subject(need)
    read = again.report(MODEL)
    assert read is not None
    assert read.costs == ()


def test_small_parts_are_told_as_one() -> None:
    costs = [MeasuringCost("load", seconds=0.1), MeasuringCost("one pass", seconds=99.9)]
    assert [line.split()[0] for line in profile_lines(costs)[1:]] == ["99.9", "0.1", "100.0"]


def test_the_clock_counts_forward_and_backward_and_leaves_nothing() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(400, 400), torch.nn.Linear(400, 400))
    grad = torch.autograd.grad
    with ModelClock() as clock:
        out = layer(torch.ones(2000, 400))
        forward = clock.seconds
        assert forward > 0
        torch.autograd.grad(out.sum(), list(layer.parameters()))
        both = clock.seconds
        assert both > forward
        with pytest.raises(RuntimeError):
            layer(torch.ones(1, 3))
        # A pass that failed does not leave the clock running.
        failed = clock.seconds
        torch.ones(1000, 1000) @ torch.ones(1000, 1000)
        assert clock.seconds == failed
    layer(torch.ones(2000, 400))
    assert clock.seconds == failed
    assert torch.autograd.grad is grad


@torch.no_grad()
def by_hand(model: Any, prompts: list[list[int]]) -> tuple[list[int], list[list[int]]]:
    """One prompt at a time, the block replaced by the identity."""

    def top(ids: list[int]) -> int:
        return int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())

    intact = [top(ids) for ids in prompts]
    blocks = model.get_decoder().layers if hasattr(model.get_decoder(), "layers") else None
    blocks = blocks if blocks is not None else model.get_decoder().h
    columns = []
    for place, block in enumerate(blocks):

        class Nothing(type(block)):  # type: ignore[misc]
            def forward(self, hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
                out = super().forward(hidden_states, *args, **kwargs)
                return (hidden_states, *out[1:]) if isinstance(out, tuple) else hidden_states

        kind_of_block = block.__class__
        blocks[place].__class__ = Nothing
        columns.append([top(ids) for ids in prompts])
        blocks[place].__class__ = kind_of_block
    return intact, np.array(columns).T.tolist()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral", "gemma3_text", "gpt_neox"])
def test_deleting_blocks_in_shared_passes_gives_what_single_prompts_give(kind: str) -> None:
    model = build(kind)
    source = np.random.default_rng(1)
    prompts = [[int(i) for i in source.integers(3, VOCAB, n)] for n in (4, 11, 7, 1, 9)]
    if kind == "gpt_neox":
        blocks = model.gpt_neox.layers
        model.get_decoder = lambda: SimpleNamespace(layers=blocks)
    intact, deleted = tops_without_blocks(model, prompts)
    wanted, columns = by_hand(model, prompts)
    assert intact.tolist() == wanted
    assert deleted.tolist() == columns


def test_deletions_are_computed_once_and_anew_for_other_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build("llama")
    prompts = [[5, 6, 7], [8, 9, 10, 11]]
    first = tops_without_blocks(model, prompts)
    monkeypatch.setattr(deletion, "find_sites", lambda _: pytest.fail("computed again"))
    assert tops_without_blocks(model, prompts) is first
    monkeypatch.undo()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1.3)
    again = tops_without_blocks(model, prompts)
    assert again is not first
    assert again[0].tolist() == by_hand(model, prompts)[0]
