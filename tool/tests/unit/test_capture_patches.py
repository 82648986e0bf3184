"""Altering a site during a pass does what the same surgery by hand does, in every layout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import VOCAB, build

from refutable.capture.attention import Where
from refutable.capture.measure import measure
from refutable.errors import NotAvailableError
from refutable.models.encode import Encoded
from refutable.models.sites import find_sites
from refutable.observables.registry import REGISTRY

LENGTHS = (9, 3, 14, 1, 22)
ITEMS = [REGISTRY[n] for n in ("residual_norm", "next_token_entropy")]
WITH_ATTENTION = [*ITEMS, REGISTRY["attention_first"], REGISTRY["attention_previous"]]


def encoded() -> Encoded:
    source = np.random.default_rng(4)
    ids = tuple(tuple(int(i) for i in source.integers(3, VOCAB, n)) for n in LENGTHS)
    names = tuple(f"f/{i}" for i in range(len(LENGTHS)))
    return Encoded(ids, names, ("f",) * len(LENGTHS), "no-bos", None)


def run(model: Any, patches: Any, items: Any = ITEMS, layout: str = "packed") -> Any:
    return measure(model, find_sites(model), encoded(), items, layout=layout, patches=patches)


LAYOUTS = pytest.mark.parametrize("layout", ["packed", "padded", "single"])


@LAYOUTS
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3_text"])
def test_patches_that_change_nothing_change_nothing(name: str, layout: str) -> None:
    model = build(name)
    rotary = "" if name == "gpt2" else "rot_"
    sites = [f"blocks.1.attn.{s}" for s in (f"{rotary}q", f"{rotary}k", "v", "scores", "pattern")]
    sites += ["blocks.1.attn.z", "blocks.0.resid_pre", "blocks.2.resid_post", "blocks.1.mlp_out"]
    plain = run(model, {}, WITH_ATTENTION, layout)
    same = {s: lambda value, where: value.clone() for s in sites}
    patched = run(model, same, WITH_ATTENTION, layout)
    for key, array in plain.items():
        np.testing.assert_allclose(patched[key].values, array.values, rtol=1e-4, atol=1e-6)


@LAYOUTS
def test_a_zeroed_head_equals_zeroed_rows_of_the_output_projection(layout: str) -> None:
    model = build("gpt2")

    def zero(value: torch.Tensor, where: Where) -> torch.Tensor:
        value = value.clone()
        value[:, 8:16] = 0  # head 1 of 4, d_head 8
        return value

    patched = run(model, {"blocks.1.attn.z": zero}, layout=layout)
    with torch.no_grad():
        model.transformer.h[1].attn.c_proj.weight[8:16] = 0
    by_hand = run(model, {}, layout=layout)
    for key, array in by_hand.items():
        np.testing.assert_allclose(patched[key].values, array.values, rtol=1e-4)


@LAYOUTS
@pytest.mark.parametrize("site", ["pattern", "scores"])
def test_a_replaced_pattern_is_what_the_heads_use(layout: str, site: str) -> None:
    """All heads of block 0 attend to the first token alone, so each gets its value there."""
    model = build("llama")

    def first_only(value: torch.Tensor, where: Where) -> torch.Tensor:
        assert value.shape[0] == len(where.lengths)
        out = torch.full_like(value, 0.0 if site == "pattern" else -math.inf)
        out[..., 0] = 1.0
        return out

    patches = {f"blocks.0.attn.{site}": first_only}
    found = run(model, patches, WITH_ATTENTION, layout)
    longer = [i for i, n in enumerate(LENGTHS) if n > 1]
    np.testing.assert_allclose(found["attention_first"][longer, 0].values, 1.0, rtol=1e-6)
    attention = model.model.layers[0].self_attn
    for at, ids in enumerate(encoded().ids):
        block = model.model.layers[0]
        with torch.no_grad():
            stream = model.model.embed_tokens(torch.tensor([ids]))
            value = attention.v_proj(block.input_layernorm(stream))[0, 0].view(2, 8)
            out = attention.o_proj(value.repeat_interleave(2, 0).reshape(1, 1, 32))
            middle = stream + out
            after = middle + block.mlp(block.post_attention_layernorm(middle))
        norm = float(after[0, -1].norm())
        assert float(found["residual_norm"][at, 0]) == pytest.approx(norm, rel=1e-4)


@LAYOUTS
def test_scores_can_open_what_the_mask_closes(layout: str) -> None:
    """A model that sees the future: uniform scores over all of a prompt's own tokens."""
    model = build("llama")

    def see_all(value: torch.Tensor, where: Where) -> torch.Tensor:
        assert torch.isneginf(value[:, :, 0, 1:]).all(), "masked scores are -inf"
        out = torch.full_like(value, -math.inf)
        for at, length in enumerate(where.lengths):
            out[at, :, :, :length] = 0.0
        return out

    patches = {"blocks.0.attn.scores": see_all}
    found = run(model, patches, [REGISTRY["attention_first"]], layout)["attention_first"]
    for at, length in enumerate(LENGTHS):
        if length > 1:
            np.testing.assert_allclose(found[at, 0].values, 1 / length, rtol=1e-5)


@LAYOUTS
def test_a_stream_can_be_taken_from_another_prompt(layout: str) -> None:
    """The last token's stream after block 1, put into every prompt, ends in one distribution."""
    model = build("gpt2")
    donor = torch.linspace(-2.0, 3.0, 32)

    def replace(value: torch.Tensor, where: Where) -> torch.Tensor:
        ends = torch.tensor(where.lengths).cumsum(0) - 1
        value = value.clone()
        value[ends] = donor
        return value

    found = run(model, {"blocks.2.resid_post": replace}, layout=layout)
    assert found["next_token_entropy"].values == pytest.approx(
        [float(found["next_token_entropy"][0])] * len(LENGTHS), rel=1e-4
    )
    np.testing.assert_allclose(found["residual_norm"][:, -1].values, float(donor.norm()), rtol=1e-5)


def test_a_patch_says_which_prompts_it_gets() -> None:
    seen: dict[int, int] = {}

    def note(value: torch.Tensor, where: Where) -> torch.Tensor:
        assert where.layer == 1
        assert value.shape[1] == max(where.lengths)
        assert value.shape[2:] == (4, 8), "position, head, d_head"
        seen.update(zip(where.prompts, where.lengths, strict=True))
        return value

    run(build("gpt2"), {"blocks.1.attn.q": note})
    assert seen == dict(enumerate(LENGTHS))


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("blocks.7.resid_post", r"blocks\.7\.resid_post"),
        ("blocks.1.attn.rot_q", "nothing is rotated"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_site_that_is_not_there_is_an_error(site: str, message: str) -> None:
    with pytest.raises(NotAvailableError, match=message):
        run(build("gpt2"), {site: lambda value, where: value})
