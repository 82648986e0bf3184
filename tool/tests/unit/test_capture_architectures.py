"""What is captured equals plain transformers runs, on eleven architectures and in every layout.

The reference shares no code with the package: each prompt is run alone, hooks on the block modules
keep their outputs, patterns come from ``output_attentions=True``, and the summaries are written out
in numpy in double precision.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import CONFIGS, PACKING_IS_WRONG, VOCAB, build

from refutable.capture.measure import measure
from refutable.measurement.instrument import check
from refutable.models.encode import Encoded
from refutable.models.sites import find_sites
from refutable.observables.registry import REGISTRY

BLOCKS: dict[str, Callable[[Any], Any]] = {
    "gpt2": attrgetter("transformer.h"),
    "gpt_neox": attrgetter("gpt_neox.layers"),
    "llama": attrgetter("model.layers"),
    "mistral": attrgetter("model.layers"),
    "gemma3_text": attrgetter("model.layers"),
    "qwen3": attrgetter("model.layers"),
    "phi": attrgetter("model.layers"),
    "gptj": attrgetter("transformer.h"),
    "opt": attrgetter("model.decoder.layers"),
    "bloom": attrgetter("transformer.h"),
    "falcon": attrgetter("transformer.h"),
}
# One prompt of a single token, several longer than the sliding window of 5, none sorted.
LENGTHS = (9, 3, 14, 1, 22, 7, 12, 6)
NAMES = (
    "attention_entropy",
    "attention_first",
    "attention_previous",
    "attention_middle",
    "embedding_norm",
    "mean_log_residual_norm",
    "mean_log_residual_norm_rest",
    "n_blocks",
    "n_tokens",
    "next_token_entropy",
    "residual_norm",
    "residual_norm_tokens",
    "top_probability",
    "top_token",
)
OBSERVABLES = [REGISTRY[name] for name in NAMES]


def encoded() -> Encoded:
    source = np.random.default_rng(4)
    ids = tuple(tuple(int(i) for i in source.integers(3, VOCAB, n)) for n in LENGTHS)
    names = tuple(f"f{i // 2}/{i % 2}" for i in range(len(LENGTHS)))
    return Encoded(ids, names, tuple(name.split("/")[0] for name in names), "no-bos", None)


@cache
def model_of(name: str) -> Any:
    return build(name)


@torch.no_grad()
def plain_run(name: str, ids: tuple[int, ...]) -> dict[str, Any]:
    """One prompt through transformers alone."""
    model = build(name, attn_implementation="eager")
    made: list[np.ndarray[Any, Any]] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) else output
        made.append(value[0].double().numpy())

    for block in BLOCKS[name](model):
        block.register_forward_hook(keep)
    out = model(
        input_ids=torch.tensor([ids]),
        output_attentions=True,
        output_hidden_states=True,
        use_cache=False,
    )
    norms = np.linalg.norm(np.stack(made), axis=-1)
    logits = out.logits[0, -1].double().numpy()
    p = np.exp(logits - logits.max())
    p /= p.sum()
    patterns = np.stack([a[0].double().numpy() for a in out.attentions])
    rest = norms[:, 1:]
    return {
        "residual_norm": norms[:, -1],
        "residual_norm_tokens": norms,
        "mean_log_residual_norm": np.log(norms).mean(-1),
        "mean_log_residual_norm_rest": np.log(rest).mean(-1) if rest.size else np.full(3, np.nan),
        "embedding_norm": np.linalg.norm(out.hidden_states[0][0, -1].double().numpy()),
        "next_token_entropy": -(p * np.log(p)).sum(),
        "top_probability": p.max(),
        "top_token": p.argmax(),
        "n_tokens": len(ids),
        "patterns": patterns,
    } | summaries(patterns)


def summaries(patterns: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    layers, heads, length, _ = patterns.shape
    out = {name: np.full((layers, heads), np.nan) for name in NAMES[:4]}
    for layer in range(layers):
        for head in range(heads):
            a = patterns[layer, head]
            rows = range(1, length)
            if length > 1:
                entropy = [-sum(x * np.log(x) for x in a[t] if x > 0) for t in rows]
                out["attention_entropy"][layer, head] = np.mean(
                    [h / np.log(t + 1) for h, t in zip(entropy, rows, strict=True)]
                )
                out["attention_first"][layer, head] = np.mean([a[t, 0] for t in rows])
                out["attention_previous"][layer, head] = np.mean([a[t, t - 1] for t in rows])
                middle = [a[t, min(t // 2 + 1, t)] for t in rows]
                out["attention_middle"][layer, head] = np.mean(middle)
    return out


@cache
def reference(name: str) -> list[dict[str, Any]]:
    return [plain_run(name, ids) for ids in encoded().ids]


def layouts(name: str) -> tuple[str, ...]:
    return ("padded", "single") if name in PACKING_IS_WRONG else ("packed", "padded", "single")


@pytest.mark.parametrize(
    ("name", "layout"), [(name, layout) for name in CONFIGS for layout in layouts(name)]
)
def test_captured_values_equal_plain_single_runs(name: str, layout: str) -> None:
    model = model_of(name)
    measured = measure(model, find_sites(model), encoded(), OBSERVABLES, layout=layout)
    assert int(measured["n_blocks"]) == 3
    for at, wanted in enumerate(reference(name)):
        for observable in NAMES:
            if observable == "n_blocks":
                continue
            got = measured[observable].isel(prompt=at).values
            if observable == "residual_norm_tokens":
                length = LENGTHS[at]
                assert np.isnan(got[:, length:]).all()
                got = got[:, :length]
            np.testing.assert_allclose(
                got, wanted[observable], rtol=1e-4, atol=1e-7, err_msg=f"{observable} {at}"
            )


@pytest.mark.parametrize("name", ["mistral", "gemma3_text"])
def test_the_window_is_shorter_than_the_prompts(name: str) -> None:
    """Without this the sliding window would not be tested at all."""
    pattern = reference(name)[4]["patterns"][0, 0]
    assert (pattern[10, :6] == 0).all()
    assert (pattern[10, 6:11] > 0).all()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("attention", [True, False], ids=["with attention", "without attention"])
def test_the_check_chooses_a_layout_that_is_right(name: str, attention: bool) -> None:
    model = model_of(name)
    asked = OBSERVABLES if attention else OBSERVABLES[3:]
    result = check(SimpleNamespace(model=model), find_sites(model), encoded(), asked)
    assert [c.name for c in result.checks if not c.passed] == []
    layout = next(c for c in result.checks if c.name == "layout")
    if name in PACKING_IS_WRONG:
        assert result.layout == "padded"
        assert layout.detail.startswith("packed refused")
    else:
        assert result.layout == "packed"
    assert result.error < 1e-5
    assert set(result.reference) == {item.name for item in asked}


@pytest.mark.parametrize("name", sorted(PACKING_IS_WRONG))
def test_packing_is_really_wrong_where_it_is_refused(name: str) -> None:
    model = model_of(name)
    measured = measure(
        model, find_sites(model), encoded(), [REGISTRY["residual_norm"]], layout="packed"
    )
    wanted = np.stack([run["residual_norm"] for run in reference(name)])
    assert np.abs(measured["residual_norm"].values / wanted - 1).max() > 0.02
