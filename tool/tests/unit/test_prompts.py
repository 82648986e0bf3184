"""Prompt sets: what is read, what is refused and in which words."""

from pathlib import Path

import pytest

from refutable.errors import PromptError
from refutable.spec.prompts import PromptSet, load_prompts, parse_prompts


def parse(**raw: object) -> PromptSet:
    return parse_prompts(raw, origin="mine.toml", default_name="mine")


def family(name: str, *prompts: str, **remarks: object) -> dict[str, object]:
    return {"name": name, "prompts": list(prompts), **remarks}


def test_prompts_keep_order_family_and_remarks() -> None:
    made = parse(family=[family("a", "one two", "three", register="x"), family("b", "four")])
    assert [p.id for p in made.prompts] == ["a/0", "a/1", "b/0"]
    assert [p.family for p in made.prompts] == ["a", "a", "b"]
    assert made.remark("register") == ("x", "x", "")
    assert made.name == "mine"


def test_token_ids_and_spans_are_read() -> None:
    made = parse(
        family=[{"name": "a", "input_ids": [[3, 1, 2], [5]], "spans": [{"thoughts": [1, 2]}, {}]}]
    )
    assert made.prompts[0].input_ids == (3, 1, 2)
    assert made.prompts[0].spans == {"thoughts": (1, 2)}
    assert made.prompts[1].shown == "5"


def test_hash_depends_on_prompts_not_on_names_or_remarks() -> None:
    first = parse(name="x", family=[family("a", "one")])
    renamed = parse(name="y", family=[family("a", "one", register="z")])
    changed = parse(name="x", family=[family("a", "one ")])
    moved = parse(name="x", family=[family("b", "one")])
    assert first.content_hash == renamed.content_hash
    assert len({first.content_hash, changed.content_hash, moved.content_hash}) == 3


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ([], "no [[family]] table"),
        ([{"prompts": ["x"]}], "family 1 needs a name"),
        ([family("a/b", "x")], "without '/'"),
        ([family("a", "x"), family("a", "y")], "'a' appears twice"),
        ([family("a")], "'a' holds no prompt"),
        ([family("a", "x", "  ")], "prompt 2 of family 'a' is empty"),
        ([family("a", "x  y"), family("b", "x y")], "a/0 and b/0 are the same"),
        ([{"name": "a"}], "either prompts or input_ids"),
        ([{"name": "a", "input_ids": [[1, -2]]}], "token ids of 0 or more"),
        ([{"name": "a", "input_ids": [[1], [1]]}], "are the same"),
        ([family("a", "x", "y", spans=[{}])], "2 prompts but 1 spans"),
    ],
)
def test_malformed_sets_are_refused_in_one_line(tables: list[object], words: str) -> None:
    with pytest.raises(PromptError) as caught:
        parse(family=tables)
    message = str(caught.value)
    assert words in message
    assert "mine.toml" in message
    assert "\n" not in message


def test_selecting_families_changes_the_hash_and_refuses_unknown_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[family]]\nname = "novel"\nprompts = ["a b"]\n'
        '[[family]]\nname = "factual"\nprompts = ["c d"]\n'
    )
    whole = load_prompts("mine", [tmp_path])
    part = load_prompts("mine:novel", [tmp_path])
    assert len(part) == 1
    assert part.name == "mine:novel"
    assert part.content_hash != whole.content_hash
    with pytest.raises(PromptError, match="no family 'nvel': did you mean novel"):
        load_prompts("mine:nvel", [tmp_path])


def test_unknown_sets_and_broken_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("name = [")
    with pytest.raises(PromptError, match=r"cannot read prompt file broken\.toml"):
        load_prompts("broken", [tmp_path])
    with pytest.raises(PromptError, match="did you mean broken"):
        load_prompts("brken", [tmp_path])
    with pytest.raises(PromptError, match="give a path that exists"):
        load_prompts(str(tmp_path / "none.toml"), [])
