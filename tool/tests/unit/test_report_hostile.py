"""Names, prompts and reasons that attack a report stay text in it."""

from __future__ import annotations

import re

from support.pages import page_of


def test_hostile_texts_stay_text(hostile_report):
    page = page_of(hostile_report)
    assert page.tags.count("script") == 1
    assert [v for t, k, v in page.attributes if t == "img" and k == "src" and v == "x"] == []
    assert "</script><b>factual-0" in page.text
    assert not [n for _, n, _ in page.attributes if n.startswith("on")]
    assert '<script>alert("x")</script><img src=x onerror=alert(1)>' in page.text
    assert "{{ 7*7 }}" in page.text
    source = (hostile_report / "report.html").read_text("utf-8")
    for character in ("‮", "‬", "\x07"):
        assert character not in source
    assert "‹U+202E›desrever‹U+202C›" in page.text
    assert "Q" * 1000 not in source
    assert "10,240 characters in all" in page.text


def test_hostile_texts_stay_text_in_markdown(hostile_report):
    shown = (hostile_report / "report.md").read_text("utf-8")
    assert "<script" not in shown
    assert "<img" not in shown
    assert "‮" not in shown
    assert "&lt;script&gt;" in shown
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert widths == {3, 4, 5}, "a bar in a name must not add a column"
