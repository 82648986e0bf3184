"""Interventions: sites read what they say, identities hold, and edits do what they say."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from refutable.capture.intervene import (
    Intervention,
    available_sites,
    canonical,
    intervene,
    read,
    site_names,
    sweep,
)
from refutable.errors import NotAvailableError, RefutableError
from refutable.studies.no_position.circuits import forward, read_gpt2
from refutable.studies.no_position.model import new_model, previous_token_loss, sequences

VOCABULARY = 31


def _randomize(model, scale=0.4):
    """Give every tensor, norms and biases too, values that matter."""
    source = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0.0, scale, generator=source)
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.add_(1.0)
    return model.eval()


@pytest.fixture(scope="module")
def gpt2():
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=16,
        n_embd=12,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    return _randomize(GPT2LMHeadModel(config))


@pytest.fixture(scope="module")
def llama():
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    return _randomize(LlamaForCausalLM(config))


@pytest.fixture(scope="module")
def gptj():
    config = GPTJConfig(
        vocab_size=VOCABULARY,
        n_positions=16,
        n_embd=16,
        n_layer=2,
        n_head=2,
        rotary_dim=4,
        bos_token_id=0,
        eos_token_id=0,
    )
    return _randomize(GPTJForCausalLM(config))


@pytest.fixture
def tokens():
    return torch.randint(0, VOCABULARY, (6, 9), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def _intact(model, tokens):
    return model(tokens).logits


def test_transformer_lens_names_are_understood():
    assert canonical("blocks.0.attn.hook_attn_scores") == "blocks.0.attn.scores"
    assert canonical("blocks.1.hook_resid_pre") == "blocks.1.resid_pre"
    assert canonical("blocks.1.ln1.hook_scale") == "blocks.1.ln1.scale"
    assert canonical("hook_embed") == "embed"
    assert canonical("blocks.0.attn.scores") == "blocks.0.attn.scores"


def test_gpt2_has_every_site_but_rotated_ones(gpt2):
    missing = {name for name, reason in available_sites(gpt2).items() if reason}
    assert missing == {f"blocks.{layer}.attn.rot_{x}" for layer in (0, 1) for x in "qk"}


def test_activations_are_those_of_the_forward_pass_written_out(gpt2, tokens):
    expected = forward(read_gpt2(gpt2), tokens).sites
    names = [name for name, reason in available_sites(gpt2).items() if not reason]
    measured = read(gpt2, tokens, names)
    assert set(names) == set(measured) == set(expected)
    for name in names:
        want = expected[name]
        if name.endswith("attn.z"):
            want = want.flatten(-2)
        if name == "pos_embed":
            want = want[:1]
        torch.testing.assert_close(measured[name], want, atol=2e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("which", ["gpt2", "llama", "gptj"])
def test_putting_back_what_was_there_changes_nothing(which, request, tokens):
    model = request.getfixturevalue(which)
    intact = _intact(model, tokens)
    names = [name for name, reason in available_sites(model).items() if not reason]
    assert len(names) > 15
    for name, value in read(model, tokens, names).items():
        again = intervene(model, tokens, Intervention(name, value))
        torch.testing.assert_close(again, intact, atol=2e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("which", ["gpt2", "llama", "gptj"])
def test_another_value_changes_the_logits_at_every_site(which, request, tokens):
    """No edit is silently lost: each site's value at the last position reaches its logits."""
    model = request.getfixturevalue(which)
    intact = _intact(model, tokens)
    for name, reason in available_sites(model).items():
        if reason:
            continue
        edit = Intervention(name, "resample", positions=(8,))
        if name == "pos_embed":
            edit = Intervention(name, "zero")
        if name.endswith((".k", ".rot_k")):
            edit = Intervention(name, "resample", positions=(3,))
        moved = (intervene(model, tokens, edit) - intact).abs()
        assert float(moved[:, 8].max()) > 1e-4, name
        if name != "pos_embed":
            before = 3 if name.endswith((".k", ".rot_k")) else 8
            assert float(moved[:, :before].max()) < 1e-5, f"{name} reached back in time"


