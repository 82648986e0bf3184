"""Observables that a user records: against plain hooks, with their errors, and refused clearly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import refutable
from refutable import Source, claim, mean, observable
from refutable.capture.site_recorder import recorder_of
from refutable.errors import ClaimError, RefutableError
from refutable.models.site_names import IN_BLOCK, canonical, recordable
from refutable.models.sites import find_sites
from refutable.observables.registry import REGISTRY
from refutable.system.paths import fixtures

IDS = [[5, 9, 20, 31, 7], [8, 3], [11, 2, 40, 17, 60, 33, 21, 4], [6]]
TINY = fixtures() / "tiny" / "rmsnorm"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test registers is gone after it: others go through all that is known."""
    before = dict(REGISTRY._known)
    yield
    REGISTRY._known.clear()
    REGISTRY._known.update(before)
    REGISTRY._rests_on.clear()


@observable(
    source="sites",
    reads=("blocks.*.hook_resid_pre", "blocks.*.hook_resid_post"),
    dims=("prompt", "layer"),
)
def own_cosine(before: Any, after: Any) -> torch.Tensor:
    """Cosine of the stream before and after a block."""
    return torch.cosine_similarity(before.last(), after.last(), dim=-1)


@observable(source="sites", reads="blocks.*.attn.hook_z", dims=("prompt", "layer", "width"))
def own_z(z: Any) -> torch.Tensor:
    """What the heads made, at the last token."""
    return z.last()


@observable(source="sites", reads="blocks.*.attn.hook_pattern", dims=("prompt", "layer", "head"))
def own_last_to_first(view: Any) -> torch.Tensor:
    """Attention of the last token to the first."""
    rows = torch.arange(view.pattern.shape[0])
    return view.pattern[rows, :, view.lengths - 1, 0]


@observable(source="sites", reads="blocks.1.mlp_out", dims=("prompt",))
def own_mlp_norm(written: Any) -> torch.Tensor:
    """Mean norm over tokens of what block 1 writes."""
    return written.by_prompt(written.norms()).nanmean(-1)


@observable(source="sites", reads=("logits", "loss"), dims=("prompt", "two"), unit="nats")
def own_log_top_and_loss(logits: Any, loss: Any) -> torch.Tensor:
    """Log-probability of the most probable next token, and the prompt's own loss."""
    top = torch.log_softmax(logits.last(), dim=-1).amax(-1)
    return torch.stack([top, loss.mean()], dim=1)


