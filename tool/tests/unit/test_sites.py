"""Sites of thirteen architectures, found without their names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.architectures import CONFIGS, VOCAB, build
from torch import nn

from refutable.errors import ModelError, NotAvailableError
from refutable.models.norms import NormProbe
from refutable.models.sites import Sites, find_sites
from refutable.models.structure import find_structure
from refutable.models.trace import first_tensor

GEMMA2 = {**CONFIGS["gemma3_text"]}
OPT_350M = {**CONFIGS["opt"], "word_embed_proj_dim": 16, "do_layer_norm_before": False}
ALIBI = {**CONFIGS["falcon"], "alibi": True}
SEQUENTIAL = {**CONFIGS["falcon"], "parallel_attn": False}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, config) for name, config in CONFIGS.items()},
    "gemma2": ("gemma2", GEMMA2),
    "opt-post-norm": ("opt", OPT_350M),
    "falcon-alibi": ("falcon", ALIBI),
    "falcon-sequential": ("falcon", SEQUENTIAL),
}
RMS = {"llama", "mistral", "gemma3_text", "gemma2", "qwen3"}
PARALLEL = {"gpt_neox", "phi", "gptj", "falcon", "falcon-alibi"}
SANDWICH = {"gemma3_text", "gemma2"}
OWN_ATTENTION = {"gptj", "bloom", "falcon", "falcon-alibi", "falcon-sequential"}
LEARNED = {"gpt2", "opt", "opt-post-norm"}


def make(case: str) -> Any:
    model_type, config = CASES[case]
    model = build(model_type, config=config)
    # Gains, biases and dense layers apart from their initial values, so that no two places of a
    # block hold equal numbers by accident.
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=source)
    return model


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def record(model: Any, sites: Sites, names: list[str], ids: torch.Tensor) -> dict[str, Any]:
    """Read sites by plain hooks in one forward pass."""
    seen: dict[str, torch.Tensor] = {}
    handles = []
    for name in names:
        site = sites[name]

        def before(module: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
            given = first_tensor(args)
            value = first_tensor(kwargs) if given is None else given
            assert value is not None
            seen[name] = value.clone()

        def after(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
            value = first_tensor(output)
            assert value is not None
            seen[name] = value.clone()

        if site.before:
            handles.append(site.module.register_forward_pre_hook(before, with_kwargs=True))
        else:
            handles.append(site.module.register_forward_hook(after))
    with torch.no_grad():
        model(input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return {name: value.reshape(1, ids.shape[1], -1) for name, value in seen.items()}


IDS = torch.tensor([[5, 71, 8, 33, 12, 90, 41]]) % VOCAB


def test_norms_positions_and_attention_are_told_apart(case: str) -> None:
    structure = find_structure(make(case))
    assert structure.norm_kind == ("RMSNorm" if case in RMS else "LayerNorm")
    alibi = case in {"bloom", "falcon-alibi"}
    expected = "learned" if case in LEARNED else "alibi" if alibi else "rotary"
    assert structure.positions == expected
    assert structure.attention_interface is (case not in OWN_ATTENTION)
    assert len(structure.blocks) == 3
    assert all(module is not None for module in structure.attentions)
    assert structure.heads == 4
    assert (structure.final_norm is None) is (case == "opt-post-norm")


def test_meta_device_gives_the_same_structure(case: str) -> None:
    from transformers import AutoModelForCausalLM

    real = make(case)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(real.config)
    one, other = find_structure(real), find_structure(empty)
    assert [(n.path, n.kind, n.stream, n.unit_gain) for n in one.norms] == [
        (n.path, n.kind, n.stream, n.unit_gain) for n in other.norms
    ]
    assert (one.blocks_path, one.attention_paths) == (other.blocks_path, other.attention_paths)
    assert (one.norm_kind, one.positions) == (other.norm_kind, other.positions)


def test_residual_stream_is_that_of_hidden_states(case: str) -> None:
    model = make(case)
    sites = find_sites(model)
    names = ["blocks.0.resid_pre", *(f"blocks.{layer}.resid_post" for layer in range(3))]
    seen = record(model, sites, names, IDS)
    with torch.no_grad():
        states = model(input_ids=IDS, output_hidden_states=True, use_cache=False).hidden_states
    for name, state in zip(names[:-1], states, strict=False):
        assert torch.equal(seen[name], state), name
    # transformers gives the last state after the final norm, the site is before it.
    last = seen[names[-1]]
    if sites.final_norm is not None:
        final = sites.final_norm(last)
        if states[-1].shape == final.shape:
            assert torch.allclose(final, states[-1], atol=1e-5)
            assert not torch.allclose(last, states[-1], atol=1e-2)


def test_sublayers_add_up_to_the_stream(case: str) -> None:
    model = make(case)
    sites = find_sites(model)
    if case == "opt-post-norm":
        with pytest.raises(NotAvailableError, match="normalizes the stream itself"):
            sites["blocks.1.attn_out"]
        return
    parts = ("resid_pre", "attn_out", "mlp_out", "resid_post")
    for layer in range(3):
        seen = record(model, sites, [f"blocks.{layer}.{part}" for part in parts], IDS)
        pre, attention, feed_forward, post = (seen[f"blocks.{layer}.{part}"] for part in parts)
        assert torch.allclose(pre + attention + feed_forward, post, atol=1e-4)
        assert attention.norm() > 1e-2
        assert feed_forward.norm() > 1e-2


def test_middle_of_the_block(case: str) -> None:
    model = make(case)
    sites = find_sites(model)
    if case in PARALLEL:
        with pytest.raises(NotAvailableError, match="a parallel block"):
            sites["blocks.0.resid_mid"]
        return
    assert sites["blocks.1.resid_mid"].writable is (case == "opt-post-norm")
    if case != "opt-post-norm":
        names = [f"blocks.1.{part}" for part in ("resid_pre", "attn_out", "resid_mid")]
        pre, attention, middle = record(model, sites, names, IDS).values()
        assert torch.allclose(pre + attention, middle, atol=1e-4)


def test_places_of_norms(case: str) -> None:
    sites = find_sites(make(case))
    path = sites.structure.blocks_path
    kinds = [place for name, place in sites.norm_kinds.items() if name.startswith(f"{path}.1.")]
    two_pre = {"gpt_neox", "falcon-sequential", "gpt2", "llama", "mistral", "qwen3", "opt", "bloom"}
    if case in SANDWICH:
        assert kinds == ["pre", "post", "pre", "post"]
    elif case == "opt-post-norm":
        assert kinds == ["stream", "stream"]
    else:
        assert kinds == (["pre", "pre"] if case in two_pre else ["pre"])
    assert ("embedding" in sites.norm_kinds.values()) is (case == "bloom")
    assert ("blocks.1.ln2_post" in sites) is (case in SANDWICH)


def test_heads_and_neurons_feed_their_projections(case: str) -> None:
    model = make(case)
    sites = find_sites(model)
    z = sites["blocks.2.attn.z"]
    mixing = z.module
    assert z.before
    names = ["blocks.2.attn.z", "blocks.2.mlp.pre", "blocks.2.mlp.post"]
    if case == "opt-post-norm":
        names = names[:1]
    seen = record(model, sites, names, IDS)
    assert seen["blocks.2.attn.z"].shape == (1, IDS.shape[1], 32)
    mixed = mixing(seen["blocks.2.attn.z"])
    if case == "opt-post-norm":
        streams = ["blocks.2.resid_pre", "blocks.2.resid_mid"]
        before, middle = record(model, sites, streams, IDS).values()
        # Its norm stands in the stream itself: the middle is taken behind it.
        norm = model.model.decoder.layers[2].self_attn_layer_norm
        assert torch.allclose(norm(before + mixed), middle, atol=1e-5)
        return
    after = [lambda x: x, lambda x: x]
    if case in SANDWICH:
        after = [sites[f"blocks.2.{name}"].module for name in ("ln1_post", "ln2_post")]
    out = record(model, sites, ["blocks.2.attn_out", "blocks.2.mlp_out"], IDS)
    assert torch.allclose(after[0](mixed), out["blocks.2.attn_out"], atol=1e-5)
    down = sites["blocks.2.mlp.post"].module
    moved = after[1](down(seen["blocks.2.mlp.post"]))
    assert torch.allclose(moved, out["blocks.2.mlp_out"], atol=1e-5)


def test_writing_to_a_site_changes_what_follows() -> None:
    model = make("gpt2")
    sites = find_sites(model)
    before = record(model, sites, ["blocks.1.resid_post", "unembed"], IDS)
    hook = sites["blocks.1.mlp_out"].module.register_forward_hook(lambda m, a, out: out * 0)
    after = record(model, sites, ["blocks.1.resid_post", "unembed"], IDS)
    hook.remove()
    added = record(model, sites, ["blocks.1.mlp_out"], IDS)["blocks.1.mlp_out"]
    moved = before["blocks.1.resid_post"] - after["blocks.1.resid_post"]
    assert torch.allclose(moved, added, atol=1e-5)
    assert not torch.allclose(before["unembed"], after["unembed"], atol=1e-3)


def test_no_hook_stays_behind(case: str) -> None:
    model = make(case)
    find_sites(model)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_reasons_for_missing_sites() -> None:
    learned, rotary, gptj = (find_sites(make(case)) for case in ("gpt2", "llama", "gptj"))
    assert "blocks.0.attn.q" in learned
    assert "nothing is rotated" in learned.reason("blocks.0.attn.rot_q")
    assert "use rot_q" in rotary.reason("blocks.0.attn.q")
    assert "does not go through transformers' attention interface" in gptj.reason("blocks.0.attn.v")
    assert gptj["blocks.0.attn.pattern"].writable is False
    assert "not a learned table" in rotary.reason("pos_embed")
    assert rotary.reason("embed") == ""
    with pytest.raises(NotAvailableError, match=r"did you mean blocks\.0\.resid_post"):
        rotary["blocks.0.resid_pots"]


def test_norms_left_out_leave_the_rest_readable() -> None:
    model = build("gpt2")
    for block in model.transformer.h:
        block.ln_1 = block.ln_2 = nn.Identity()
    # The final norm is left: it is none of the blocks'.
    assert find_structure(model).norm_kind == "none"
    model.transformer.ln_f = nn.Identity()
    sites = find_sites(model)
    assert sites.structure.norm_kind == "none"
    names = [f"blocks.1.{part}" for part in ("resid_pre", "attn_out", "resid_mid")]
    pre, attention, middle = record(model, sites, names, IDS).values()
    assert torch.allclose(pre + attention, middle, atol=1e-4)
    with pytest.raises(NotAvailableError, match="the block has no such norm"):
        sites["blocks.1.ln2"]


def test_norms_of_two_kinds_are_mixed() -> None:
    model = build("gpt2")
    model.transformer.h[1].ln_2 = nn.RMSNorm(32, eps=1e-5)
    assert find_structure(model).norm_kind == "mixed"


def test_position_table_of_zeros_says_nothing() -> None:
    model = build("gpt2")
    with torch.no_grad():
        model.transformer.wpe.weight.zero_()
    assert find_structure(model).positions == "none"


def test_block_that_drops_the_stream_before_it_is_said() -> None:
    model = build("llama")
    hook = model.model.layers[1].register_forward_pre_hook(
        lambda module, args: (args[0] * 2.0, *args[1:]), prepend=True
    )
    sites = find_sites(model)
    hook.remove()
    assert "does not get what block 0 made" in sites.reason("blocks.1.resid_pre")


def test_model_without_a_list_of_blocks_is_refused() -> None:
    model = build("gpt2")
    model.config.num_hidden_layers = 5
    with pytest.raises(ModelError, match="no list of 5 blocks among the modules"):
        find_sites(model)


class _OnePlus(nn.Module):
    """RMS normalization whose gain is stored less one."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + self.scale)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.LayerNorm(16), ("LayerNorm", 1.0)),
        (nn.LayerNorm(16, elementwise_affine=False), ("LayerNorm", None)),
        (nn.RMSNorm(16, eps=1e-6), ("RMSNorm", 1.0)),
        (_OnePlus(16), ("RMSNorm", 0.0)),
        (nn.GELU(), None),
        (nn.Tanh(), None),
        (nn.Softmax(dim=-1), None),
        (nn.Identity(), None),
        (nn.PReLU(16), None),
        (nn.Linear(16, 16), None),
    ],
)
def test_norms_are_told_by_what_they_do(
    module: nn.Module, expected: tuple[str, float | None] | None
) -> None:
    behaviour = NormProbe(16).behaviour(module)
    assert (None if behaviour is None else (behaviour.kind, behaviour.unit_gain)) == expected