def test_model_is_left_as_it_was(gpt2, tokens):
    intact = _intact(gpt2, tokens)
    implementation = gpt2.config._attn_implementation
    intervene(gpt2, tokens, [Intervention("blocks.0.attn.q"), Intervention("blocks.1.resid_mid")])
    with pytest.raises(RefutableError):
        intervene(gpt2, tokens, Intervention("blocks.0.attn.q", torch.zeros(3, 5)))
    assert torch.equal(_intact(gpt2, tokens), intact)
    assert gpt2.config._attn_implementation == implementation
    hooks = [m for m in gpt2.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert not hooks


def test_exact_identities_of_mean_replacement(gpt2, tokens):
    def logits(site):
        return intervene(gpt2, tokens, Intervention(site))

    for one, other in [
        ("blocks.0.ln2.normalized", "blocks.0.mlp.pre"),
        ("blocks.0.mlp.post", "blocks.0.mlp_out"),
        ("blocks.1.attn.z", "blocks.1.attn_out"),
        ("blocks.0.resid_post", "blocks.1.resid_pre"),
    ]:
        torch.testing.assert_close(logits(one), logits(other), atol=1e-4, rtol=1e-4)
        assert float((logits(one) - _intact(gpt2, tokens)).abs().max()) > 1e-2


def test_embedding_is_the_first_stream_where_there_is_no_position(tokens):
    model = new_model(0).eval()
    batch = next(sequences(1, 16))
    losses = sweep(
        model,
        batch,
        previous_token_loss,
        sites=["embed", "blocks.0.resid_pre"],
        show_progress=False,
    )
    assert losses["embed"] == pytest.approx(losses["blocks.0.resid_pre"], abs=1e-6)
    assert losses["embed"] != pytest.approx(losses["intact"], abs=1e-3)


def test_mean_replacement_of_the_last_stream_by_hand(gpt2, tokens):
    weights = read_gpt2(gpt2)
    stream = forward(weights, tokens).sites["blocks.1.resid_post"]
    for how, mean in (("mean", stream.mean(0)), ("mean-all", stream.mean((0, 1)).expand(9, -1))):
        expected = (weights.final_norm(mean) @ weights.w_u).expand(6, -1, -1)
        measured = intervene(gpt2, tokens, Intervention("blocks.1.hook_resid_post", how))
        torch.testing.assert_close(measured, expected, atol=1e-4, rtol=1e-4)


def test_mean_keys_by_hand(gpt2, tokens):
    """The pattern of layer 1 with averaged keys, from the intact queries and keys."""
    sites = forward(read_gpt2(gpt2), tokens).sites
    key = sites["blocks.1.attn.k"].mean(0, keepdim=True).expand_as(sites["blocks.1.attn.k"])
    scores = torch.einsum("bqhe,bkhe->bhqk", sites["blocks.1.attn.q"], key) / 6**0.5
    future = torch.ones(9, 9, dtype=torch.bool).triu(1)
    expected = scores.masked_fill(future, float("-inf")).softmax(-1)
    z = torch.einsum("bhqk,bkhe->bqhe", expected, sites["blocks.1.attn.v"]).flatten(-2)
    by_key = intervene(gpt2, tokens, Intervention("blocks.1.attn.k"))
    by_z = intervene(gpt2, tokens, Intervention("blocks.1.attn.z", z))
    torch.testing.assert_close(by_key, by_z, atol=1e-4, rtol=1e-4)


def test_mean_scores_and_pattern_by_hand(gpt2, tokens):
    sites = forward(read_gpt2(gpt2), tokens).sites
    scores = sites["blocks.0.attn.scores"].mean(0, keepdim=True)
    averaged = scores.softmax(-1).expand(6, -1, -1, -1)
    measured = intervene(gpt2, tokens, Intervention("blocks.0.attn.scores"))
    expected = intervene(gpt2, tokens, Intervention("blocks.0.attn.pattern", averaged))
    torch.testing.assert_close(measured, expected, atol=1e-4, rtol=1e-4)
    # Averaged over everything, scores say nothing: attention is uniform over what is visible.
    uniform = torch.ones(9, 9).tril() / torch.arange(1, 10)[:, None]
    measured = intervene(gpt2, tokens, Intervention("blocks.0.attn.scores", "mean-all"))
    expected = intervene(gpt2, tokens, Intervention("blocks.0.attn.pattern", uniform))
    torch.testing.assert_close(measured, expected, atol=1e-4, rtol=1e-4)


def test_zeroed_attention_leaves_the_stream_to_the_feed_forward(gpt2, tokens):
    weights = read_gpt2(gpt2)
    stream = weights.w_e[tokens] + weights.w_pos[:9]
    edits = [Intervention("blocks.0.attn_out", "zero"), Intervention("blocks.0.mlp_out", "zero")]
    edits += [Intervention("blocks.1.attn_out", "zero"), Intervention("blocks.1.mlp_out", "zero")]
    expected = weights.final_norm(stream) @ weights.w_u
    torch.testing.assert_close(intervene(gpt2, tokens, edits), expected, atol=1e-4, rtol=1e-4)


def test_scale_by_hand(llama, tokens):
    """Doubling the divisor of an RMSNorm halves what it gives."""
    normalized = read(llama, tokens, ["ln_final.normalized", "ln_final.scale"])
    doubled = Intervention("ln_final.scale", 2 * normalized["ln_final.scale"])
    halved = Intervention("ln_final.normalized", normalized["ln_final.normalized"] / 2)
    torch.testing.assert_close(
        intervene(llama, tokens, doubled), intervene(llama, tokens, halved), atol=1e-4, rtol=1e-4
    )


def test_only_the_named_positions_are_edited(gpt2, tokens):
    edit = Intervention("blocks.1.resid_post", "zero", positions=(2, -1))
    moved = (intervene(gpt2, tokens, edit) - _intact(gpt2, tokens)).abs().amax(dim=(0, 2))
    assert (moved > 1e-3).nonzero()[:, 0].tolist() == [2, 8]


def test_resample_takes_another_sequence_and_repeats_with_its_seed(gpt2, tokens):
    def logits(seed):
        return intervene(gpt2, tokens, Intervention("blocks.1.resid_post", "resample", seed=seed))

    intact = _intact(gpt2, tokens)
    for batch, row in enumerate(logits(3)):
        source = [i for i in range(6) if torch.allclose(intact[i], row, atol=1e-5)]
        assert len(source) == 1
        assert source != [batch]
    assert torch.equal(logits(3), logits(3))
    assert any(not torch.equal(logits(3), logits(seed)) for seed in range(4, 10))


def test_sweep_covers_every_site_and_reports_the_intact_loss(gpt2, tokens, capsys):
    losses = sweep(gpt2, tokens, previous_token_loss)
    assert losses["intact"] == pytest.approx(
        float(previous_token_loss(_intact(gpt2, tokens), tokens)), abs=1e-6
    )
    expected = [name for name, reason in available_sites(gpt2).items() if not reason]
    assert list(losses) == ["intact", *expected]
    assert "sites replaced: " in capsys.readouterr().err
    zeroed = sweep(gpt2, tokens, previous_token_loss, how="zero", show_progress=False)
    assert not [name for name in zeroed if name.endswith(".scale")]
    assert all(value == value for value in zeroed.values())  # no NaN


def test_missing_sites_have_reasons(gptj, gpt2, tokens):
    reasons = available_sites(gptj)
    for name in ("blocks.0.attn.q", "blocks.0.attn.scores", "blocks.0.attn.pattern"):
        assert "attention interface" in reasons[name]
    assert "parallel block" in reasons["blocks.0.resid_mid"]
    with pytest.raises(NotAvailableError, match="attention interface"):
        intervene(gptj, tokens, Intervention("blocks.0.attn.scores"))
    with pytest.raises(NotAvailableError, match="nothing is rotated"):
        intervene(gpt2, tokens, Intervention("blocks.0.attn.rot_q"))
    with pytest.raises(NotAvailableError, match=r"blocks\.2\.resid_pre"):
        intervene(gpt2, tokens, Intervention("blocks.2.resid_pre"))
    assert set(reasons) == set(site_names(2))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Intervention("embed", "median"), "expected how to be mean"),
        (Intervention("embed", torch.zeros(2, 2)), r"expected \(6, 9, 12\)"),
        (Intervention("embed", "zero", positions=(9,)), "sequences have 9 tokens"),
        (Intervention("ln_final.scale", "zero"), "is a divisor"),
        ([], "name one site or more"),
        ([Intervention("embed"), Intervention("hook_embed", "zero")], "edited twice"),
    ],
)
def test_misuse_says_what_to_do(edit, message, gpt2, tokens):
    with pytest.raises(RefutableError, match=message):
        intervene(gpt2, tokens, edit)


def test_resampling_one_sequence_and_flat_tokens_are_refused(gpt2, tokens):
    with pytest.raises(RefutableError, match="two sequences or more"):
        intervene(gpt2, tokens[:1], Intervention("embed", "resample"))
    with pytest.raises(RefutableError, match=r"expected tokens of shape \(batch, position\)"):
        intervene(gpt2, tokens[0], Intervention("embed"))
