"""Standard terms stand where private ones stood, in code and in documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CODE = [ROOT / "tool", ROOT / "claims", ROOT / "docs"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Private name, in any spelling, to the term that took its place.
NAMES = {
    "laboratory": "harness",
    "measuring": "ObservationArchive",
    "passes": "ModelRunner",
    "second_process": "worker",
    "drawn_with": "recorded_with",
    "at_hand": "weights_available",
    "own": "model",
    "ours": "base, or model",
    "mine": "model",
    "theirs": "candidate, or control",
    "found": "what it is",
    "places": "coordinates, or indices",
    "witness": "counterexample",
}
# Keywords of claims and their parts, to what they are called now.
KEYWORDS = {
    "says": "statement",
    "beside": "also_record",
    "without": "exclude_seeds",
    "like": "kernel",
}
WORDS = {
    r"\blaborator(y|ies)\b": "harness",
    r"\bsecond process(es)?\b": "worker",
    r"\bwitness(es)?\b": "counterexample",
    r"\bdrawn_with\b": "recorded_with",
    r"\bat_hand\b": "weights_available",
}
# Words that are plain English where they count passes made over tokens.
PLAIN = {"passes", "measuring"}


def modules() -> list[Path]:
    return [path for folder in CODE for path in sorted(folder.rglob("*.py")) if path.is_file()]


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that a module gives or reads, with its line."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name, line
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, line
            case ast.keyword(arg=str(name)):
                yield name, line


def private(name: str) -> str | None:
    """What a private name is called now."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().strip("_")
    if words in PLAIN and not name[0].isupper():
        return None
    return NAMES.get(words) or next((NAMES[w] for w in words.split("_") if w == "witness"), None)


@pytest.mark.parametrize("top", ["tool/refutable", "tool/tests", "tool/bench", "claims", "docs"])
def test_no_name_is_a_private_one(top: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}, say {term}"
        for path in modules()
        if path.is_relative_to(ROOT / top)
        for name, line in identifiers(ast.parse(path.read_text("utf-8")))
        if (term := private(name)) is not None
    ]
    assert wrong == []


def test_claims_are_written_with_the_keywords_of_the_table() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.value.lineno}: {node.arg}=, say {KEYWORDS[node.arg]}="
        for path in modules()
        if path.is_relative_to(ROOT / "claims")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.keyword) and node.arg in KEYWORDS
    ]
    assert wrong == []


def test_documents_and_docstrings_say_the_standard_term() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]}, say {term}"
        for path in [*PAGES, *modules()]
        if path != Path(__file__)
        for form, term in WORDS.items()
        for match in re.finditer(form, path.read_text("utf-8"), re.IGNORECASE)
    ]
    assert wrong == []


def test_a_private_name_is_noticed_however_it_is_spelt() -> None:
    assert private("found") == "what it is"
    assert private("_Laboratory") == "harness"
    assert private("stored_witness") == "counterexample"
    assert private("own_observables") is None
    assert private("passes") is None
    assert private("Passes") == "ModelRunner"
