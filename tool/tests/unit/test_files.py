"""Files appear whole or not at all, for every reader, and one place writes them."""

from __future__ import annotations

import ast
import os
import stat
import threading
from pathlib import Path

import pytest

import refutable
from refutable.errors import ClaimError, one_line
from refutable.system import files

PACKAGE = Path(refutable.__file__).parent


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "notes.txt"
    files.write(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    files.write(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [entry.name for entry in path.parent.iterdir()] == ["notes.txt"]


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    files.write(path, "old")
    with pytest.raises(TypeError), files.draft(path) as partial, partial.open("w") as file:
        file.write("half") + file.write(None)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with files.draft(target) as partial:
        partial.mkdir()
        (partial / "config.json").write_text("{}")
        assert not target.exists()
    assert [entry.name for entry in target.iterdir()] == ["config.json"]
    with pytest.raises(OSError, match=r"not empty|exists"), files.draft(target) as partial:
        partial.mkdir()
    assert list(tmp_path.iterdir()) == [target]
    assert (target / "config.json").exists()


def test_a_reader_beside_writers_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "shared.txt"
    contents = {letter * 200_000 for letter in "abc"}
    files.write(path, "a" * 200_000)
    writers = [
        threading.Thread(target=lambda text=text: [files.write(path, text) for _ in range(30)])
        for text in contents
    ]
    for writer in writers:
        writer.start()
    seen = [path.read_text() for _ in range(200)]
    for writer in writers:
        writer.join()
    assert set(seen) <= contents
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_are_those_of_the_users_other_files(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        files.write(tmp_path / "mine", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o666 & ~mask


def test_nobody_else_replaces_files() -> None:
    """Every call that puts one file in another's place is the writer's own."""
    calls = {("os", "replace"), ("os", "rename"), ("shutil", "move")}
    measured = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            called = (owner.id if isinstance(owner, ast.Name) else "", node.func.attr)
            # With one argument it is that of a path, with two that of a text.
            of_a_path = node.func.attr == "replace" and len(node.args) == 1 and not node.keywords
            if called in calls or of_a_path:
                measured.add(str(path.relative_to(PACKAGE)))
    assert measured == {"system/files.py"}


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (ClaimError("two\n  lines of ours"), "two lines of ours"),
        (ValueError("bad\nvalue"), "ValueError: bad value"),
        (ValueError(), "ValueError"),
        (KeyError("layer"), "KeyError: 'layer'"),
        (OSError(28, "No space left on device", "/disk/x"), "No space left on device (/disk/x)"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("odd"), "OSError: odd"),
    ],
)
def test_one_wording_of_an_exception(problem: Exception, line: str) -> None:
    assert one_line(problem) == line


def test_long_messages_of_others_are_cut_and_ours_are_not() -> None:
    assert one_line(ValueError("x" * 900)) == f"ValueError: {'x' * 285}..."
    assert one_line(ClaimError("x" * 900)) == "x" * 900
