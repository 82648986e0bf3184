"""Latent thoughts of any decoder equal a plain loop; wrong questions get one clear line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    RwkvConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from refutable.capture.answers import Rerun, answer_logits
from refutable.capture.thoughts import (
    latent_thoughts,
    rethink,
    without_thoughts,
    written_thoughts,
)
from refutable.errors import NotAvailableError, PromptError, RefutableError
from refutable.models.structure import find_structure

ROTARY: Any = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS = {
    "gpt2": GPT2Config(
        vocab_size=50, n_positions=40, n_embd=32, n_layer=3, n_head=4, bos_token_id=1,
        eos_token_id=2,
    ),
    "llama": LlamaConfig(**ROTARY),
    "gemma": GemmaConfig(**ROTARY),
    "gemma3": Gemma3TextConfig(
        **ROTARY,
        sliding_window=5,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
}  # fmt: skip
PROMPTS = [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10], [3, 2, 1, 4, 5]]
END = 11


@pytest.fixture(params=sorted(CONFIGS))
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(CONFIGS[request.param]).eval()
    made.config.use_cache = False
    # Weights large enough that a thought changes what follows.
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 2:
                parameter.mul_(3)
    return made


def loop(model: Any, prompt: list[int], k: int, fed: dict[int, Any] | None = None) -> Any:
    """One problem, without cache, batch or padding: thoughts (k, dim) and answer logits."""
    with torch.no_grad():
        inputs = model.get_input_embeddings()(torch.tensor([prompt]))
        for number in range(k):
            states = model(inputs_embeds=inputs, output_hidden_states=True).hidden_states
            thought = (fed or {}).get(number, states[-1][:, -1])
            inputs = torch.cat([inputs, thought.reshape(1, 1, -1)], dim=1)
        thoughts = inputs[0, len(prompt) :]
        end = model.get_input_embeddings()(torch.tensor([[END]]))
        return thoughts, model(inputs_embeds=torch.cat([inputs, end], dim=1)).logits[0, -1]


def test_a_batch_equals_a_loop_over_problems(model: Any) -> None:
    thoughts = latent_thoughts(model, PROMPTS, 6, end=[END])
    logits = answer_logits(model, thoughts)
    columns = [thoughts.columns(f"t{number}")[0] for number in range(6)]
    for row, prompt in enumerate(PROMPTS):
        wanted, answer = loop(model, prompt, 6)
        torch.testing.assert_close(thoughts.embeddings[row, columns], wanted, atol=1e-4, rtol=0)
        torch.testing.assert_close(logits[row], answer.float(), atol=1e-4, rtol=0)


def test_a_model_without_keys_and_values_equals_a_loop_too() -> None:
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=3, state_size=4, pad_token_id=0
    )
    mamba = AutoModelForCausalLM.from_config(config).eval()
    mamba.config.use_cache = False
    thoughts = latent_thoughts(mamba, PROMPTS, 6, end=[END])
    logits = answer_logits(mamba, thoughts)
    fed = torch.randn(len(PROMPTS), 32)
    anew = answer_logits(mamba, rethink(mamba, thoughts, {2: fed}))
    for row, prompt in enumerate(PROMPTS):
        for answers, replaced in ((logits, None), (anew, {2: fed[row]})):
            _, answer = loop(mamba, prompt, 6, replaced)
            torch.testing.assert_close(answers[row], answer.float(), atol=1e-4, rtol=0)


def test_a_model_that_reads_padding_is_refused_prompts_of_several_lengths() -> None:
    torch.manual_seed(0)
    config = RwkvConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32,
        intermediate_size=64, use_cache=False,
    )  # fmt: skip
    rwkv = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in rwkv.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    with pytest.raises(NotAvailableError, match="reads padding as text: give it prompts of one"):
        latent_thoughts(rwkv, PROMPTS, 2)
    thoughts = latent_thoughts(rwkv, [[1, 2, 3], [3, 2, 1]], 3, end=[END])
    logits = answer_logits(rwkv, thoughts)
    for row, prompt in enumerate([[1, 2, 3], [3, 2, 1]]):
        _, answer = loop(rwkv, prompt, 3)
        torch.testing.assert_close(logits[row], answer.float(), atol=1e-4, rtol=0)


def test_a_model_with_an_encoder_is_refused() -> None:
    config = T5Config(vocab_size=50, d_model=32, d_ff=64, num_layers=2, num_heads=4, d_kv=8)
    with pytest.raises(NotAvailableError, match="reads prompts in an encoder"):
        latent_thoughts(T5ForConditionalGeneration(config).eval(), PROMPTS)


def test_spans_lie_where_they_are_named(model: Any) -> None:
    thoughts = latent_thoughts(model, PROMPTS, 6, end=[END])
    widest = max(len(prompt) for prompt in PROMPTS)
    assert thoughts.columns("begin") == (widest - 1,)
    assert thoughts.columns("thoughts") == tuple(range(widest, widest + 6))
    assert thoughts.columns("end") == thoughts.columns("answer") == (widest + 6,)
    lengths = thoughts.spans["prompt"].sum(dim=1).tolist()
    assert lengths == [len(prompt) for prompt in PROMPTS]
    with pytest.raises(RefutableError, match="lies elsewhere in each prompt"):
        thoughts.columns("prompt")


def test_later_thoughts_follow_from_a_replaced_one(model: Any) -> None:
    thoughts = latent_thoughts(model, PROMPTS, 6, end=[END])
    torch.manual_seed(1)
    fed = torch.randn(len(PROMPTS), 32)
    anew = rethink(model, thoughts, {2: fed})
    logits = answer_logits(model, anew)
    for row, prompt in enumerate(PROMPTS):
        _, answer = loop(model, prompt, 6, {2: fed[row]})
        torch.testing.assert_close(logits[row], answer.float(), atol=1e-4, rtol=0)
    same = rethink(model, thoughts, {4: thoughts.embeddings[:, thoughts.columns("t4")[0]]})
    torch.testing.assert_close(same.embeddings, thoughts.embeddings, atol=1e-5, rtol=0)


def test_written_thoughts_equal_the_prompts_themselves(model: Any) -> None:
    spans = [{f"t{n}": [n] for n in range(6)}, {f"t{n}": [n, n + 2] for n in range(6)}]
    ids = [[5, 6, 7, 8, 9, 10, 11], [4, 5, 6, 7, 8, 9, 10, 3, 2]]
    thoughts = written_thoughts(model, ids, spans)
    logits = answer_logits(model, thoughts)
    with torch.no_grad():
        for row, prompt in enumerate(ids):
            wanted = model(input_ids=torch.tensor([prompt])).logits[0, -1]
            torch.testing.assert_close(logits[row], wanted.float(), atol=1e-4, rtol=0)
    assert thoughts.thought(0).nonzero().tolist() == [[0, 2], [1, 0], [1, 2]]


def test_an_edit_of_a_block_equals_the_same_edit_of_its_input(model: Any) -> None:
    thoughts = latent_thoughts(model, PROMPTS, 3, end=[END])
    blocks = find_structure(model).blocks
    kept: list[torch.Tensor] = []

    def keep(stream: torch.Tensor) -> torch.Tensor:
        kept.append(stream)
        return stream

    intact = answer_logits(model, thoughts, edits={1: keep}, blocks=blocks)
    same = answer_logits(model, thoughts, edits={1: lambda _: kept[0]}, blocks=blocks)
    torch.testing.assert_close(same, intact)
    mask = thoughts.thought(1)[..., None]
    cut = answer_logits(
        model, thoughts, edits={0: lambda stream: stream.masked_fill(mask, 0.0)}, blocks=blocks
    )
    assert (cut - intact).abs().max() > 1e-3
    torch.testing.assert_close(answer_logits(model, thoughts), intact)


def test_a_rerun_from_what_changed_equals_a_whole_pass(model: Any) -> None:
    thoughts = latent_thoughts(model, PROMPTS, 6, end=[END])
    rerun = Rerun(model, thoughts)
    torch.manual_seed(1)
    for number in (0, 3, 5):
        changed = thoughts.embeddings.clone()
        changed[:, thoughts.columns(f"t{number}")[0]] = torch.randn(len(PROMPTS), 32)
        wanted = answer_logits(model, replace(thoughts, embeddings=changed))
        torch.testing.assert_close(rerun.logits(changed), wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        rerun.logits(thoughts.embeddings), answer_logits(model, thoughts), atol=1e-4, rtol=1e-4
    )


def test_without_thoughts_is_the_prompt_and_the_end(model: Any) -> None:
    logits = answer_logits(model, without_thoughts(model, PROMPTS, end=[END]))
    for row, prompt in enumerate(PROMPTS):
        torch.testing.assert_close(logits[row], loop(model, prompt, 0)[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("k", [0, -1])
def test_no_thought_is_refused(k: int) -> None:
    with pytest.raises(RefutableError, match=f"expected k of 1 thought or more, got k={k}"):
        latent_thoughts(None, PROMPTS, k)


def test_a_span_past_the_end_is_refused() -> None:
    model = AutoModelForCausalLM.from_config(CONFIGS["gpt2"])
    spans = [{**{f"t{n}": [n] for n in range(6)}, "t5": [9]}]
    with pytest.raises(PromptError, match="span 't5' of prompt 0 reaches position 9, past the end"):
        written_thoughts(model, [[1, 2, 3, 4, 5, 6, 7]], spans)
    with pytest.raises(PromptError, match="marks no span 't5'"):
        written_thoughts(model, [[1, 2, 3, 4, 5, 6, 7]], [{f"t{n}": [n] for n in range(5)}])
    thoughts = latent_thoughts(model.eval(), PROMPTS, 2)
    with pytest.raises(RefutableError, match="no thought 2: these prompts have thoughts 0 to 1"):
        thoughts.thought(2)
    with pytest.raises(RefutableError, match="no thought 7"):
        rethink(model, thoughts, {7: torch.zeros(3, 32)})
    with pytest.raises(RefutableError, match="no span 'end': there are"):
        thoughts.columns("end")
    with pytest.raises(PromptError, match="at least one token"):
        latent_thoughts(model, [[1], []], 2)


def test_a_model_that_takes_no_embeddings_is_refused() -> None:
    class OnlyIds(nn.Module):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return input_ids

    with pytest.raises(NotAvailableError, match="OnlyIds takes no inputs_embeds"):
        latent_thoughts(OnlyIds(), PROMPTS, 2)