@observable(source="sites", reads="blocks.*.resid_post", dims=("prompt", "layer"))
def own_lens(stream: Any, parts: Any) -> torch.Tensor:
    """Largest logit read off a block."""
    return parts.read_off(stream.last()).amax(-1)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path_factory.getbasetemp() / "own-cache"))


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(
        TINY, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def by_hand(model: Any, ids: list[int]) -> dict[str, np.ndarray[Any, Any]]:
    """The same of one prompt, from transformers' own outputs and plain hooks."""
    kept: dict[str, list[torch.Tensor]] = {"z": [], "mlp": [], "post": []}
    hooks = [
        layer.self_attn.o_proj.register_forward_pre_hook(
            lambda _m, args: kept["z"].append(args[0][0, -1])
        )
        for layer in model.model.layers
    ]
    hooks += [
        layer.register_forward_hook(
            lambda _m, _a, out: kept["post"].append((out[0] if isinstance(out, tuple) else out)[0])
        )
        for layer in model.model.layers
    ]
    hooks.append(
        model.model.layers[1].mlp.register_forward_hook(
            lambda _m, _a, out: kept["mlp"].append(out[0])
        )
    )
    try:
        with torch.no_grad():
            out = model(torch.tensor([ids]), output_attentions=True, use_cache=False)
            before = [model.model.embed_tokens(torch.tensor(ids)), *kept["post"][:-1]]
            after = torch.stack([post[-1] for post in kept["post"]])
            pre = torch.stack([stream[-1] for stream in before])
            logs = out.logits[0].log_softmax(-1)
            of_next = -logs[:-1].gather(-1, torch.tensor(ids[1:])[:, None])
            lens = model.lm_head(model.model.norm(after)).amax(-1)
    finally:
        for hook in hooks:
            hook.remove()
    return {
        "own_cosine": torch.cosine_similarity(pre, after, dim=-1).numpy(),
        "own_z": torch.stack(kept["z"]).numpy(),
        "own_last_to_first": torch.stack([a[0, :, -1, 0] for a in out.attentions]).numpy(),
        "own_mlp_norm": kept["mlp"][0].norm(dim=-1).mean().numpy(),
        "own_log_top_and_loss": torch.stack([logs[-1].max(), of_next.mean()]).numpy(),
        "own_lens": lens.numpy(),
    }


def test_sites_in_shared_passes_give_what_plain_hooks_give(model: Any) -> None:
    names = [name for name in by_hand(model, IDS[0])]
    seen = refutable.observe("tiny-rmsnorm", IDS, names)
    assert seen.attrs["layout"] == "packed"
    for place, ids in enumerate(IDS):
        for name, expected in by_hand(model, ids).items():
            measured = seen[name].values[place]
            assert np.allclose(measured, expected, rtol=1e-3, atol=1e-5, equal_nan=True), name
    # A prompt of one token has no next token of its own.
    assert np.isnan(seen["own_log_top_and_loss"].values[3, 1])
    assert np.isfinite(seen["own_log_top_and_loss"].values[:3]).all()


def test_what_mixes_prompts_is_run_alone_or_refused() -> None:
    @observable(source="sites", reads="blocks.*.resid_post", dims=("prompt", "layer"))
    def own_mixed(stream: Any) -> torch.Tensor:
        """Norm at the last token over the largest norm of the pass: prompts see each other."""
        return stream.last().norm(dim=-1) / stream.norms().max()

    names = ["own_mixed", "residual_norm", "residual_norm_tokens"]
    seen = refutable.observe("tiny-rmsnorm", IDS, names)
    assert seen.attrs["layout"] == "single"
    most = seen["residual_norm_tokens"].max("position")
    assert np.allclose(seen["own_mixed"], seen["residual_norm"] / most, rtol=1e-5)


def test_a_changed_function_is_measured_again() -> None:
    def made(factor: int) -> None:
        space: dict[str, Any] = {"observable": observable, "__name__": "notebook"}
        exec(  # noqa: S102
            "@observable(source='sites', reads='blocks.0.resid_post', dims=('prompt',))\n"
            "def own_changing(stream):\n"
            "    'A number that the test edits.'\n"
            f"    return stream.last()[:, 0] * 0 + {factor}\n",
            space,
        )

    for factor in (2, 3):
        made(factor)
        seen = refutable.observe("tiny-rmsnorm", IDS, "own_changing")["own_changing"]
        assert (seen == factor).all()


@observable(source="model", dims=("prompt",), unit="tokens", error=0.25)
def own_length(loaded: Any, encoded: Any) -> Any:
    """Number of tokens."""
    return encoded.labelled(np.array([float(len(ids)) for ids in encoded.ids]))


def lengths(name: str, body: Any) -> Any:
    body.__doc__ = "Lengths of prompts."
    return claim(
        id=f"mine.{name}",
        statement="Prompts are long.",
        refuted_if="they are not",
        source=Source(study="mine", ref="1"),
        predicts=mean.above(0.0),
    )(body)


def test_a_stated_error_widens_the_interval_by_what_the_body_makes_of_it() -> None:
    prompts = [[k, k + 1, *range(k % 3)] for k in range(10, 22)]
    ends = {}
    for name, body in {
        "as-it-is": lambda own_length: own_length,
        "thrice": lambda own_length: 3 * own_length,
        "same-sign": lambda own_length: own_length - own_length + 1,
        "exact": lambda n_tokens: n_tokens,
    }.items():
        evaluation = refutable.evaluate(lengths(name, body), "tiny-rmsnorm", prompts=prompts)
        assert evaluation.evaluation is not None
        ends[name] = evaluation.evaluation.judgement.estimate, evaluation.evaluation.error
    assert ends["as-it-is"][1] == pytest.approx(0.25, abs=1e-4)
    assert ends["thrice"][1] == pytest.approx(0.75, abs=1e-4)
    assert ends["same-sign"][1] < 1e-4
    exact, stated = ends["exact"][0], ends["as-it-is"][0]
    assert stated.value == pytest.approx(exact.value)
    assert exact.low is not None
    assert stated.low == pytest.approx(exact.low - 0.25, abs=1e-3)


@pytest.mark.parametrize(
    ("reads", "dims", "wrong"),
    [
        ("blocks.*.resid_pots", ("prompt", "layer"), r"did you mean blocks\.\*\.resid_post"),
        ("blocks.*.attn.hook_q", ("prompt", "layer"), "source='model'"),
        ("blocks.*.resid_post", ("prompt",), "its dims begin with prompt, layer"),
        ("logits", ("prompt", "layer"), "hold no layer"),
        (("logits", "blocks.*.resid_post"), ("prompt", "layer"), "record them apart"),
        (("logits", "loss"), ("prompt",), "takes 1 arguments"),
        ((), ("prompt",), "reads no site"),
    ],
)
def test_what_does_not_fit_together_is_refused(reads: Any, dims: Any, wrong: str) -> None:
    with pytest.raises(ClaimError, match=wrong):

        @observable(source="sites", reads=reads, dims=dims)
        def own_wrong(view: Any) -> torch.Tensor:
            """Nothing."""
            return view.last()

    assert "own_wrong" not in REGISTRY


@pytest.mark.parametrize(
    ("returned", "wrong"),
    [
        (lambda view: 1.0, r"returned float: return a tensor \(prompt\)"),
        (
            lambda view: view.last(),
            r"returned a tensor \(\d, \d+\) for \d prompts: return \(prompt",
        ),
        (lambda view: view.norms(), "return .prompt"),
    ],
)
def test_a_wrong_shape_is_told_in_one_line(returned: Any, wrong: str) -> None:
    def own_shape(view: Any) -> Any:
        """Of a wrong shape."""
        return returned(view)

    own_shape.__qualname__ = f"own_shape_{wrong}"
    own_shape.__name__ = f"own_shape_{abs(hash(wrong))}"
    observable(source="sites", reads="blocks.0.resid_post", dims=("prompt",))(own_shape)
    with pytest.raises(RefutableError, match=wrong):
        refutable.observe("tiny-rmsnorm", IDS[:2], own_shape.__name__, check=False)


def test_transformer_lens_names_are_known_wherever_a_site_is_named(model: Any) -> None:
    sites = find_sites(model)
    for name in ("blocks.0.hook_resid_post", "blocks.1.attn.hook_z", "blocks.0.hook_mlp_out"):
        assert name in sites
        assert sites[name] is sites[canonical(name)]
        assert sites.reason(name) == ""
    assert recordable("blocks.*.attn.hook_pattern") == "blocks.*.attn.pattern"
    assert recordable("hook_embed") == "embed"
    for name in IN_BLOCK:
        assert recordable(f"blocks.7.{name}") == f"blocks.7.{name}"
    recorder = recorder_of(own_lens, ["blocks.*.hook_resid_post"], ("prompt", "layer"))
    assert recorder.reads == ("blocks.*.resid_post",)


def test_the_registry_says_what_is_stated(tmp_path: Path) -> None:
    item = REGISTRY["own_length"]
    assert (item.error, item.unit, item.version, item.dims) == (0.25, "tokens", 1, ("prompt",))
    assert item.code
    assert REGISTRY["residual_norm"].code == ""
