"""A sweep starts behind the blocks that an edit leaves alone, and gives what whole passes give."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from refutable.capture.edits import block_outputs
from refutable.capture.intervene import Intervention, available_sites, intervene, sweep
from refutable.models.sites import find_sites
from refutable.studies.no_position.model import previous_token_loss

CONFIGS = {
    "gpt2": GPT2Config(
        vocab_size=40, n_positions=16, n_embd=12, n_layer=3, n_head=2, bos_token_id=0,
        eos_token_id=0,
    ),
    "llama": LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, bos_token_id=0, eos_token_id=0,
    ),
}  # fmt: skip


@pytest.fixture(params=CONFIGS)
def model(request):
    torch.manual_seed(5)
    made = AutoModelForCausalLM.from_config(CONFIGS[request.param]).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


@pytest.fixture
def tokens():
    return torch.randint(0, 40, (5, 9), generator=torch.Generator().manual_seed(1))


def test_every_site_gives_the_loss_of_a_whole_pass(model, tokens):
    assert block_outputs(model, find_sites(model), tokens) is not None
    losses = sweep(model, tokens, previous_token_loss, how="mean-all", show_progress=False)
    sites = [name for name, reason in available_sites(model).items() if not reason]
    assert len(sites) > 40
    for site in sites:
        whole = previous_token_loss(
            intervene(model, tokens, Intervention(site, "mean-all")), tokens
        )
        assert losses[site] == pytest.approx(float(whole), abs=1e-6), site
    assert len({round(loss, 5) for loss in losses.values()}) > 20


def test_blocks_compute_again_afterwards(model, tokens):
    with torch.no_grad():
        before = model(tokens).logits
        sweep(model, tokens, previous_token_loss, show_progress=False)
        other = tokens.flip(1)
        again, reversed_ = model(tokens).logits, model(other).logits
    assert torch.equal(before, again)
    assert not torch.allclose(before, reversed_)


def test_a_block_that_reads_more_than_the_stream_gets_whole_passes(model, tokens):
    sites = find_sites(model)
    made = []
    hooks = [
        sites.blocks[0].mlp.register_forward_hook(lambda _, __, out: made.append(out)),
        # The last block adds what the first one's feed-forward layer made in this pass.
        sites.blocks[2].register_forward_pre_hook(
            lambda _, args: (args[0] + (made.pop() if made else 0.0), *args[1:])
        ),
    ]
    try:
        assert block_outputs(model, sites, tokens) is None
    finally:
        for hook in hooks:
            hook.remove()
