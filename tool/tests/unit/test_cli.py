"""The command line's own words: lists, cards, the cache, errors of one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

from refutable.cli import app as cli
from refutable.store.store import ObservationKey, Store


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
        ("models", ["tiny-layernorm", "smollm2-135m", "package, 93 MB", "Apache-2.0"]),
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
    from refutable.studies.catalogue import find_claim

    code, out, _ = run(monkeypatch, capsys, "show", "gain.layernorm-dampens")
    claim = find_claim("gain.layernorm-dampens")
    assert code == 0
    flat = " ".join(out.split())
    for text in (claim.statement, claim.refuted_if, claim.predicts.statement, *claim.observables):
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
    ("words", "expected"),
    [
        (("show", "gain.layernorm-dampen"), "did you mean gain.layernorm-dampens"),
        (("verify", "nothing.like-it"), "no claim matches 'nothing.like-it'"),
        (("verify", "gian.*"), "no claim matches 'gian.*': did you mean gain.*?"),
        (("report", "no-such-file.json"), "no evidence at no-such-file.json"),
        (("fetch", "tiny-layernrm"), "did you mean tiny-layernorm"),
        (("verify", "--model", ""), "--model is empty: name a model"),
        (("verify", "--model", "gpt2-xxl"), "unknown model 'gpt2-xxl': did you mean gpt2-xl"),
        (("verify", "--prompts", "batery"), "unknown prompt set 'batery': did you mean battery"),
        (("verify", "--arm", "bosx"), "--arm expects no-bos or bos, got 'bosx'"),
        (("verify", "--dtype", "float33"), "--dtype expects float32, bfloat16, float16"),
        (("verify", "--device", "toaster"), "device 'toaster' cannot be used here: choose cpu"),
        (("verify", "--baseline", "none.json"), "no baseline none.json: name a file that exists"),
        (("verify", "--out", __file__), "a file is in the way; name another folder"),
        (("report", "."), ". is a folder: name the evidence.json in it"),
        (("report", __file__), "is not whole JSON"),
        (("train", "no-position", "--recipe", "no"), "choose one of published, fast"),
        (("train", "no-position", "--device", "toaster"), "cannot be used here: choose cpu"),
        (("train", "no-position", "--out", __file__), "a file is in the way; name another folder"),
        (("train", "twins", "--variant", "no"), "no twin named 'no': did you mean none"),
        (("train", "twins", "--out", f"{__file__}/below"), "a file is in the way; name another"),
        (("bench", "--model", "tiny-layernorm", "--pairs", "0"), "expected pairs of 1 or more"),
        # What was typed makes no sense to the parser.
        (("list", "weather"), "'weather' is not one of 'claims', 'models', 'prompts'"),
        (("verify", "--zzz"), "No such option: --zzz (`refutable verify --help` says more)"),
        (("nonsense",), "No such command 'nonsense'. (`refutable --help` says more)"),
        (("show",), "Missing argument"),
        (("train", "twins", "--seed", "-3"), "Invalid value for '--seed'"),
    ],
)
def test_errors_are_one_line_with_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    expected: str,
) -> None:
    code, out, err = run(monkeypatch, capsys, *words)
    assert code == 2
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("refutable: ")
    assert expected in line


def test_a_command_without_its_words_shows_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, commands in (((), ("verify", "gate")), (("train",), ("no-position", "twins"))):
        code, out, err = run(monkeypatch, capsys, *words)
        assert (code, out) == (2, "")
        assert all(f"\n  {command}" in err for command in commands)


def test_help_sentences_are_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(monkeypatch, capsys, "--help")
    assert code == 0
    commands = out.partition("Commands:")[2].strip().splitlines()
    assert len(commands) >= 10
    assert [line for line in commands if not line.endswith(".") or line.endswith("..")] == []


def test_lists_fit_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from refutable.studies.catalogue import bundled_claims

    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(monkeypatch, capsys, "list", "claims")
    assert code == 0
    lines = [line.rstrip() for line in out.splitlines()]
    assert max(map(len, lines)) <= 80
    claim = next(iter(bundled_claims()))
    place = lines.index(f"{claim.id}  {claim.source.study} {claim.source.ref}")
    # Two lines hold any sentence at this width; the next entry starts at the left edge.
    below = [line for line in lines[place + 1 : place + 4] if line.startswith("    ")]
    assert " ".join(" ".join(below).split()) == claim.statement


def test_a_pipe_gets_a_row_for_each_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from refutable.studies.catalogue import bundled_claims

    monkeypatch.delenv("COLUMNS")
    _, out, _ = run(monkeypatch, capsys, "list", "claims")
    for claim in bundled_claims():
        (line,) = (row for row in out.splitlines() if row.split()[:1] == [claim.id])
        assert claim.statement in line


def test_brackets_of_a_sentence_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(monkeypatch, capsys, "list", "observables")
    assert "Share of the weights of [Q K V] in bins" in out


def test_a_cache_that_is_a_file_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", __file__)
    code, out, err = run(monkeypatch, capsys, "cache")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.endswith("let REFUTABLE_CACHE name a folder that can be written to")
