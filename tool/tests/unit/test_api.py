"""The Python interface: what a notebook or a script gets in one call."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import refutable
from refutable import Source, claim, mean
from refutable.errors import RefutableError
from refutable.records import Outcome, Verdict
from refutable.system.paths import fixtures

TEXTS = ["The cat sat on the mat.", "A dog ran in the park today, and then home."]
TINY = fixtures() / "tiny" / "rmsnorm"


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path_factory.getbasetemp() / "api-cache"))


@pytest.fixture(scope="module")
def held() -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(TINY)


def by_hand(model: Any, tokenizer: Any, text: str) -> np.ndarray[Any, Any]:
    """Norm of the last token after each block, from transformers' own hidden states."""
    blocks: list[float] = []
    handles = [
        layer.register_forward_hook(
            lambda _m, _i, out: blocks.append(
                float((out[0] if isinstance(out, tuple) else out)[0, -1].norm())
            )
        )
        for layer in model.model.layers
    ]
    try:
        with torch.no_grad():
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
            model(ids)
    finally:
        for handle in handles:
            handle.remove()
    return np.array(blocks)


def test_a_named_model_gives_what_plain_transformers_give(held: tuple[Any, Any]) -> None:
    model, tokenizer = held
    observed = refutable.observe("tiny-rmsnorm", TEXTS, "residual_norm")
    expected = np.stack([by_hand(model.eval(), tokenizer, text) for text in TEXTS])
    assert observed["residual_norm"].dims == ("prompt", "layer")
    assert np.allclose(observed["residual_norm"].values, expected, rtol=1e-4)
    checks = json.loads(observed.attrs["checks"])
    assert checks
    assert all(check["passed"] for check in checks)
    assert observed.attrs["checked"] is True


def test_a_model_in_memory_is_measured_as_it_stands_and_left_as_it_was(
    held: tuple[Any, Any],
) -> None:
    model, tokenizer = held
    model.train()
    model.config.use_cache = True
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    before = refutable.observe((model, tokenizer), TEXTS, "residual_norm")["residual_norm"]
    assert model.training
    assert model.config.use_cache is True
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    gain = model.model.layers[1].mlp.down_proj.weight
    with torch.no_grad():
        gain.mul_(2.0)
    try:
        after = refutable.observe((model, tokenizer), TEXTS, "residual_norm")["residual_norm"]
        expected = np.stack([by_hand(model.eval(), tokenizer, text) for text in TEXTS])
    finally:
        with torch.no_grad():
            gain.div_(2.0)
    assert np.allclose(after.values, expected, rtol=1e-4)
    assert np.allclose(after.values[:, 0], before.values[:, 0], rtol=1e-5)
    assert not np.allclose(after.values[:, 1], before.values[:, 1], rtol=1e-2)


def test_functions_token_ids_and_an_unchecked_run(held: tuple[Any, Any]) -> None:
    model, tokenizer = held

    def last_gain(residual_norm: Any) -> Any:
        return np.log(residual_norm.isel(layer=-1, drop=True)) - np.log(
            residual_norm.isel(layer=-2, drop=True)
        )

    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in TEXTS]
    observed = refutable.observe((model, tokenizer), ids, [last_gain, "log_growth"], check=False)
    assert observed.attrs["checked"] is False
    assert observed.attrs["layout"] == "single"
    assert np.allclose(observed["last_gain"], observed["log_growth"].isel(layer=-1), atol=1e-6)
    with pytest.raises(RefutableError, match="there are no prompts"):
        refutable.observe((model, tokenizer), [], "log_growth")
    with pytest.raises(RefutableError, match="did you mean residual_norm"):
        refutable.observe((model, tokenizer), TEXTS, "residual_nrom")
    with pytest.raises(RefutableError, match="save the model with save_pretrained"):
        refutable.observe((model, tokenizer), TEXTS, "parameter_count")


@claim(
    id="mine.stream-is-large",
    statement="The stream is longer than one.",
    refuted_if="the mean norm over families lies below 1",
    source=Source(study="mine", ref="M1"),
    predicts=mean.above(1.0),
)
def stream(residual_norm: Any) -> Any:
    """Norm of the residual stream after the last block."""
    return residual_norm.isel(layer=-1, drop=True)


def test_a_claim_of_a_notebook_is_decided_on_a_model_in_memory(held: tuple[Any, Any]) -> None:
    outcome = refutable.evaluate(stream, held, prompts="five-registers")
    assert outcome.evaluation is not None
    named = refutable.evaluate(stream, "tiny-rmsnorm", prompts="five-registers")
    assert named.evaluation is not None
    in_memory, by_name = outcome.evaluation.judgement, named.evaluation.judgement
    assert in_memory.decision.verdict is Verdict.CONFIRMED
    assert in_memory.estimate.value == pytest.approx(by_name.estimate.value, rel=1e-4)


def test_results_are_a_sequence_a_table_a_page_and_a_gate(tmp_path: Path) -> None:
    results = refutable.verify(
        [stream, "gain.layernorm-dampens"], ["tiny-rmsnorm"], prompts="five-registers"
    )
    table = results.to_pandas().set_index(["claim", "arm"])
    assert table.loc[("mine.stream-is-large", "no-bos"), "verdict"] == "confirmed"
    assert table.loc[("gain.layernorm-dampens", "no-bos"), "outcome"] == "skipped"
    assert "mine.stream-is-large" in results._repr_html_()
    assert len(results) == len(table)
    gate = results.gate(results)
    assert gate.exit_code == 0
    page = results.report(tmp_path / "report", figures=False)
    assert "The stream is longer than one." in page.read_text("utf-8")


def test_what_fails_is_a_record_and_the_rest_goes_on(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    results = refutable.verify(stream, [str(broken), "tiny-rmsnorm"], prompts="five-registers")
    outcomes = {result.model: result.outcome for result in results}
    assert outcomes == {"broken": Outcome.ERROR, "tiny-rmsnorm": Outcome.PASSED}
    assert next(result.reason for result in results if result.model == "broken")


def test_a_notebook_completes_every_public_name() -> None:
    named = dir(refutable)
    assert set(refutable.__all__) < set(named)
    for name in named:
        assert getattr(refutable, name, None) is not None or import_module(f"refutable.{name}")
