"""Circuits, folding and logit attribution against transformers' own forward and planted weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from refutable.errors import NotAvailableError
from refutable.studies.no_position.circuits import (
    centre_unembedding,
    centre_writing,
    direct_logit_attribution,
    direct_path,
    fold_norms,
    forward,
    ov_circuit,
    ov_circuit_as_published,
    qk_circuit,
    qk_circuit_as_published,
    read_gpt2,
)

VOCABULARY, WIDTH, LAYERS, HEADS = 23, 12, 3, 2


def _random_gpt2(activation: str = "gelu_new") -> GPT2LMHeadModel:
    """A GPT-2 none of whose tensors is trivial: random norms, biases and positions too."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=16,
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=HEADS,
            activation_function=activation,
            bos_token_id=0,
            eos_token_id=0,
            tie_word_embeddings=False,
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.2, 0.5)
    return model


@pytest.fixture
def model() -> GPT2LMHeadModel:
    return _random_gpt2()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (4, 9), generator=torch.Generator().manual_seed(1))


def _log_probabilities(weights, tokens):
    return forward(weights, tokens).logits.log_softmax(dim=-1)


@pytest.mark.parametrize("activation", ["gelu_new", "relu"])
def test_forward_from_weights_is_that_of_transformers(activation, tokens):
    model = _random_gpt2(activation)
    with torch.no_grad():
        of_library = model(tokens, output_hidden_states=True)
    written_out = forward(read_gpt2(model), tokens)
    torch.testing.assert_close(written_out.logits, of_library.logits, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(
        written_out.sites["blocks.1.resid_post"], of_library.hidden_states[2], atol=1e-4, rtol=1e-5
    )


def test_heads_are_split_as_transformers_splits_them(model, tokens):
    from transformers import GPT2LMHeadModel as Again

    eager = Again(model.config)
    eager.set_attn_implementation("eager")
    eager.load_state_dict(model.state_dict())
    with torch.no_grad():
        attentions = eager.eval()(tokens, output_attentions=True).attentions
    sites = forward(read_gpt2(model), tokens).sites
    for layer, expected in enumerate(attentions):
        torch.testing.assert_close(
            sites[f"blocks.{layer}.attn.pattern"], expected, atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize(
    "rewrite",
    [
        fold_norms,
        centre_writing,
        centre_unembedding,
        lambda w: centre_unembedding(centre_writing(fold_norms(w))),
    ],
    ids=["fold", "centre-writing", "centre-unembedding", "all"],
)
def test_rewriting_leaves_log_probabilities(rewrite, model, tokens):
    weights = read_gpt2(model.double())
    before = _log_probabilities(weights, tokens)
    after = _log_probabilities(rewrite(weights), tokens)
    assert float((before - after).abs().max()) < 1e-10


def test_rewriting_keeps_log_probabilities_to_1e_5_in_float32(tokens):
    torch.manual_seed(2)
    model = GPT2LMHeadModel(_random_gpt2().config).eval()
    weights = read_gpt2(model)
    rewritten = centre_unembedding(centre_writing(fold_norms(weights)))
    difference = _log_probabilities(weights, tokens) - _log_probabilities(rewritten, tokens)
    assert float(difference.abs().max()) < 1e-5


def test_folded_norms_are_plain_and_folded_logits_centred(model, tokens):
    weights = centre_unembedding(centre_writing(fold_norms(read_gpt2(model.double()))))
    for norm in [weights.final_norm, *(n for b in weights.blocks for n in (b.norm1, b.norm2))]:
        assert torch.equal(norm.gain, torch.ones_like(norm.gain))
        assert torch.equal(norm.shift, torch.zeros_like(norm.shift))
    activations = forward(weights, tokens)
    assert float(activations.logits.mean(dim=-1).abs().max()) < 1e-10
    for layer in range(LAYERS):
        stream = activations.sites[f"blocks.{layer}.resid_post"]
        assert float(stream.mean(dim=-1).abs().max()) < 1e-10


def test_folding_without_the_shift_would_be_noticed(model, tokens):
    weights = read_gpt2(model.double())
    folded = fold_norms(weights)
    forgotten = replace(folded, b_u=weights.b_u)
    difference = _log_probabilities(weights, tokens) - _log_probabilities(forgotten, tokens)
    assert float(difference.abs().max()) > 1e-2


def test_logit_attribution_sums_to_the_logit(model, tokens):
    weights = read_gpt2(model)
    activations = forward(weights, tokens)
    attribution = direct_logit_attribution(weights, activations, tokens)
    assert attribution.parts == (
        *("embed", "attn 0", "mlp 0", "attn 1", "mlp 1", "attn 2", "mlp 2"),
        "bias",
    )
    with torch.no_grad():
        logits = model(tokens).logits
    centred = logits - logits.mean(dim=-1, keepdim=True)
    expected = centred.gather(-1, tokens[..., None])[..., 0]
    torch.testing.assert_close(attribution.values.sum(dim=0), expected, atol=1e-4, rtol=0)


def test_logit_attribution_is_the_same_for_the_folded_decoder(model, tokens):
    weights = read_gpt2(model.double())
    folded = centre_unembedding(fold_norms(weights))
    one = direct_logit_attribution(weights, forward(weights, tokens), tokens)
    other = direct_logit_attribution(folded, forward(folded, tokens), tokens)
    torch.testing.assert_close(one.values, other.values)


def test_logit_attribution_finds_the_planted_part(model, tokens):
    """Only MLP 1 writes along the token's unembedding: it must get what its removal takes away."""
    weights = read_gpt2(model.double())
    target = torch.full_like(tokens, 7)
    activations = forward(weights, tokens)
    attribution = direct_logit_attribution(weights, activations, target)
    removed = activations.sites["blocks.2.resid_post"] - activations.sites["blocks.1.mlp_out"]
    centred = removed - removed.mean(dim=-1, keepdim=True)
    without = centred / activations.sites["ln_final.scale"] * weights.final_norm.gain
    logits = (without + weights.final_norm.shift) @ weights.w_u
    expected = (activations.logits - activations.logits.mean(-1, keepdim=True))[..., 7] - (
        logits - logits.mean(-1, keepdim=True)
    )[..., 7]
    torch.testing.assert_close(attribution.values[attribution.parts.index("mlp 1")], expected)


def _without_positions(model):
    weights = read_gpt2(model.double())
    return replace(weights, w_pos=torch.zeros_like(weights.w_pos))


def test_qk_circuit_of_layer_0_gives_the_models_scores(model, tokens):
    weights = _without_positions(model)
    circuit = qk_circuit(weights, 0)
    scores = forward(weights, tokens).sites["blocks.0.attn.scores"]
    for batch, head, query, key in [(0, 0, 5, 2), (3, 1, 8, 8), (2, 1, 4, 0)]:
        expected = circuit[head, tokens[batch, query], tokens[batch, key]]
        assert float(scores[batch, head, query, key]) == pytest.approx(float(expected), abs=1e-10)


def test_ov_circuit_of_layer_0_gives_the_attention_output(model, tokens):
    weights = _without_positions(model)
    written = ov_circuit(weights, 0)
    sites = forward(weights, tokens).sites
    moved = torch.einsum("bhqk,hbkd->bqd", sites["blocks.0.attn.pattern"], written[:, tokens])
    torch.testing.assert_close(moved + weights.blocks[0].b_o, sites["blocks.0.attn_out"])
    through = ov_circuit(weights, 0, reader=weights.blocks[0].w_in)
    torch.testing.assert_close(through, written @ weights.blocks[0].w_in)


def test_direct_path_is_exact_for_sequences_of_one_token(model):
    weights = _without_positions(model)
    every_token = torch.arange(VOCABULARY)[:, None]
    sites = forward(weights, every_token).sites
    for layer in range(LAYERS):
        exact = direct_path(weights, layer, own_weight=1.0)
        torch.testing.assert_close(exact, sites[f"blocks.{layer}.resid_pre"][:, 0])
    stream = direct_path(weights, 2, own_weight=1.0)
    scores = qk_circuit(weights, 2, stream).diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(scores.T, sites["blocks.2.attn.scores"][:, :, 0, 0])


def test_published_circuits_on_planted_weights(model):
    """One-hot weights: token 4 attends to token 9 in head 1, and token 9 writes to neuron 3."""
    weights = read_gpt2(model.double())
    zero = {
        name: torch.zeros_like(getattr(weights.blocks[1], name))
        for name in ("w_q", "w_k", "w_v", "w_o")
    }
    zero["w_q"][1, 0, 0] = 2.0
    zero["w_k"][1, 1, 0] = 3.0
    zero["w_v"][1, 1, 2] = 1.0
    zero["w_o"][1, 2, 5] = 4.0
    embedding = torch.zeros_like(weights.w_e)
    embedding[4, 0] = embedding[9, 1] = 1.0
    w_in = torch.zeros_like(weights.blocks[0].w_in)
    w_in[5, 3] = 0.5
    planted = replace(
        weights,
        w_e=embedding,
        blocks=(
            replace(weights.blocks[0], w_in=w_in),
            replace(weights.blocks[1], **zero),
            *weights.blocks[2:],
        ),
    )
    qk = qk_circuit_as_published(planted, 1)
    assert float(qk[1, 4, 9]) == 6.0
    assert int(qk.count_nonzero()) == 1
    ov = ov_circuit_as_published(planted, 1)
    assert float(ov[1, 9, 3]) == 2.0
    assert int(ov.count_nonzero()) == 1
    circuit = ov_circuit_as_published(planted, 1, reading_layer=1)
    assert torch.equal(circuit[1, 9], 4.0 * weights.blocks[1].w_in[5])


def test_published_layer_1_circuit_is_not_the_models(model, tokens):
    weights = _without_positions(model)
    one_token = tokens[:, :1]
    scores = forward(weights, one_token).sites["blocks.1.attn.scores"][:, :, 0, 0]
    published = qk_circuit_as_published(weights, 1).diagonal(dim1=1, dim2=2).T[one_token[:, 0]]
    assert float((scores - published).abs().max()) > 0.1


def test_other_layouts_are_refused_with_a_reason():
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    with pytest.raises(NotAvailableError, match="LlamaForCausalLM has none called"):
        read_gpt2(LlamaForCausalLM(config))
