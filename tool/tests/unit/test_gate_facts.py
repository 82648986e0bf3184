"""Config and tokenizer of two releases: what is suspect and what is told."""

from __future__ import annotations

import copy

import pytest
from support.spoken import logits, release

from refutable.gate.files import file_facts, tokenizer_facts

TOKENIZER = {
    "class": "TokenizersBackend",
    "vocabulary": ["<s>", "a", "b", "c", "ab"],
    "merges": ["a b", "b c"],
    "model": {"type": "BPE", "ignore_merges": False},
    "pieces": {"normalizer": None, "pre_tokenizer": {"type": "ByteLevel"}, "post_processor": None,
               "decoder": {"type": "ByteLevel"}, "truncation": None, "padding": None},
    "added": {"0": ["<s>", True, False, False, False, False]},
    "scores": [0.0, -1.0, -2.0, -3.0, -4.0],
    "special": {"bos": ["<s>", 0], "eos": ["<s>", 0], "pad": [None, None]},
    "default": {"bos": False, "eos": False},
    "template": "",
    "probes": [[1, 2], [3]],
}  # fmt: skip


def edited(**changes):
    made = copy.deepcopy(TOKENIZER)
    for name, value in changes.items():
        made[name] = value
    return made


def told(**changes):
    return [(f.text, f.suspect) for f in tokenizer_facts(TOKENIZER, edited(**changes))]


@pytest.mark.parametrize(
    ("changes", "text", "suspect"),
    [
        ({"default": {"bos": True, "eos": False}}, "tokenizer now adds BOS in front of a text",
         True),
        ({"default": {"bos": False, "eos": True}}, "tokenizer now adds EOS behind a text", True),
        (
            {"vocabulary": ["<s>", "b", "a", "c", "ab"]},
            "tokenizer vocabulary: 2 entries swapped (1: 'a' -> 'b', 2: 'b' -> 'a')", True,
        ),
        (
            {"vocabulary": ["<s>", "a", "b", "c"]},
            "tokenizer vocabulary: 1 entries missing ('ab')", True,
        ),
        ({"merges": ["a b"]}, "tokenizer merges cut: 1 missing of 2", True),
        ({"merges": ["b c", "a b"]}, "tokenizer merges in another order", True),
        ({"template": "{{ x }}"}, "chat template added", False),
        ({"special": {**TOKENIZER["special"], "eos": ["c", 3]}}, "EOS token '<s>' -> 'c'", True),
        ({"special": {**TOKENIZER["special"], "pad": ["c", 3]}}, "PAD token None -> 'c'", False),
        (
            {"pieces": {**TOKENIZER["pieces"], "normalizer": {"type": "Lowercase"}}},
            "tokenizer normalizer changed (none -> Lowercase)", True,
        ),
        (
            {"added": {"0": ["<s>", True, True, False, False, False]}},
            "added tokens differ (0: ['<s>', True, False, False, False, False] -> "
            "['<s>', True, True, False, False, False])", True,
        ),
        (
            {"scores": [0.0, -1.0, -2.5, -3.0, -4.0]},
            "tokenizer scores: 1 of 5 pieces differ (2: -2 -> -2.5)", True,
        ),
        ({"probes": [[1, 2], [4]]}, "the tokenizer cuts texts into other tokens", True),
    ],
)  # fmt: skip
def test_each_difference_of_a_tokenizer_is_one_line(changes, text, suspect):
    assert told(**changes) == [(text, suspect)]


def test_the_same_tokenizer_and_none_at_all():
    assert told() == []
    assert tokenizer_facts({}, {}) == []
    assert tokenizer_facts(TOKENIZER, {})[0].suspect


def test_a_run_that_kept_less_of_a_tokenizer_is_compared_by_what_it_kept():
    earlier = edited(added={"0": ["<s>", True]})
    del earlier["scores"]
    assert tokenizer_facts(earlier, TOKENIZER) == []


def test_a_context_is_told_and_suspect_where_rotary_positions_hang_on_it():
    for kind, suspect in (("default", False), ("dynamic", True)):
        rope = {"rope_parameters.rope_type": kind}
        sides = [config(**rope, max_position_embeddings=n) for n in (64, 128)]
        (facts,) = file_facts(*sides)
        assert "max_position_embeddings 64 -> 128" in facts.text
        assert facts.suspect is suspect


def config(**fields):
    stated = {"rms_norm_eps": 1e-6, "rope_parameters.rope_theta": 10000.0, "dtype": "float32",
              "use_cache": True, "attention_dropout": 0.0}  # fmt: skip
    return release(logits(0), config={**stated, **fields}, unknown=["invented"])


@pytest.mark.parametrize(
    ("fields", "text", "suspect"),
    [
        ({"rope_parameters.rope_theta": 500000.0}, "config.json: rope_theta 10000 -> 500000", True),
        ({"rms_norm_eps": 1e-2}, "config.json: rms_norm_eps 1e-06 -> 0.01", True),
        ({"sliding_window": 8}, "config.json: sliding_window none -> 8", True),
        ({"eos_token_id": 5}, "config.json: eos_token_id none -> 5", True),
        (
            {"rope_parameters.full_attention.rope_theta": 5.0},
            "config.json: rope_theta of full_attention none -> 5",
            True,
        ),
        (
            {"layer_types": ["a", "b", "a"], "num_hidden_layers": 3},
            "config.json: layer_types b -> a in blocks 0, 2",
            True,
        ),
        (
            {"router_aux_loss_coef": 0.1},
            "config.json, without effect: router_aux_loss_coef none -> 0.1",
            False,
        ),
        ({"dtype": "bfloat16"}, "config.json, without effect: dtype float32 -> bfloat16", False),
        (
            {"attention_dropout": 0.1},
            "config.json, without effect: attention_dropout 0 -> 0.1",
            False,
        ),
        ({"invented": 3}, "config.json, without effect: invented none -> 3", False),
    ],
)
def test_fields_that_are_computed_with_are_suspect(fields, text, suspect):
    kinds = {"layer_types": ["b", "b", "b"], "num_hidden_layers": 3}
    base = kinds if "layer_types" in fields else {}
    facts = file_facts(config(**base), config(**fields))
    assert [(f.text, f.suspect) for f in facts] == [(text, suspect)]


def test_a_number_that_went_through_single_precision_is_the_same_number():
    assert file_facts(config(), config(rms_norm_eps=9.9999999747e-7)) == []
    assert file_facts(config(), config(sliding_window=None)) == []
