"""An answer is found once for weights as they are, also where finding it moves them and back."""

from __future__ import annotations

import torch
from support.architectures import build

from refutable.capture.last_answer import LastAnswer


def test_an_answer_is_found_again_only_of_other_weights_or_another_question() -> None:
    model, last, asked = build("llama"), LastAnswer[int](), []

    def find() -> int:
        asked.append(1)
        weight = model.model.layers[0].mlp.up_proj.weight
        with torch.no_grad():
            before = weight.clone()
            weight.add_(1.0)
            weight.copy_(before)
        return len(asked)

    assert [last.of(model, "a", find) for _ in range(3)] == [1, 1, 1]
    assert last.of(model, "b", find) == 2
    with torch.no_grad():
        model.lm_head.weight.add_(1.0)
    assert last.of(model, "b", find) == 3
    assert last.of(build("llama"), "b", find) == 4
