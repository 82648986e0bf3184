"""What a GGUF file states besides its weights is honoured or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from support import checkpoints
from support.gguf_files import write_gguf

from refutable.errors import ModelError
from refutable.models.load import load
from refutable.models.registry import resolve


def _linear(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(4.0)


def _yarn(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_rope_scaling_orig_ctx_len(16)


def _unnamed(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_factor(4.0)


def _yarn_times(writer: gguf.GGUFWriter) -> None:
    _yarn(writer)
    writer.add_float32("llama.rope.scaling.attn_factor", 1.25)
    writer.add_float32("llama.rope.scaling.yarn_ext_factor", 1.0)


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


@pytest.mark.parametrize(
    ("scaling", "state"),
    [
        ({"rope_type": "linear", "factor": 4.0}, _linear),
        ({"rope_type": "linear", "factor": 4.0}, _unnamed),
        (YARN, _yarn),
        # The file's factor multiplies YaRN's own; a config's takes its place.
        ({**YARN, "attention_factor": 1.25 * (1 + 0.1 * np.log(4.0))}, _yarn_times),
        (LLAMA3, None),
        ({**LLAMA3, "factor": 32.0, "original_max_position_embeddings": 24}, None),
    ],
    ids=["linear", "no kind", "yarn", "yarn times", "factors", "other factors"],
)
@pytest.mark.usefixtures("cache")
def test_rope_scaling_of_a_gguf_file_is_the_models(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], scaling: dict[str, Any], state: Any
) -> None:
    fields = {"rope_parameters": {**scaling, "rope_theta": 1e4}, "tie_word_embeddings": False}
    model = checkpoints.llama(rms_norm_eps=1e-5, **fields).requires_grad_(False)
    frequencies = model.model.rotary_emb.inv_freq.numpy()
    plain = 1e4 ** -(np.arange(len(frequencies)) / len(frequencies))
    path = tmp_path / "scaled.gguf"
    if state is None:
        write_gguf(path, model, factors=plain / frequencies)
    else:
        write_gguf(path, model, state=state)
    capfd.readouterr()
    loaded = load(resolve(str(path)))
    assert capfd.readouterr().err == "", "bars of the conversion"
    ids = torch.arange(3, 43)[None]
    assert torch.allclose(loaded.model(ids).logits, model(ids).logits, atol=1e-4)
    assert all(check.passed for check in loaded.checks)
    assert loaded.weights_digest.startswith("gguf-3-")


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE), "'longrope'"),
        (lambda w: w.add_final_logit_softcapping(30.0), "llama.final_logit_softcapping = 30"),
        (lambda w: w.add_logit_scale(0.125), "llama.logit_scale = 0.125"),
        (lambda w: w.add_sliding_window(8), "llama.attention.sliding_window = 8"),
        (lambda w: w.add_causal_attention(False), "llama.attention.causal = False"),
        (lambda w: w.add_uint32("llama.pooling_type", 1), "llama.pooling_type = 1"),
        (
            lambda w: (_yarn(w), w.add_float32("llama.rope.scaling.yarn_log_multiplier", 1.0)),
            "yarn_log_multiplier",
        ),
        # A neutral factor is 1, a neutral limit is not.
        (lambda w: w.add_float32("llama.attention.clamp_kqv", 1.0), "clamp_kqv = 1"),
        (lambda w: w.add_bool("llama.use_parallel_residual", True), "use_parallel_residual"),
        (lambda w: w.add_float32("llama.attention.temperature_scale", 0.5), "temperature_scale"),
        (lambda w: w.add_float32("llama.residual_scale", 0.22), "llama.residual_scale = 0.2"),
        (lambda w: w.add_key_length(32), "odd.gguf"),
        (lambda w: w.add_value_length(32), "llama.attention.value_length = 32"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_what_a_class_cannot_do_of_a_gguf_file_is_refused(
    tmp_path: Path, state: Any, told: str
) -> None:
    model = checkpoints.llama(rms_norm_eps=1e-5, tie_word_embeddings=False)
    path = tmp_path / "odd.gguf"
    write_gguf(path, model, state=state)
    with pytest.raises(ModelError, match=told):
        load(resolve(str(path)))


def test_factors_that_no_scaling_gives_are_refused(cache: Path, tmp_path: Path) -> None:
    model = checkpoints.llama(rms_norm_eps=1e-5, tie_word_embeddings=False)
    path = tmp_path / "odd.gguf"
    write_gguf(path, model, factors=np.array([1.0, 3.0, 2.0, 7.0]))
    with pytest.raises(ModelError, match=r"rope_freqs\.weight"):
        load(resolve(str(path)))
