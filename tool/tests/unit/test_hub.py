"""The hub as a client meets it: a small one on loopback, with the ways in which hubs fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.hub import Hub, serving

from refutable.system.paths import fixtures

pytestmark = pytest.mark.slow
TINY = fixtures() / "tiny"
SECRET = "a-word-that-the-hub-knows"  # noqa: S105
# One process for several requests: what the client reads from its environment it reads once.
CHILD = """
import sys
from refutable.errors import RefutableError, one_line
from refutable.models.fetch import fetch
from refutable.models.registry import resolve

for line in sys.stdin:
    name, _, revision = line.strip().partition("@")
    try:
        found = fetch(resolve(name, revision=revision or None), lambda told: None)
        said = f"here {found.folder}"
    except RefutableError as problem:
        said = f"refused {one_line(problem)}"
    print(said, flush=True)
"""
Ask = Callable[[str], str]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub({"org/tiny": TINY / "rmsnorm", "org/tiny@v2": TINY / "layernorm"})) as made:
        yield made


@pytest.fixture
def child(tmp_path: Path, hub: Hub) -> Iterator[Callable[..., Ask]]:
    started: list[subprocess.Popen[str]] = []

    def start(**more: str) -> Ask:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        added = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "REFUTABLE_CACHE": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        one = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env=kept | added | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(one)

        def ask(line: str) -> str:
            assert one.stdin is not None
            assert one.stdout is not None
            one.stdin.write(f"{line}\n")
            one.stdin.flush()
            return one.stdout.readline().strip()

        return ask

    yield start
    for one in started:
        with one:
            one.kill()


def same(said: str, folder: Path) -> bool:
    """Whether the files of a download are those that were served."""
    state, _, place = said.partition(" ")
    assert state == "here", said
    names = ("config.json", "model.safetensors", "tokenizer.json")
    return all((Path(place) / n).read_bytes() == (folder / n).read_bytes() for n in names)


def test_download_revision_resume_and_cache(
    tmp_path: Path, hub: Hub, child: Callable[..., Ask]
) -> None:
    ask = child()
    said = ask("org/tiny")
    assert same(said, TINY / "rmsnorm")
    assert said.startswith(f"here {tmp_path / 'home'}")
    assert same(ask("org/tiny@v2"), TINY / "layernorm")

    hub.asked.clear()
    assert same(ask("org/tiny"), TINY / "rmsnorm")
    assert hub.asked == []  # what is in the cache is used without asking

    shutil.rmtree(tmp_path / "home")
    hub.cut = 200_000
    assert same(ask("org/tiny"), TINY / "rmsnorm")
    gets = [path for how, path, _ in hub.asked if how == "GET" and path.endswith(".safetensors")]
    assert len(gets) == 2  # stopped half-way, and asked for again

    assert "the hub has no org/tiny at revision v9: give a branch" in ask("org/tiny@v9")
    assert "the hub has no model org/other, or it is private" in ask("org/other")


def test_a_download_that_stopped_goes_on_in_another_process(
    tmp_path: Path, hub: Hub, child: Callable[..., Ask]
) -> None:
    assert same(child()("org/tiny"), TINY / "rmsnorm")
    (weights,) = (tmp_path / "home").rglob("model.safetensors")
    weights.resolve().unlink()
    weights.unlink()
    hub.asked.clear()
    assert same(child()("org/tiny"), TINY / "rmsnorm")
    gets = [path.rpartition("/")[2] for how, path, _ in hub.asked if how == "GET"]
    assert "model.safetensors" in gets
    assert "tokenizer.json" not in gets  # what is there is not fetched again


def test_what_refuses_is_told_in_one_line(hub: Hub, child: Callable[..., Ask]) -> None:
    ask = child()
    hub.missing = "config.json"
    assert "org/tiny on the hub has no config.json: it is no transformers model" in ask("org/tiny")
    hub.missing = ""
    hub.token = SECRET
    assert "org/tiny is gated: request access on the hub, then set HF_TOKEN" in ask("org/tiny")
    hub.token, hub.busy = "", 1_000
    assert "the hub asks to wait (429, too many requests)" in ask("org/tiny")
    hub.busy = 0
    hub.delay = 6.0
    slow = ask("org/tiny")
    assert slow.startswith("refused org/tiny is not in the hub's cache")
    assert "cannot be reached" in slow
    hub.delay = 0.0
    assert same(ask("org/tiny"), TINY / "rmsnorm")


def test_a_token_is_sent_and_offline_asks_nothing(hub: Hub, child: Callable[..., Ask]) -> None:
    hub.token = SECRET
    assert same(child(HF_TOKEN=SECRET)("org/tiny"), TINY / "rmsnorm")
    hub.asked.clear()
    offline = child(HF_HUB_OFFLINE="1", HF_TOKEN=SECRET)
    assert same(offline("org/tiny"), TINY / "rmsnorm")
    assert "HF_HUB_OFFLINE is set" in offline("org/tiny@v2")
    assert hub.asked == []
