"""The command line's own words: lists, cards, the cache, errors of one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

from refutable import cli
from refutable.capture.store import ObservationKey, Store


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "240")


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["refutable", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    out, err = capsys.readouterr()
    code = left.value.code
    return (code if isinstance(code, int) else 0), out, err


@pytest.mark.parametrize(
    ("what", "rows"),
    [
        ("claims", ["gain.layernorm-dampens", "last-block-gain G1"]),
        ("models", ["tiny-layernorm", "smollm2-135m", "92.9 MB", "Apache-2.0"]),
        ("prompts", ["five-registers", "battery"]),
        ("observables", ["residual_norm", "next_token_entropy", "nats", "prompt, layer"]),
    ],
)
def test_lists(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
    rows: list[str],
) -> None:
    code, out, err = run(monkeypatch, capsys, "list", what)
    assert (code, err) == (0, "")
    for row in rows:
        assert row in out


def test_a_card_shows_the_claim(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from refutable.catalogue import find_claim

    code, out, _ = run(monkeypatch, capsys, "show", "gain.layernorm-dampens")
    claim = find_claim("gain.layernorm-dampens")
    assert code == 0
    flat = " ".join(out.split())
    for text in (claim.says, claim.refuted_if, claim.predicts.says, *claim.observables):
        assert " ".join(text.split()) in flat
    assert "last-block-gain G1" in flat


def test_the_cache_is_shown_and_cleared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = Store(tmp_path / "observations")
    key = ObservationKey("w", "t", "p", "no-bos", "residual_norm", 1, "float32", "cpu")
    store.put(key, xr.DataArray([1.0, 2.0], dims="prompt"))
    code, out, _ = run(monkeypatch, capsys, "cache")
    assert code == 0
    assert "in 1 files" in out
    assert str(tmp_path) in out
    assert store.get(key) is not None
    code, out, _ = run(monkeypatch, capsys, "cache", "--clear")
    assert code == 0
    assert store.get(key) is None
    assert "removed" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("show", "gain.layernorm-dampen"), "did you mean gain.layernorm-dampens"),
        (("verify", "nothing.like-it"), "no claim matches 'nothing.like-it'"),
        (("report", "no-such-file.json"), "no evidence at no-such-file.json"),
        (("fetch", "tiny-layernrm"), "did you mean tiny-layernorm"),
    ],
)
def test_errors_are_one_line_with_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    says: str,
) -> None:
    code, out, err = run(monkeypatch, capsys, *words)
    assert code == 2
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("refutable: ")
    assert says in line


def test_unknown_words_are_usage_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("list", "weather"), ("verify", "--colour"), ("nonsense",)):
        code, out, err = run(monkeypatch, capsys, *words)
        assert code == 2
        assert out == ""
        assert "Traceback" not in err
