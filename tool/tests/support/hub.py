"""A small hub on loopback: what the client asks of the real one, with its ways to fail."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """What is served, how it fails, and what was asked."""

    folders: dict[str, Path]
    """Repository (``org/name``, or ``org/name@revision``) to the folder of its files."""
    token: str = ""
    """Where it is set, requests without it are refused (401)."""
    busy: int = 0
    """How many requests to come are answered with 429."""
    delay: float = 0.0
    """Seconds before each answer."""
    cut: int = 0
    """Bytes after which the next large file stops, once."""
    missing: str = ""
    """Name of a file that is not there."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and range of each request."""
    url: str = ""

    def entry(self, repo: str, revision: str) -> tuple[Path, str] | None:
        """Return folder and commit of a revision: a branch by its name, or the commit itself."""
        for name, folder in self.folders.items():
            known, _, branch = name.partition("@")
            if known == repo and revision in (branch or "main", _commit(name)):
                return folder, _commit(name)
        return None


def _commit(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()  # noqa: S324  (as git does)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub for the length of a ``with`` block."""

    class Handler(_Handler):
        of = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of: Hub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub, path = self.of, unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path, self.headers.get("Range", "")))
        time.sleep(hub.delay)
        if hub.busy > 0:
            hub.busy -= 1
            self._send(429, {"Retry-After": "1"}, b"", body=body)
        elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            told = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}
            self._send(401, told, b"", body=body)
        elif path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"), body=body)
        else:
            self._file(path, body=body)

    def _api(self, path: str, *, body: bool) -> None:
        parts = path.split("/")
        repo = "/".join(parts[:2])
        entry = self.of.entry(repo, parts[3] if len(parts) > 3 else "main")
        if entry is None:
            self._send(404, {"X-Error-Code": self._lacks(repo)}, b"", body=body)
            return
        folder, commit = entry
        files = [
            {"rfilename": path.name, "path": path.name, "type": "file", "oid": "0" * 40}
            | {"size": path.stat().st_size}
            for path in sorted(folder.iterdir())
            if path.name != self.of.missing
        ]
        answer: Any = {"id": repo, "sha": commit, "siblings": files, "private": False}
        content = json.dumps(files if "tree" in parts else answer).encode()
        self._send(200, {"Content-Type": "application/json"}, content, body=body)

    def _lacks(self, repo: str) -> str:
        known = {name.partition("@")[0] for name in self.of.folders}
        return "RevisionNotFound" if repo in known else "RepoNotFound"

    def _file(self, path: str, *, body: bool) -> None:
        parts = path.strip("/").split("/")
        if len(parts) < 5 or parts[2] != "resolve":
            self._send(404, {}, b"", body=body)
            return
        repo, file = f"{parts[0]}/{parts[1]}", "/".join(parts[4:])
        entry = self.of.entry(repo, parts[3])
        if entry is None:
            self._send(404, {"X-Error-Code": self._lacks(repo)}, b"", body=body)
            return
        folder, commit = entry
        place = folder / file
        if file == self.of.missing or not place.is_file():
            told = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            self._send(404, told, b"", body=body)
            return
        content = place.read_bytes()
        told = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        status, begin = 200, 0
        if wanted := self.headers.get("Range", ""):
            begin = int(wanted.removeprefix("bytes=").partition("-")[0])
            status = 206
            told["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self._send(status, told, content[begin:], body=body)

    def _send(self, status: int, told: dict[str, str], content: bytes, *, body: bool) -> None:
        self.send_response(status)
        for name, value in told.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        cut = self.of.cut
        if cut and len(content) > cut:
            self.of.cut = 0
            self.wfile.write(content[:cut])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(content)
