"""Prompts with thoughts run part by part as they do at once; hidden tokens leave no gap."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.architectures import build

from refutable.capture import answers, thought_parts
from refutable.capture.thoughts import Thoughts, written_thoughts

LENGTHS = (9, 21, 12, 30, 10, 29)


def written(model: Any) -> Thoughts:
    source = torch.Generator().manual_seed(3)
    prompts = [torch.randint(3, 30, (n,), generator=source).tolist() for n in LENGTHS]
    spans = [{f"t{k}": [2 + k] for k in range(6)} for _ in LENGTHS]
    return written_thoughts(model, prompts, spans)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thought_parts, "_FEWEST", 40)
    monkeypatch.setattr(thought_parts, "_NUMBERS", 0)


def test_parts_hold_every_prompt_once_and_no_empty_column(few: None) -> None:
    thoughts = written(build("llama"))
    parts = thought_parts.parts_of(thoughts)
    assert len(parts) > 3
    assert sorted(row for part in parts for row in part.rows.tolist()) == list(range(len(LENGTHS)))
    for part in parts:
        alone = part.thoughts
        assert alone.present[:, 0].any()
        assert alone.present.shape[1] == max(LENGTHS[row] for row in part.rows)
        assert alone.present.numel() <= 40 or len(part.rows) == 1
        assert torch.equal(part.of(thoughts.embeddings), alone.embeddings)
        for name, span in alone.spans.items():
            assert torch.equal(span, part.of(thoughts.spans[name]))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "mistral"])
def test_answers_part_by_part_are_those_of_one_pass(few: None, kind: str) -> None:
    model = build(kind)
    thoughts = written(model)
    wanted = answers._answers(model, thoughts)
    assert len(thought_parts.parts_of(thoughts)) > 1
    logits = answers.answer_logits(model, thoughts)
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)


def test_a_question_is_asked_once_and_again_of_other_weights() -> None:
    model = build("llama")
    thoughts, calls = written(model), []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    first = answers.answer_logits(model, thoughts)
    once = len(calls)
    assert torch.equal(answers.answer_logits(model, written(model)), first)
    assert len(calls) == once
    changed = replace(thoughts, embeddings=thoughts.embeddings * 1.5)
    assert not torch.equal(answers.answer_logits(model, changed), first)
    with torch.no_grad():
        next(model.model.layers[0].parameters()).mul_(2)
    assert not torch.equal(answers.answer_logits(model, thoughts), first)
    handle.remove()


def test_tokens_that_are_hidden_leave_no_gap() -> None:
    model = build("llama")
    thoughts = written(model)
    hidden = replace(thoughts, present=thoughts.present & ~thoughts.spans["thoughts"])
    moved = thought_parts.without_gaps(hidden)
    assert moved.present.sum(dim=1).tolist() == [n - 6 for n in LENGTHS]
    assert moved.present.shape[1] == max(LENGTHS) - 6
    for row in range(len(LENGTHS)):
        kept = hidden.embeddings[row, hidden.present[row]]
        assert torch.equal(moved.embeddings[row, moved.present[row]], kept)
        assert bool(moved.present[row, -1])
    assert not moved.spans["thoughts"].any()
    torch.testing.assert_close(
        answers._answers(model, moved), answers._answers(model, hidden), atol=1e-4, rtol=1e-4
    )
