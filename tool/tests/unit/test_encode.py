"""Prompts as token ids, in both arms, shuffled, and refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from refutable.errors import PromptError
from refutable.models.encode import Encoded, encode
from refutable.records import ModelFacts
from refutable.spec.prompts import Prompt, PromptSet

FACTS = ModelFacts(
    id="m",
    architecture="GPT2LMHeadModel",
    norm_kind="LayerNorm",
    blocks=2,
    heads=2,
    d_model=8,
    d_vocab=50,
    context=6,
    parameters=1,
    tied=True,
    positions="learned",
    attention_interface=True,
    bos=49,
    tokenizer=False,
)


def prompts(*ids: tuple[int, ...], text: str | None = None) -> PromptSet:
    made = tuple(Prompt(f"f/{at}", "f", text, None if text else one) for at, one in enumerate(ids))
    return PromptSet("mine", made, {"f": {}}, "0")


def test_ids_pass_as_they_are_and_the_arm_alone_adds_bos() -> None:
    given = prompts((1, 2, 3), (4, 5))
    assert encode(given, None, FACTS, "no-bos") == Encoded(
        ((1, 2, 3), (4, 5)), ("f/0", "f/1"), ("f", "f"), "no-bos", None
    )
    with_bos = encode(given, None, FACTS, "bos")
    assert with_bos.ids == ((49, 1, 2, 3), (49, 4, 5))
    assert with_bos.bos == 49


def _embedded() -> Any:
    from refutable.models.load import load
    from refutable.models.registry import resolve

    return load(resolve("tiny-rmsnorm"))


def test_text_gets_no_special_token_from_the_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path))
    loaded = _embedded()
    plain = encode(prompts((), text="The value is"), loaded, loaded.facts, "no-bos").ids[0]
    assert loaded.tokenizer.decode(plain) == "The value is"
    with_bos = encode(prompts((), text="The value is"), loaded.tokenizer, loaded.facts, "bos")
    assert with_bos.ids[0] == (loaded.tokenizer.bos_token_id, *plain)


def test_shuffling_permutes_each_prompt_and_leaves_bos_first() -> None:
    facts = dataclasses.replace(FACTS, context=40)
    given = prompts(tuple(range(30)), tuple(range(29, -1, -1)), (7,))
    first = encode(given, None, facts, "bos", shuffle_seed=1).ids
    assert first == encode(given, None, facts, "bos", shuffle_seed=1).ids
    assert first != encode(given, None, facts, "bos", shuffle_seed=2).ids
    assert first[0] != first[1]
    assert [ids[0] for ids in first] == [49, 49, 49]
    assert sorted(first[0][1:]) == list(range(30))
    assert first[0][1:] != tuple(range(30))
    assert first[2] == (49, 7)


def test_order_of_a_prompt_does_not_depend_on_the_other_prompts() -> None:
    facts = dataclasses.replace(FACTS, context=40)
    alone = encode(prompts(tuple(range(30))), None, facts, "no-bos", shuffle_seed=3).ids[0]
    both = encode(prompts(tuple(range(30)), (1, 2)), None, facts, "no-bos", shuffle_seed=3).ids[0]
    assert alone == both


def test_prompt_that_just_fits_is_taken_and_one_more_token_is_refused() -> None:
    assert encode(prompts((1,) * 6), None, FACTS, "no-bos").ids == ((1,) * 6,)
    with pytest.raises(PromptError, match="prompt f/0 has 7 tokens, m takes 6: shorten it"):
        encode(prompts((1,) * 6), None, FACTS, "bos")


@pytest.mark.parametrize("wrong", [50, -1])
def test_id_outside_the_vocabulary_is_refused(wrong: int) -> None:
    with pytest.raises(PromptError, match=f"prompt f/1 holds token id {wrong}, m knows 0 to 49"):
        encode(prompts((1, 49), (2, wrong)), None, FACTS, "no-bos")


def test_empty_prompt_is_refused() -> None:
    with pytest.raises(PromptError, match="prompt f/0 has no tokens for m"):
        encode(prompts(()), None, FACTS, "no-bos")


def test_text_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(PromptError, match="m has no tokenizer, and prompt f/0 is text: give input"):
        encode(prompts((), text="hello"), None, FACTS, "no-bos")


def test_bos_arm_needs_a_bos() -> None:
    without = dataclasses.replace(FACTS, bos=None)
    assert encode(prompts((1,)), None, without, "no-bos").ids == ((1,),)
    with pytest.raises(PromptError, match="m has no BOS token: run the arm 'no-bos' only"):
        encode(prompts((1,)), None, without, "bos")
    with pytest.raises(PromptError, match="got arm='both'"):
        encode(prompts((1,)), None, FACTS, "both")


def test_bos_is_counted_by_ids_whoever_brings_it() -> None:
    given = prompts((49, 1, 2), (49, 49, 4, 5), (6, 49, 7))
    assert encode(given, None, FACTS, "no-bos").ids == ((1, 2), (4, 5), (6, 49, 7))
    assert encode(given, None, FACTS, "bos").ids == ((49, 1, 2), (49, 4, 5), (49, 6, 49, 7))
    with pytest.raises(PromptError, match="nothing but BOS"):
        encode(prompts((49, 49)), None, FACTS, "bos")


def test_a_normalizer_that_prepends_bos_does_not_double_it() -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, "w1": 1, "w2": 2, "<s>": 49}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # noqa: S106
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.normalizer = normalizers.Prepend("<s> ")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")  # noqa: S106
    text = prompts((0,), text="w1 w2")
    assert encode(text, tokenizer, FACTS, "no-bos").ids == ((1, 2),)
    assert encode(text, tokenizer, FACTS, "bos").ids == ((49, 1, 2),)


@pytest.mark.parametrize("text", ["<s> w1 w2", "  <s> w1 w2", "<m> <s> w1 w2", "<s> <m> <s> w1 w2"])
def test_bos_behind_blanks_and_marks_is_in_front_all_the_same(text: str) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, "w1": 1, "w2": 2, " ": 3, "<m>": 48, "<s>": 49}
    made = Tokenizer(models.BPE({**words, "w": 4, "1": 5, "2": 6}, [("w", "1"), ("w", "2")]))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",  # noqa: S106
        additional_special_tokens=["<m>"],
    )
    given = prompts((0,), text=text)
    facts = dataclasses.replace(FACTS, context=20)
    assert 49 not in encode(given, tokenizer, facts, "no-bos").ids[0]
    with_bos = encode(given, tokenizer, facts, "bos").ids[0]
    assert with_bos[0] == 49
    assert with_bos.count(49) == 1
    assert [token for token in with_bos if token in (1, 2)] == [1, 2]


def test_bos_inside_a_text_stays() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"<unk>": 0, "w1": 1, "<s>": 49}, unk_token="<unk>"))  # noqa: S106
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")  # noqa: S106
    turns = prompts((0,), text="<s> w1 <s> w1")
    assert encode(turns, tokenizer, FACTS, "no-bos").ids == ((1, 49, 1),)


def test_prompts_that_are_one_to_the_model_count_once() -> None:
    given = prompts((1, 2), (49, 1, 2), (1, 2), (2, 1))
    encoded = encode(given, None, FACTS, "bos")
    assert encoded.prompt_ids == ("f/0", "f/3")
    shuffled = encode(given, None, FACTS, "bos", shuffle_seed=1)
    assert shuffled.prompt_ids == encoded.prompt_ids
