"""Named spans in prompt sets, and the two sets of the thought-tokens study."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from refutable.errors import ModelError, PromptError
from refutable.models.encode import encode
from refutable.models.registry import resolve
from refutable.models.sources import locate
from refutable.spec.prompts import parse_prompts, read_prompts
from refutable.studies.thought_tokens.prompts import modular_steps, stories, word_problems
from refutable.studies.thought_tokens.task import VOCABULARY, after
from refutable.system.paths import fixtures

FACTS: Any = SimpleNamespace(id="planted", bos=7, context=64, d_vocab=100)


class Letters:
    """A fast tokenizer of one token a letter."""

    is_fast = True

    def __call__(self, text: str, **how: Any) -> dict[str, Any]:
        encoding: dict[str, Any] = {"input_ids": [ord(letter) - 32 for letter in text]}
        if how.get("return_offsets_mapping"):
            encoding["offset_mapping"] = [(at, at + 1) for at in range(len(text))]
        return encoding


def parsed(**table: Any) -> Any:
    return parse_prompts({"family": [{"name": "a", **table}]}, origin="x", default_name="x")


def test_marks_of_a_text_become_positions() -> None:
    made = parsed(prompts=["ab{t0|cd}e{t1|f}"], marked=True, answers=["gh"])
    prompt = made.prompts[0]
    assert prompt.text == "abcdef"
    assert prompt.marks == {"t0": (2, 4), "t1": (5, 6)}
    without = encode(made, Letters(), FACTS, "no-bos")
    assert without.spans == ({"t0": (2, 3), "t1": (5,)},)
    assert without.answers == ((ord("g") - 32, ord("h") - 32),)
    # A BOS token moves every position by one.
    assert encode(made, Letters(), FACTS, "bos").spans == ({"t0": (3, 4), "t1": (6,)},)
    assert without.only([0]).spans == without.spans


def test_marks_and_answers_are_part_of_the_hash_and_nothing_else_is() -> None:
    plain = parsed(prompts=["abcdef"])
    assert parsed(prompts=["abcdef"], marked=True).content_hash == plain.content_hash
    marked = [parsed(prompts=[text], marked=True) for text in ("ab{t0|cd}ef", "a{t0|bcd}ef")]
    answered = parsed(prompts=["abcdef"], answers=["g"])
    assert len({made.content_hash for made in (plain, *marked, answered)}) == 4


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"prompts": ["a{t0|b}{t0|c}"], "marked": True}, "marks 't0' twice"),
        ({"prompts": ["a{t0|b"], "marked": True}, "has a brace that is no mark"),
        ({"prompts": ["ab"], "answers": []}, "needs one answer a prompt"),
        ({"prompts": ["ab"], "answers": [""]}, "needs an answer of text or token ids"),
        ({"input_ids": [[1, 2]], "answers": [[-1]]}, "needs an answer of text or token ids"),
        ({"input_ids": [[1, 2]], "spans": [{"t0": [2]}]}, "position 2, past the end of a prompt"),
        ({"input_ids": [[1, 2]], "spans": [{"t0": [-1]}]}, "needs a list of positions"),
        ({"input_ids": [[1, 2]], "spans": [[1]]}, "needs a table of spans"),
    ],
)
def test_a_bad_span_is_told_in_one_line(table: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=message) as caught:
        parsed(**table)
    assert "\n" not in str(caught.value)


def test_a_span_past_the_end_of_a_text_is_refused() -> None:
    made = parsed(prompts=["abc"], spans=[{"t0": [3]}])
    with pytest.raises(PromptError, match="reaches position 3, past the end: the prompt has 3"):
        encode(made, Letters(), FACTS, "no-bos")


def test_a_slow_tokenizer_cannot_place_marks() -> None:
    slow = Letters()
    slow.is_fast = False
    with pytest.raises(PromptError, match="does not say which characters a token covers"):
        encode(parsed(prompts=["{t0|a}b"], marked=True), slow, FACTS, "no-bos")


def test_the_files_are_what_the_templates_make() -> None:
    folder = fixtures() / "prompts"
    assert (folder / "modular-steps.toml").read_text() == modular_steps()
    assert (folder / "word-problems.toml").read_text() == word_problems()


def test_modular_steps_state_right_answers() -> None:
    made = read_prompts(fixtures() / "prompts" / "modular-steps.toml")
    assert (len(made), len(made.families)) == (90, 30)
    for prompt in made.prompts:
        assert prompt.input_ids is not None
        assert max(prompt.input_ids) < VOCABULARY
        assert prompt.answer == (after(prompt.input_ids, 0, prompt.input_ids[1]),)
        assert prompt.spans == {"begin": (8,), "end": (9,)}


def test_word_problems_have_six_right_steps_each() -> None:
    made = read_prompts(fixtures() / "prompts" / "word-problems.toml")
    assert (len(made), len(made.families)) == (100, 25)
    signs = {story.name: story.signs for story in stories()}
    for prompt in made.prompts:
        assert prompt.text is not None
        story = prompt.text.split("Steps:")[0]
        value = None
        for number, sign in enumerate(signs[prompt.family]):
            start, end = prompt.marks[f"t{number}"]
            a, shown, b, result = re.fullmatch(
                r"(\d+) (.) (\d+) = (\d+)\.", prompt.text[start:end]
            ).groups()  # type: ignore[union-attr]
            assert value in (None, int(a))
            assert shown == sign
            assert f" {b} " in story or f" {b}" in story
            exact = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}
            value = exact.get(sign, int(a) / int(b))
            assert value == int(result)
        assert prompt.answer == f" {result}"
        assert prompt.text.endswith(" The answer is")


@pytest.mark.parametrize("name", ["zen-E/CODI-gpt2", "zen-E/CODI-llama3.2-1b-Instruct"])
def test_published_thought_models_say_what_they_lack(name: str) -> None:
    with pytest.raises(ModelError, match="cannot be loaded as it is published: one pickled state"):
        locate(resolve(name))
