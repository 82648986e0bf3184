"""The thought twins: their task, the stacked computation against transformers', and resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

from refutable.errors import RefutableError
from refutable.studies.thought_tokens.recipe import SIZES, Recipe, model_config
from refutable.studies.thought_tokens.ship import planned, read_log, train_thoughts
from refutable.studies.thought_tokens.stacked import fresh_weights, of_seed, stack
from refutable.studies.thought_tokens.task import (
    BEGIN,
    BOS,
    END,
    PAUSE,
    after,
    of_template,
    problems,
    shown,
    stream,
)
from refutable.studies.thought_tokens.train import Stack, weights_of

SHORT = replace(Recipe(), steps=6, batch=8, written_steps=2, stage_steps=1, held_out=20)


def test_values_follow_from_the_words_of_the_prompt() -> None:
    drawn = problems(torch.Generator().manual_seed(0), 200)
    for prompt, values, steps in zip(
        drawn.prompts.tolist(), drawn.values.tolist(), drawn.steps.tolist(), strict=True
    ):
        assert prompt[0] == BOS
        assert prompt[-1] == BEGIN
        start, *slots = shown(prompt).split()
        value, seen = int(start), []
        for slot in slots:
            if slot != ".":
                value = eval(f"({value} {slot[0]} {slot[1:]}) % 11")  # noqa: S307
            seen.append(value)
        assert values == seen
        assert steps == sum(slot != "." for slot in slots)
        assert 2 <= steps <= 6
        assert [after(prompt, slot, values[slot - 1]) for slot in range(1, 6)] == [values[-1]] * 5


def test_a_template_sets_the_kinds_of_slots() -> None:
    drawn = of_template("+..*+.", torch.Generator().manual_seed(0), 50)
    for prompt in drawn.prompts.tolist():
        assert [word[0] for word in shown(prompt).split()[1:]] == list("+..*+.")
    assert (drawn.prompts[:, 3] == PAUSE).all()


def test_runs_of_one_seed_share_their_data() -> None:
    first, second = stream(3, 4), stream(3, 4, skip=1)
    next(first)
    assert torch.equal(next(first).prompts, next(second).prompts)


def test_the_curriculum_hands_over_one_value_after_the_other() -> None:
    recipe = Recipe()
    stages = [recipe.stage_at(step) for step in range(recipe.steps)]
    assert set(stages[: recipe.written_steps]) == {0}
    first = [stages.index(stage) for stage in range(7)]
    assert first == sorted(first)
    late = stages[-1000:]
    assert late.count(6) / len(late) == pytest.approx(0.8 + 0.2 / 7, abs=0.04)


@pytest.mark.parametrize("size", sorted(SIZES))
@pytest.mark.parametrize(("thoughts", "first"), [(6, 6), (2, 2), (0, 4), (0, 6)])
def test_the_stack_equals_transformers_own_model(size: str, thoughts: int, first: int) -> None:
    weights = [fresh_weights(SIZES[size], seed, Recipe()) for seed in (0, 1)]
    trained = Stack(SIZES[size], "thoughts", (0, 1), SHORT, "cpu")
    model: Any = GPT2LMHeadModel(model_config(SIZES[size])).eval()
    model.load_state_dict(of_seed(stack(weights), 1))
    drawn = problems(torch.Generator().manual_seed(1), 5)
    with torch.no_grad():
        measured = trained.model.answers(
            torch.stack([drawn.prompts] * 2), torch.stack([drawn.values] * 2), thoughts, first=first
        )[1]
        inputs = model.get_input_embeddings()(drawn.prompts)
        for _ in range(thoughts):
            state = model.transformer(inputs_embeds=inputs).last_hidden_state[:, -1:]
            inputs = torch.cat([inputs, state], dim=1)
        tail = torch.cat([drawn.values[:, first:], torch.full((5, 1), END)], dim=1)
        inputs = torch.cat([inputs, model.get_input_embeddings()(tail)], dim=1)
        logits = model(inputs_embeds=inputs).logits
    before = inputs.shape[1] - tail.shape[1] - 1
    written = [before + place for place in range(6 - first)]
    wanted = logits[:, [*written, inputs.shape[1] - 1]]
    torch.testing.assert_close(measured, wanted, atol=1e-4, rtol=1e-4)


def test_sizes_lie_four_times_apart() -> None:
    counts = [
        sum(parameter.numel() for parameter in GPT2LMHeadModel(model_config(size)).parameters())
        for size in SIZES.values()
    ]
    assert counts[1] / counts[0] >= 4
    assert SIZES["small"].blocks == SIZES["large"].blocks


@pytest.mark.parametrize("kind", ["thoughts", "direct"])
def test_a_run_that_goes_on_ends_the_same(kind: str, tmp_path: Path) -> None:
    whole = Stack(SIZES["small"], kind, (0, 1), SHORT, "cpu")
    whole.train(6)
    part = Stack(SIZES["small"], kind, (0, 1), SHORT, "cpu")
    part.train(3)
    part.keep(tmp_path / "part.safetensors")
    rest = Stack(SIZES["small"], kind, (0, 1), SHORT, "cpu")
    rest.resume(tmp_path / "part.safetensors")
    rest.train(6)
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, rest.weights[name]), name
    alone = Stack(SIZES["small"], kind, (1,), SHORT, "cpu")
    alone.train(6)
    for name, tensor in weights_of(alone, 1).items():
        torch.testing.assert_close(tensor, weights_of(whole, 1)[name], atol=1e-5, rtol=1e-5)
    with pytest.raises(RefutableError, match="another recipe or other seeds"):
        alone.resume(tmp_path / "part.safetensors")


def test_training_lowers_the_loss() -> None:
    recipe = replace(SHORT, steps=30, batch=32, written_steps=30, warm_up=5)
    trained = Stack(SIZES["small"], "thoughts", (0,), recipe, "cpu")
    trained.train(30)
    assert float(trained.losses[-1]) < 0.8 * float(trained.losses[0])


def test_the_command_trains_ships_and_reads_back(tmp_path: Path) -> None:
    said: list[str] = []
    logs = train_thoughts(["small"], [1], tmp_path, "cpu", said.append, recipe=SHORT)
    assert [log.kind for log in logs] == ["thoughts", "direct"]
    assert len(said) == 2
    folder = tmp_path / "thoughts-small-1" / "checkpoint"
    log = read_log(folder)
    assert log == logs[0]
    assert (log.steps, len(log.losses)) == (6, 1)
    assert set(log.accuracy) == {str(count) for count in range(7)}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    again = Stack(SIZES["small"], "thoughts", (1,), SHORT, "cpu")
    again.train(6)
    for name, tensor in weights_of(again, 1).items():
        torch.testing.assert_close(model.state_dict()[name], tensor, atol=2e-3, rtol=2e-3)
    # Finished runs are read, not trained again.
    before = (folder / "model.safetensors").stat().st_mtime_ns
    train_thoughts(["small"], [1], tmp_path, "cpu", said.append, recipe=SHORT)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(RefutableError, match="no size 'huge' of thought twins: choose small"):
        planned("huge", None)
    with pytest.raises(RefutableError, match="no kind 'pause' of thought twins"):
        Stack(SIZES["small"], "pause", (0,), SHORT, "cpu")
    assert planned("large", 3) == (("large",), (3,))
