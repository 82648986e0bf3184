"""The prompt battery and the length-matched set are what docs/battery.md says, to the letter."""

import hashlib
import json
import tomllib
from collections import Counter
from pathlib import Path
from statistics import mean

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "fixtures" / "prompts"
REGISTERS = ("factual", "syntactic", "cliche", "novel", "nonsense")
SETS = ("five-registers", "battery", "length-matched")

# Recorded before anything was measured on the sets. A failure here means that a set was changed
# after the fact: restore it, and put the new prompts into a set of another name.
FILE_HASH = {
    "battery": "c1716f2dc4c47ee53c650f51f193a44e46ce701e7aadce20b217ae544eadb8f5",
    "length-matched": "8111323a16e4a321cb414a5e1f4d1db5561b15de4572ca1f491f15e5d54216bf",
}
CONTENT_HASH = {
    "battery": "84ff823975e49a8030093e76a8ca11c10c8ce1b0035ade25a9d44619f1f5839b",
    "length-matched": "3aedec51d3bd995d27d9278fe5e025cb4a5673018ccbf583cd8c1e15b4e49a08",
}


def families(name):
    table = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))
    assert table["name"] == name
    assert table["says"].endswith(".")
    return table["family"]


def prompts(name):
    return [text for family in families(name) for text in family["prompts"]]


def words(text):
    return len(text.split())


@pytest.mark.parametrize("name", FILE_HASH)
def test_the_file_is_the_one_recorded(name):
    digest = hashlib.sha256((FOLDER / f"{name}.toml").read_bytes()).hexdigest()
    assert digest == FILE_HASH[name]
    assert f"| `{name}` | `{digest}` |" in (ROOT / "docs" / "battery.md").read_text("utf-8")


@pytest.mark.parametrize("name", CONTENT_HASH)
def test_the_content_hash_is_the_one_recorded(name):
    content = [
        [f"{family['name']}/{index}", text, None, {}]
        for family in families(name)
        for index, text in enumerate(family["prompts"])
    ]
    packed = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    digest = hashlib.sha256(packed).hexdigest()
    assert digest == CONTENT_HASH[name]
    assert f" | `{digest}` |" in (ROOT / "docs" / "battery.md").read_text("utf-8")


@pytest.mark.parametrize("name", CONTENT_HASH)
def test_the_package_reads_the_same_content(name):
    from refutable.spec.prompts import read_prompts

    read = read_prompts(FOLDER / f"{name}.toml")
    assert read.content_hash == CONTENT_HASH[name]
    assert [prompt.text for prompt in read.prompts] == prompts(name)
    assert set(read.remark("register")) - {""} == set(REGISTERS)


def test_battery_has_44_families_of_8():
    table = families("battery")
    assert len(table) == len({family["name"] for family in table}) == 44
    assert {len(family["prompts"]) for family in table} == {8}
    assert len({family["topic"] for family in table}) == 44


def test_battery_crosses_register_and_length():
    table = families("battery")
    crossed = Counter((family.get("register"), family["length"]) for family in table)
    for register in REGISTERS:
        counts = [crossed[register, length] for length in ("short", "medium", "long")]
        assert counts == [2, 2, 2], register
    assert sum(count for (register, _), count in crossed.items() if register is None) == 14
    assert {register for register, _ in crossed} == {*REGISTERS, None}


def test_battery_has_the_kinds_asked_for():
    table = families("battery")
    kinds = {family["kind"] for family in table}
    assert kinds >= {"prose", "dialogue", "code", "arithmetic", "list", "other-language"}
    for register in REGISTERS:
        held = {family["kind"] for family in table if family.get("register") == register}
        assert len(held) >= 2, f"{register} is confounded with the kind {held}"


@pytest.mark.parametrize("register", [*REGISTERS, None])
def test_battery_length_classes_hold_in_words(register):
    of_class = {length: [] for length in ("short", "medium", "long")}
    for family in families("battery"):
        if family.get("register") == register:
            of_class[family["length"]] += map(words, family["prompts"])
    assert max(of_class["short"]) <= 7
    assert max(of_class["medium"]) <= 18
    assert min(of_class["long"]) >= 17
    assert mean(of_class["short"]) * 2 < mean(of_class["medium"])
    assert mean(of_class["medium"]) * 2 < mean(of_class["long"])


@pytest.mark.parametrize("name", SETS)
def test_prompts_are_clean_and_unfinished(name):
    for text in prompts(name):
        assert text == text.strip(), repr(text)
        assert words(text) >= 2, repr(text)
        assert not text.endswith((" .", "!", "?", "…")), repr(text)
        # "json." and "=> response." wait for the name of a method.
        assert not text.endswith(".") or text.endswith(("= json.", "response.")), repr(text)


def test_no_prompt_occurs_twice_in_any_set():
    told = Counter(" ".join(text.casefold().split()) for name in SETS for text in prompts(name))
    assert [text for text, count in told.items() if count > 1] == []
    assert len(told) == 25 + 44 * 8 + 30 * 8


def test_length_matched_crosses_register_and_topic():
    table = families("length-matched")
    crossed = Counter((family["register"], family["topic"]) for family in table)
    topics = {topic for _, topic in crossed}
    assert len(topics) == 6
    assert crossed == {(register, topic): 1 for register in REGISTERS for topic in topics}
    assert {len(family["prompts"]) for family in table} == {8}


@pytest.mark.parametrize(("band", "low", "high"), [(0, 6, 7), (1, 9, 12), (2, 13, 17), (3, 19, 26)])
def test_length_matched_bands_agree_between_registers(band, low, high):
    counts = {register: [] for register in REGISTERS}
    for family in families("length-matched"):
        counts[family["register"]] += map(words, family["prompts"][2 * band : 2 * band + 2])
    assert {len(held) for held in counts.values()} == {12}
    assert min(map(min, counts.values())) >= low
    assert max(map(max, counts.values())) <= high
    means = [mean(held) for held in counts.values()]
    assert max(means) / min(means) <= 1.08


def test_length_matched_registers_agree_where_five_registers_does_not():
    def spread(name):
        of_register = {register: [] for register in REGISTERS}
        for family in families(name):
            if "register" in family:
                of_register[family["register"]] += map(words, family["prompts"])
        means = [mean(held) for held in of_register.values()]
        return max(means) / min(means)

    assert spread("length-matched") <= 1.035
    assert spread("battery") <= 1.30
    assert spread("five-registers") > 2.5
