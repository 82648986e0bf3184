"""Leaving blocks out, many at a time, against leaving one out after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.checkpoints import gpt2, llama

from refutable.capture import deletion, rows
from refutable.models.sites import find_sites

PROMPTS = [[3, 5, 7], [9, 2, 4, 8, 6, 1, 7, 12, 15, 3, 44], [31, 33], [5, 4, 3, 2, 1, 9]]


def one_by_one(model, prompts):
    """Top tokens of each prompt alone, with a block's output replaced by what it was given."""
    blocks = find_sites(model).blocks

    def pass_on(module, args, kwargs, output):
        given = args[0] if args else kwargs["hidden_states"]
        return (given, *output[1:]) if isinstance(output, tuple) else given

    tops = np.empty((len(prompts), len(blocks)), dtype=int)
    for layer, block in enumerate(blocks):
        handle = block.register_forward_hook(pass_on, with_kwargs=True)
        try:
            for i, ids in enumerate(prompts):
                with torch.no_grad():
                    logits = model(torch.tensor([ids]), use_cache=False).logits
                tops[i, layer] = int(logits[0, -1].argmax())
        finally:
            handle.remove()
    return tops


@pytest.mark.parametrize("tokens", [512, 1], ids=["together", "apart"])
@pytest.mark.parametrize("made", [gpt2, llama])
def test_blocks_left_out_together_are_blocks_left_out_one_by_one(made, tokens, monkeypatch):
    monkeypatch.setattr(deletion, "_TOKENS", tokens)
    model = made().eval()
    intact, deleted = deletion.tops_without_blocks(model, PROMPTS)
    np.testing.assert_array_equal(deleted, one_by_one(model, PROMPTS))
    assert len(np.unique(deleted)) > 1
    with torch.no_grad():
        plain = [int(model(torch.tensor([ids])).logits[0, -1].argmax()) for ids in PROMPTS]
    assert intact.tolist() == plain
    assert not any(len(m._forward_hooks) for m in model.modules())


def test_states_of_rows_that_share_a_pass_are_those_of_each_alone():
    model = llama().eval()
    states = rows.last_states(model, find_sites(model), PROMPTS)
    assert states.shape == (4, 3, 32)
    for some, ids in zip(states, PROMPTS, strict=True):
        with torch.no_grad():
            hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        torch.testing.assert_close(some[:2], torch.stack([h[0, -1] for h in hidden[1:3]]),
                                   rtol=1e-4, atol=1e-5)  # fmt: skip


def test_a_model_whose_rows_depend_on_padding_runs_prompts_alone():
    model = llama().eval()
    sites = find_sites(model)
    together = rows.in_groups(model, sites, PROMPTS)
    assert any(len(group) > 1 for group in together)
    handle = model.model.layers[1].register_forward_hook(
        lambda module, args, output: output + 0.3 * output.mean(dim=1, keepdim=True)
    )
    try:
        alone = rows.in_groups(model, sites, PROMPTS)
    finally:
        handle.remove()
    assert sorted(alone) == [[0], [1], [2], [3]]
