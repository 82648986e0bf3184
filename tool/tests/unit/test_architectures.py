"""Forty model types, from a config alone: the instrument's numbers are transformers' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from refutable.capture.measure import measure
from refutable.cli.app import app
from refutable.cli.architectures import row, surveyed_into
from refutable.measurement.survey import Survey, survey
from refutable.models.encode import Encoded
from refutable.models.sites import find_sites
from refutable.models.small import VOCABULARY, build_small, like, small_config
from refutable.observables.registry import REGISTRY

WHOLE = """
afmoe apertus arcee biogpt bloom codegen cohere2 deepseek_v3 doge exaone4 falcon_h1 gemma2
gemma3_text glm4_moe gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granite helium lfm2 llama
llama4_text minicpm3 mistral mixtral mpt nemotron olmo2 opt phi phi3 qwen3 qwen3_moe smollm3
stablelm starcoder2 xglm
""".split()
"""Types of which the stream, logits and attention can be measured."""
PARTLY = {
    "jamba": ("attention_entropy", "attention was found in 1 of 2 blocks"),
    "mamba": ("attention_entropy", "attention was found in 0 of 2 blocks"),
    "gemma3n_text": ("residual_norm", "several residual streams"),
    "rwkv": ("residual_norm", "rescaled between blocks"),
    "deepseek_v4": ("residual_norm", "several residual streams"),
}
"""Types that lack something, and what is said of it."""


@pytest.mark.slow
@pytest.mark.parametrize("model_type", WHOLE)
def test_what_is_measured_is_what_transformers_gives(model_type: str) -> None:
    model = build_small(small_config(model_type))
    surveyed = survey(model, model_type)
    assert surveyed.error == ""
    assert surveyed.reason_for("residual_norm", "top_token", "attention_entropy") == ""
    ids = tuple(int(i) for i in np.random.default_rng(1).integers(3, VOCABULARY, 19))
    encoded = Encoded((ids,), ("f/0",), ("f",), "no-bos", None)
    items = [REGISTRY["residual_norm"], REGISTRY["next_token_entropy"]]
    values = measure(model, find_sites(model), encoded, items, layout=surveyed.layout)
    with torch.no_grad():
        out = model(torch.tensor([ids]), use_cache=False, output_hidden_states=True)
    # The last of transformers' hidden states lies after the final norm.
    first = out.hidden_states[1][0, -1].double().norm()
    assert float(values["residual_norm"][0, 0]) == pytest.approx(float(first), rel=1e-5)
    chances = out.logits[0, -1].double().log_softmax(-1)
    entropy = float(-(chances.exp() * chances).sum())
    assert float(values["next_token_entropy"][0]) == pytest.approx(entropy, rel=1e-5, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", PARTLY)
def test_what_a_type_lacks_is_said_and_the_rest_is_measured(model_type: str) -> None:
    surveyed = survey(build_small(small_config(model_type)), model_type)
    name, reason = PARTLY[model_type]
    assert surveyed.error == ""
    assert reason in surveyed.reason_for(name)
    assert surveyed.reason_for("next_token_entropy") == ""


def test_routers_are_measured_where_there_are_any() -> None:
    model = build_small(small_config("deepseek_v3"))
    prompts = ((5, 71, 8, 33), (12, 90, 41))
    encoded = Encoded(prompts, ("f/0", "g/0"), ("f", "g"), "no-bos", None)
    items = [REGISTRY["router_entropy"], REGISTRY["expert_load"]]
    values = measure(model, find_sites(model), encoded, items, layout="single")
    # The first block of this type is dense.
    assert np.isnan(values["router_entropy"].sel(layer=0)).all()
    load = values["expert_load"].sel(layer=1).values
    gate = model.model.layers[1].mlp.gate
    for prompt, ids in enumerate(prompts):
        seen: list[torch.Tensor] = []
        hook = gate.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        with torch.no_grad():
            model(torch.tensor([ids]), use_cache=False)
        hook.remove()
        logits = seen[0].reshape(-1, seen[0].shape[-1]) @ gate.weight.T
        counts = np.bincount(logits.argmax(-1).numpy(), minlength=4) / len(ids)
        np.testing.assert_allclose(load[prompt], counts, atol=1e-6)
        chances = logits[-1].double().log_softmax(-1)
        entropy = float(-(chances.exp() * chances).sum()) / np.log(4)
        measured = float(values["router_entropy"].sel(layer=1)[prompt])
        assert measured == pytest.approx(entropy, rel=1e-4)


def test_a_large_config_is_made_small_and_keeps_what_it_switches_on() -> None:
    from transformers import Qwen3Config

    large = Qwen3Config(
        hidden_size=4096, num_hidden_layers=36, attention_bias=True, rms_norm_eps=1e-3
    )
    small = like(large)
    assert (small.hidden_size, small.num_hidden_layers) == (64, 2)
    assert small.attention_bias is True
    assert small.rms_norm_eps == 1e-3


def test_the_command_says_what_can_be_measured_and_writes_the_table(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["check", "--architecture", "jamba"])
    assert run.exit_code == 0
    assert "no  attention: attention was found in 1 of 2 blocks" in run.output
    assert "yes residual stream" in run.output
    table = tmp_path / "table.md"
    types = ["--architecture", "llama", "--architecture", "bert"]
    run = CliRunner().invoke(app, ["check", *types, "--write", str(table)])
    assert "1 of 2 types can be measured" in run.output
    rows = [line for line in table.read_text().splitlines() if line.startswith("| llama")]
    assert rows == ["| llama | RMSNorm | rotary | packed | + | + | + | + | + |  |  |"]
    assert "sees later tokens" in table.read_text()


def test_a_stopped_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    rows = tmp_path / "table.md.rows"
    looked_at: list[str] = []
    first = list(surveyed_into(rows, ["llama"], looked_at.append))
    # What kill -9 leaves of a line, and a row of other versions.
    whole = rows.read_text().strip()
    other = whole.replace('"llama"', '"gpt2"').replace('"transformers": "', '"transformers": "4.')
    rows.write_text(f"{whole}\n{other}\n{whole[:40]}")
    again = list(surveyed_into(rows, ["llama", "gpt2"], looked_at.append))
    assert looked_at == ["llama", "gpt2"]
    assert again[0] == first[0]
    assert row(again[1]) == "| gpt2 | LayerNorm | learned | packed | + | + | + | + | + |  |  |"
    assert list(surveyed_into(rows, ["gpt2", "llama"], looked_at.append)) == again[::-1]
    assert len(looked_at) == 2
    table = tmp_path / "table.md"
    run = CliRunner().invoke(app, ["check", "--architecture", "llama", "--write", str(table)])
    assert "going on from" in run.output
    assert row(first[0]) in table.read_text()
    assert not rows.exists()


def test_a_type_that_does_not_exist_is_met_with_a_suggestion() -> None:
    run = CliRunner().invoke(app, ["check", "--architecture", "mixtrall"])
    assert run.exit_code == 1
    assert "did you mean mixtral" in run.output
    assert Survey("x", "", error="why").reason_for("top_token") == "why"
