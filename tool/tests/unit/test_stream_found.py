"""What is measured as the residual stream is the residual stream, whatever a block returns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.planted import VOCAB, planted
from transformers import AutoConfig, AutoModelForCausalLM

from refutable.capture.intervene import Intervention, intervene, read
from refutable.capture.measure import measure
from refutable.errors import ModelError, NotAvailableError
from refutable.measurement.instrument import check
from refutable.models.encode import Encoded
from refutable.models.sites import find_sites
from refutable.models.small import build_small, small_config
from refutable.models.structure import find_structure
from refutable.observables.registry import REGISTRY

LENGTHS = (9, 3, 14, 1, 22, 7, 12, 6)
NORMS = [REGISTRY["residual_norm"]]
LOGITS = [REGISTRY["next_token_entropy"]]
SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def encoded(lengths: tuple[int, ...] = LENGTHS) -> Encoded:
    source = np.random.default_rng(4)
    ids = tuple(tuple(int(i) for i in source.integers(3, VOCAB, n)) for n in lengths)
    names = tuple(f"f{i // 2}/{i % 2}" for i in range(len(lengths)))
    return Encoded(ids, names, tuple(name.split("/")[0] for name in names), "no-bos", None)


def of_type(model_type: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    given = {**SMALL, **changes}
    if model_type == "xlnet":
        # It has no limit of positions and its own names for the rest.
        given = {"vocab_size": VOCAB, **changes}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **given))
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point() and parameter.ndim >= 2:
                noise = torch.randn(parameter.shape, generator=source)
                parameter.copy_(noise / parameter.shape[-1] ** 0.5)
    return model.eval().requires_grad_(False)


def failed(model: Any, items: Any = NORMS) -> dict[str, str]:
    result = check(SimpleNamespace(model=model), find_sites(model), encoded(), items)
    return {c.name: c.detail for c in result.checks if not c.passed}


@pytest.mark.parametrize("kind", ["sound", "mapping", "second"])
def test_the_stream_is_found_wherever_a_block_returns_it(kind: str) -> None:
    model = planted(kind)
    measured = measure(model, find_sites(model), encoded(), NORMS)["residual_norm"].values
    wanted = []
    for ids in encoded().ids:
        made: list[float] = []

        def keep(_: Any, __: Any, output: Any, made: list[float] = made) -> None:
            hidden = output["hidden"] if kind == "mapping" else output[1 if kind == "second" else 0]
            made.append(float(hidden[0, -1].double().norm()))

        hooks = [block.register_forward_hook(keep) for block in model.h]
        with torch.no_grad():
            model(input_ids=torch.tensor([ids]))
        for hook in hooks:
            hook.remove()
        wanted.append(made)
    np.testing.assert_allclose(measured, wanted, rtol=1e-5)
    assert failed(model) == {}


@pytest.mark.parametrize("kind", ["sound", "mapping", "second"])
def test_a_replacement_reaches_the_stream_wherever_a_block_keeps_it(kind: str) -> None:
    model = planted(kind)
    tokens = torch.tensor(encoded((6, 6)).ids)
    with torch.no_grad():
        whole = model(input_ids=tokens).logits
    assert not torch.equal(whole[0], whole[1])
    stream = read(model, tokens, ["blocks.2.resid_post"])["blocks.2.resid_post"]
    assert stream.shape[:2] == (2, 6)
    zeroed = intervene(model, tokens, Intervention("blocks.2.resid_post", "zero"))
    assert torch.equal(zeroed[0], zeroed[1])
    # Every sequence gets the other's stream, and so says what the other said.
    swapped = intervene(model, tokens, Intervention("blocks.2.resid_post", stream.flip(0)))
    assert torch.allclose(swapped, whole.flip(0), atol=1e-6)
    middle = intervene(model, tokens, Intervention("blocks.1.resid_pre", "zero"))
    assert torch.equal(middle[0], middle[1])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("rescaled", "0.5 times it: the stream is rescaled between blocks"),
        ("rescaled-last", "3 times it"),
        ("prefixed", "6 x 32 numbers for a prompt of 5 tokens"),
        ("streams", "10 x 32 numbers for a prompt of 5 tokens"),
        ("reused", "one block is run several times"),
        ("two-lists", "2 blocks of the same class run outside the list of 3 (tail.0)"),
    ],
)
def test_what_is_no_stream_is_refused_and_logits_go_on(kind: str, reason: str) -> None:
    model = planted(kind)
    sites = find_sites(model)
    assert reason in sites.reason("blocks.0.resid_post")
    with pytest.raises(NotAvailableError, match="resid_post"):
        measure(model, sites, encoded(), NORMS)
    assert failed(model, LOGITS) == {}
    assert np.isfinite(measure(model, sites, encoded(), LOGITS)["next_token_entropy"]).all()


def test_a_block_that_does_not_run_is_named() -> None:
    with pytest.raises(ModelError, match="block 2 of 3 did not run"):
        find_sites(planted("exits-early"))


@pytest.mark.parametrize("items", [NORMS, LOGITS], ids=["stream", "logits"])
@pytest.mark.parametrize("kind", ["bidirectional", "peeks"])
def test_a_model_that_sees_later_tokens_is_refused_whatever_is_asked(kind: str, items: Any) -> None:
    assert "sees later tokens" in failed(planted(kind), items)["causal"]


@pytest.mark.parametrize("kind", ["prefix", "chunks"])
def test_a_model_that_sees_ahead_within_a_prefix_or_a_chunk_is_refused(kind: str) -> None:
    # Whatever the lengths: a last token may be the first of its chunk.
    for lengths in ((9, 13, 5), (8, 12, 17)):
        model = planted(kind)
        prompts = encoded(lengths)
        result = check(SimpleNamespace(model=model), find_sites(model), prompts, LOGITS)
        details = {c.name: c.detail for c in result.checks if not c.passed}
        assert "sees later tokens" in details["causal"]


def test_a_stream_whose_last_row_is_not_the_last_token_is_refused() -> None:
    reason = find_sites(planted("backwards")).reason("blocks.0.resid_post")
    assert "nothing after the last block reads what it made" in reason


def test_a_model_that_keeps_something_from_prompt_to_prompt_is_refused() -> None:
    assert "after a longer prompt" in failed(planted("remembers"))["no memory of other prompts"]


def layout_of(model: Any, lengths: tuple[int, ...]) -> str:
    return check(SimpleNamespace(model=model), find_sites(model), encoded(lengths), LOGITS).layout


def test_padding_is_checked_where_the_run_pads() -> None:
    # Of the six lengths that differ most no two share a batch; those between do.
    lengths = (1, 3, 6, 10, 20, 21, 34, 60, 19)
    assert layout_of(planted("pads-wrong"), lengths) == "packed"
    both = planted("pads-wrong")
    forward = both.forward

    def without_packing(position_ids: Any = None, **inputs: Any) -> Any:
        return forward(**inputs)

    both.forward = without_packing
    assert layout_of(both, lengths) == "single"


def test_a_switch_at_a_length_is_met_by_the_passes_that_straddle_it() -> None:
    # 60 prompts: only a few passes are looked at, and one of the run mixes 4 and 40 tokens.
    lengths = (*(4 + i % 3 for i in range(57)), 40, 5, 6)
    assert layout_of(planted("sound"), lengths) == "packed"
    assert layout_of(planted("sound", switch=30), lengths) != "packed"


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("bert", {}),
        ("roberta", {}),
        ("xlnet", {"d_model": 32, "n_layer": 4, "n_head": 4, "d_inner": 48}),
        ("llama", {"is_causal": False}),
        ("gemma3_text", {"use_bidirectional_attention": True}),
    ],
)
def test_encoders_and_bidirectional_decoders_are_refused(
    model_type: str, changes: dict[str, Any]
) -> None:
    assert "causal" in failed(of_type(model_type, **changes), LOGITS)


@pytest.mark.parametrize(
    ("model_type", "changes", "reason"),
    [
        ("rwkv", {"attention_hidden_size": 32, "rescale_every": 2}, "rescaled between blocks"),
        ("xlm", {"emb_dim": 32, "n_layers": 4, "n_heads": 4, "causal": True}, "does not get what"),
        ("cpmant", {"dim_head": 8, "dim_ff": 48}, "37 x 32 numbers for a prompt of 5 tokens"),
        (
            "gemma3n_text",
            {
                "num_kv_shared_layers": 2,
                "layer_types": ["sliding_attention", "full_attention"] * 2,
                "sliding_window": 8,
                "vocab_size_per_layer_input": VOCAB,
                "hidden_size_per_layer_input": 8,
                "laurel_rank": 8,
                "activation_sparsity_pattern": [0.0] * 4,
            },
            "several residual streams",
        ),
    ],
)
def test_kinds_without_one_stream_say_so(
    model_type: str, changes: dict[str, Any], reason: str
) -> None:
    assert reason in find_sites(of_type(model_type, **changes)).reason("blocks.1.resid_post")


@pytest.mark.parametrize(
    ("model_type", "changes", "norm", "positions"),
    [
        ("bert", {}, "LayerNorm", "learned"),
        ("roformer", {"embedding_size": 32}, "LayerNorm", "rotary"),
        ("ctrl", {"dff": 48, "n_positions": 64}, "LayerNorm", "sinusoidal"),
        ("cpmant", {"dim_head": 8, "dim_ff": 48}, "RMSNorm", "relative"),
        (
            "granitemoehybrid",
            {"layer_types": ["mamba", "attention"] * 2, "mamba_n_heads": 8, "mamba_d_head": 8},
            "RMSNorm",
            "none",
        ),
        (
            "dbrx",
            {
                "d_model": 32,
                "n_heads": 4,
                "n_layers": 4,
                "max_seq_len": 64,
                "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
                "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 2, "moe_top_k": 1},
            },
            "LayerNorm",
            "rotary",
        ),
    ],
)
def test_norms_and_positions_are_read_where_names_mislead(
    model_type: str, changes: dict[str, Any], norm: str, positions: str
) -> None:
    with torch.device("meta"):
        config = AutoConfig.for_model(model_type, **{**SMALL, **changes})
        empty = AutoModelForCausalLM.from_config(config)
    structure = find_structure(empty)
    assert (structure.norm_kind, structure.positions) == (norm, positions)


@pytest.mark.parametrize("width", [16, 64])
def test_a_picture_encoder_lends_neither_blocks_nor_positions(width: int) -> None:
    from transformers import Gemma3Config

    text = {**SMALL, "sliding_window": 8}
    vision = {
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 280,
        "patch_size": 14,
        "hidden_size": width,
        "intermediate_size": 4 * width,
    }
    marks = {"boi_token_index": 94, "eoi_token_index": 95, "image_token_index": 96}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=16, **marks)
    with torch.device("meta"):
        structure = find_structure(AutoModelForCausalLM.from_config(config))
    assert "language_model" in structure.blocks_path
    assert (structure.positions, structure.position_embedding) == ("rotary", None)


def test_streams_side_by_side_in_one_vector_are_no_stream() -> None:
    model = build_small(small_config("qwen4_exp_text"))
    sites = find_sites(model)
    with pytest.raises(NotAvailableError, match="256 numbers a token, 4 x 64: several residual"):
        sites["blocks.0.resid_post"]
    assert failed(model, LOGITS) == {}
