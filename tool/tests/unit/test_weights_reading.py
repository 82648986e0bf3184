"""Reading weights: files and types, names, orientation, fused projections, shared key heads."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    Phi3Config,
)

from refutable.errors import ModelError, NotAvailableError
from refutable.models.weights.files import SafetensorsFiles, chunks
from refutable.models.weights.reading import WeightReader
from refutable.models.weights.roles import layout_of, meta_model
from refutable.observables.weights.counts import count, count_stored

SMALL = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 50}
IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
CONFIGS = {
    "gpt2": GPT2Config(n_embd=32, n_head=4, n_layer=2, vocab_size=50, n_positions=16, **IDS),
    "neox": GPTNeoXConfig(**SMALL, intermediate_size=48, **IDS),
    "llama-gqa": LlamaConfig(**SMALL, intermediate_size=48, num_key_value_heads=2, **IDS),
    "llama-tied": LlamaConfig(**SMALL, intermediate_size=48, tie_word_embeddings=True, **IDS),
    "phi3-gqa": Phi3Config(**SMALL, intermediate_size=48, num_key_value_heads=2, **IDS),
    "opt": OPTConfig(
        **SMALL, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=16, **IDS
    ),
    "bloom": BloomConfig(hidden_size=32, n_head=4, n_layer=2, vocab_size=50, **IDS),
    "falcon-mqa": FalconConfig(**SMALL, **IDS),
    "falcon-gqa": FalconConfig(**SMALL, num_kv_heads=2, new_decoder_architecture=True, **IDS),
}
THROUGH_INTERFACE = ("gpt2", "neox", "llama-gqa", "llama-tied", "phi3-gqa", "opt")


def _model(name):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
        for path, parameter in model.named_parameters():
            if path.endswith(".bias"):
                parameter.zero_()
    return model.requires_grad_(False)


def _reader(model):
    return WeightReader.from_state_dict(model.state_dict(), model.config)


def _projection(model, reader, layer, matrix):
    return model.get_submodule(reader.layout.matrices[layer][matrix].parameter.rpartition(".")[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_values_and_outputs_of_a_single_token(name):
    # On one token attention is 1: what W_O gives is the sum over heads of x W_V W_O.
    model = _model(name)
    reader = _reader(model)
    seen = {}
    for key, matrix in (("in", "v"), ("out", "o")):
        module = _projection(model, reader, 1, matrix)
        module.register_forward_hook(
            lambda _, args, out, key=key: seen.__setitem__(key, args[0] if key == "in" else out)
        )
    model(torch.tensor([[7]]))
    layout, size = reader.layout, reader.layout.head_dim
    x = seen["in"].reshape(-1).numpy()
    values, outputs = reader.matrix(1, "v"), reader.matrix(1, "o")
    expected = np.zeros(32)
    for head in range(layout.heads):
        group = head // (layout.heads // layout.key_heads)
        v = values[:, group * size : (group + 1) * size]
        expected += x @ v @ outputs[head * size : (head + 1) * size]
    np.testing.assert_allclose(seen["out"].reshape(-1).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", THROUGH_INTERFACE)
def test_queries_and_keys_are_what_attention_gets(name):
    # At position 0 rotary embeddings rotate by nothing, so q and k arrive as x W_Q and x W_K.
    seen = []

    def keep(module, query, key, value, mask, **rest):
        seen.append((query, key))
        return torch.zeros_like(query).transpose(1, 2).contiguous(), None

    AttentionInterface.register("test-keep", keep)
    model = _model(name)
    model.set_attn_implementation("test-keep")
    reader = _reader(model)
    inputs = []
    _projection(model, reader, 1, "k").register_forward_hook(
        lambda _, args, out: inputs.append(args[0])
    )
    model(torch.tensor([[3, 5]]))
    x = inputs[0].reshape(2, -1)[0].numpy()
    for matrix, arrived in zip("qk", seen[1], strict=True):
        expected = (x @ reader.matrix(1, matrix)).reshape(-1, reader.layout.head_dim)
        measured = arrived[0, :, 0].numpy()
        heads = reader.layout.heads if matrix == "q" else reader.layout.key_heads
        measured = measured[:: len(measured) // heads]  # shared keys may arrive repeated
        scale = 1.0 if name != "opt" or matrix == "k" else reader.layout.head_dim**-0.5
        np.testing.assert_allclose(measured, expected * scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_feed_forward_is_input_first(name):
    model = _model(name)
    reader = _reader(model)
    for matrix in ("in", "gate", "out"):
        if matrix not in reader.matrices:
            continue
        module, seen = _projection(model, reader, 0, matrix), []
        # Cloned: some blocks add the other branch to the output in place.
        handle = module.register_forward_hook(
            lambda _, args, out, seen=seen: seen.append((args[0].clone(), out.clone()))
        )
        model(torch.tensor([[3]]))
        handle.remove()
        (given, out), place = seen[0], reader.layout.matrices[0][matrix]
        expected = out.reshape(-1).numpy()
        for low, high in place.parts:
            expected = expected[low:high]
        measured = given.reshape(-1).numpy() @ reader.matrix(0, matrix)
        np.testing.assert_allclose(measured, expected, rtol=1e-4, atol=1e-5)


def test_phi3_gate_is_the_half_that_is_activated():
    model = _model("phi3-gqa")
    reader = _reader(model)
    x = torch.randn(32)
    measured = model.model.layers[0].mlp(x[None, None]).reshape(-1).numpy()
    gate = torch.nn.functional.silu(x @ torch.from_numpy(reader.matrix(0, "gate").copy())).numpy()
    by_hand = (gate * (x.numpy() @ reader.matrix(0, "in"))) @ reader.matrix(0, "out")
    np.testing.assert_allclose(measured, by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "keys"), [("gpt2", 4), ("llama-gqa", 2), ("falcon-mqa", 1)])
def test_key_heads_come_from_the_config(name, keys):
    layout = layout_of(meta_model(CONFIGS[name]))
    assert (layout.heads, layout.key_heads, layout.head_dim) == (4, keys, 8)


def test_every_parameter_has_a_category():
    for config in CONFIGS.values():
        layout = layout_of(meta_model(config))
        assert {p.category for p in layout.parameters if p.layer is not None} == {
            "attention",
            "mlp",
            "norm",
        }
        assert not [p.name for p in layout.parameters if p.category == "other"]
        assert sum(p.size for p in layout.parameters) == meta_model(config).num_parameters()


def test_gpt2_is_counted_from_its_config_alone():
    counts = count(layout_of(meta_model(GPT2Config())))
    assert counts.unique == 124_439_808
    assert counts.named == 163_037_184
    assert counts.tied == (("transformer.wte.weight", "lm_head.weight"),)
    assert counts.by_category == {
        "embedding": 50257 * 768,
        "position": 1024 * 768,
        "attention": 12 * (768 * 2304 + 2304 + 768 * 768 + 768),
        "mlp": 12 * (2 * 768 * 3072 + 3072 + 768),
        "norm": 25 * 2 * 768,
        "unembedding": 0,
        "other": 0,
    }
    assert counts.by_block[3]["norm"] == 4 * 768


def _save(folder, state, config, *, name="model.safetensors"):
    folder.mkdir(exist_ok=True)
    config.architectures = ["x"]
    (folder / "config.json").write_text(config.to_json_string())
    save_file({k: v.contiguous() for k, v in state.items()}, folder / name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_each_type_is_read_as_torch_reads_it(tmp_path, dtype):
    model = _model("gpt2").to(dtype)
    state = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
    _save(tmp_path, state, CONFIGS["gpt2"])
    reader = WeightReader.from_folder(tmp_path)
    for name, tensor in state.items():
        np.testing.assert_array_equal(reader.tensor(name), tensor.float().numpy())
    assert count_stored(reader).bytes == sum(t.numel() * t.element_size() for t in state.values())


def test_names_without_the_prefix_of_the_base_model(tmp_path):
    # The hub's gpt2 was saved from the base model, with the mask buffers of old versions.
    model = _model("gpt2")
    state = {
        k.removeprefix("transformer."): v
        for k, v in model.state_dict().items()
        if k != "lm_head.weight"
    }
    state["h.0.attn.bias"] = torch.ones(1, 1, 16, 16)
    _save(tmp_path, state, CONFIGS["gpt2"])
    reader = WeightReader.from_folder(tmp_path)
    expected = model.transformer.h[1].attn.c_attn.weight.numpy()
    np.testing.assert_array_equal(reader.attention_input(1), expected)
    assert count_stored(reader).stored == count(reader.layout).unique


def test_shards_are_one_checkpoint(tmp_path):
    model = _model("llama-gqa")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    reader = WeightReader.from_folder(tmp_path)
    matrix = reader.matrix(1, "q")
    np.testing.assert_array_equal(matrix, model.model.layers[1].self_attn.q_proj.weight.numpy().T)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    (tmp_path / sorted(set(index["weight_map"].values()))[0]).unlink()
    with pytest.raises(ModelError, match=r"no file .*fetch the model again"):
        WeightReader.from_folder(tmp_path)


def test_a_tied_pair_stored_twice_is_named(tmp_path):
    model = _model("llama-tied")
    state = {k: v.clone() for k, v in model.state_dict().items()}
    _save(tmp_path, state, CONFIGS["llama-tied"])
    reader = WeightReader.from_folder(tmp_path)
    counts, stored = count(reader.layout), count_stored(reader)
    pair = ("model.embed_tokens.weight", "lm_head.weight")
    assert counts.tied == (pair,)
    assert stored.twice == (pair,)
    assert stored.unequal == ()
    assert stored.stored == counts.named == counts.unique + 50 * 32
    state["lm_head.weight"][3, 4] += 1
    _save(tmp_path, state, CONFIGS["llama-tied"])
    assert count_stored(WeightReader.from_folder(tmp_path)).unequal == (pair,)


def test_one_tensor_is_in_memory_at_a_time(tmp_path):
    state = {f"t{i}": torch.zeros(1 << 20, dtype=torch.bfloat16) for i in range(8)}
    save_file(state, tmp_path / "model.safetensors")
    tensors = SafetensorsFiles((tmp_path / "model.safetensors",))
    tracemalloc.start()
    for name in state:
        assert sum(piece.size for piece in chunks(tensors, name, 1 << 18)) == 1 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (1 << 18) * 4 * 3  # a piece as float32, and the 16-bit piece it came from


def test_what_cannot_be_read_is_said_in_one_line(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json in"):
        WeightReader.from_folder(tmp_path)
    model = _model("gpt2")
    (tmp_path / "config.json").write_text(model.config.to_json_string())
    with pytest.raises(ModelError, match="no safetensors file in"):
        WeightReader.from_folder(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"version https://git-lfs")
    with pytest.raises(ModelError, match="is no readable safetensors file"):
        WeightReader.from_folder(tmp_path)
    state = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
    _save(tmp_path, state, CONFIGS["gpt2"])
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated or damaged"):
        WeightReader.from_folder(tmp_path)
    state["transformer.wpe.weight"] = torch.zeros(16, 32, dtype=torch.int8)
    _save(tmp_path, state, CONFIGS["gpt2"])
    with pytest.raises(ModelError, match="has type I8"):
        WeightReader.from_folder(tmp_path).tensor("transformer.wpe.weight")
    with pytest.raises(ModelError, match=r"has no tensor transformer\.absent"):
        WeightReader.from_folder(tmp_path).tensor("transformer.absent")


def test_position_tables_are_there_or_the_reason_is():
    assert _reader(_model("gpt2")).position_table().shape == (16, 32)
    opt = _model("opt")
    table = opt.model.decoder.embed_positions.weight.numpy()
    np.testing.assert_array_equal(_reader(opt).position_table(), table[2:])
    with pytest.raises(NotAvailableError, match="positions are rotary: there is no table"):
        _reader(_model("llama-gqa")).position_table()
    empty = _model("gpt2")
    empty.transformer.wpe.weight.zero_()
    with pytest.raises(NotAvailableError, match="is zero"):
        _reader(empty).position_table()


def test_fresh_copies_follow_the_class_rule():
    config = GPT2Config(n_embd=96, n_head=4, n_layer=3, vocab_size=500, n_positions=64, **IDS)
    trained = WeightReader.from_state_dict({}, config)
    copy = trained.untrained(3)
    assert copy.matrix(1, "in").std() == pytest.approx(0.02, rel=0.03)
    assert copy.matrix(1, "out").std() == pytest.approx(0.02 / np.sqrt(6), rel=0.03)
    assert copy.position_table().std() == pytest.approx(0.02, rel=0.03)
    assert (copy.tensor("transformer.h.0.ln_1.weight") == 1).all()
    assert not copy.tensor("transformer.h.0.attn.c_attn.bias").any()
    again, other = trained.untrained(3), trained.untrained(4)
    np.testing.assert_array_equal(again.matrix(1, "q"), copy.matrix(1, "q"))
    assert np.abs(other.matrix(1, "q") - copy.matrix(1, "q")).max() > 0.01
    assert np.abs(copy.matrix(0, "q") - copy.matrix(1, "q")).max() > 0.01
    assert set(copy.stored) == {p.name for p in copy.layout.parameters}
