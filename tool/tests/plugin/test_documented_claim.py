"""The project that docs/claims.md writes from nothing gives what the page says it gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.projects import verdicts

from refutable import predictions

PAGE = Path(__file__).parents[3] / "docs" / "claims.md"


def files_of_the_page() -> dict[str, str]:
    return dict(re.findall(r"^`([\w/.]+)`.*?^```\w+\n(.*?)^```", PAGE.read_text(), re.M | re.S))


@pytest.mark.usefixtures("_imported")
def test_the_first_claim_says_what_the_page_says(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(pytester.path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    files = files_of_the_page()
    assert sorted(files) == ["prompts/errands.toml", "pyproject.toml", "test_attention.py"]
    for name, text in files.items():
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    result = pytester.runpytest_inprocess("--claim-report=no")
    result.assert_outcomes(passed=1, failed=1)
    page = PAGE.read_text().splitlines()
    first = next(k for k, line in enumerate(page) if line.startswith("    REFUTED  "))
    documented = [line.removeprefix("    ") for line in page[first : first + 4]]
    start = result.stdout.lines.index(documented[0])
    assert result.stdout.lines[start : start + 4] == documented

    pytester.runpytest_inprocess("--claim-report=no", "--claim-update-baseline")
    again = pytester.runpytest_inprocess("--claim-report=no")
    again.assert_outcomes(passed=2)
    assert verdicts(pytester) == {
        ("mine.first-token-gets-more", "tiny-layernorm"): "inconclusive",
        ("mine.first-token-gets-more", "tiny-rmsnorm"): "refuted",
    }


def test_every_word_of_the_vocabulary_is_on_the_page() -> None:
    text = PAGE.read_text()
    words = [name for name in predictions.__all__ if name[0].islower()]
    assert [word for word in words if f"`{word}" not in text] == []


@pytest.mark.parametrize("kind", ["untrained", "shuffled", "placebo"])
def test_every_kind_of_control_is_on_the_page(kind: str) -> None:
    assert f"| `{kind}(" in PAGE.read_text()
