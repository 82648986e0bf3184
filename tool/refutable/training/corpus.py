"""The twins' corpus: fetch, extract, split by document, digest."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from refutable.errors import RefutableError
from refutable.system import files
from refutable.system.paths import cache_dir, fixtures
from refutable.training.corpus_sources import SOURCES

_ONE_IN = 16
_EXCERPT_BYTES = 280_000


@dataclass(frozen=True, slots=True)
class Document:
    """One text of the corpus."""

    name: str
    """Source and place in it, e.g. "kjv/Ruth"."""
    text: str
    """Plain text, one paragraph a line."""
    held_out: bool
    """Whether it is never trained on."""
    public_domain: bool


@dataclass(frozen=True, slots=True)
class SourceCount:
    """How much of a source the corpus has."""

    source: str
    license: str
    documents: int
    held_out_documents: int
    characters: int


@dataclass(frozen=True, slots=True)
class Corpus:
    """The whole corpus in a fixed order."""

    documents: tuple[Document, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over names, split and texts: two corpora are the same if it is."""
        digest = hashlib.sha256()
        for document in self.documents:
            digest.update(f"{document.name}\0{document.held_out}\0{document.text}\0".encode())
        return digest.hexdigest()

    def split(self, *, held_out: bool) -> tuple[Document, ...]:
        """Return the documents of one side of the split, in order."""
        return tuple(d for d in self.documents if d.held_out is held_out)

    def counts(self) -> tuple[SourceCount, ...]:
        """Count documents and characters by source."""
        rows = []
        for source in SOURCES:
            of_source = [d for d in self.documents if d.name.startswith(f"{source.name}/")]
            held = sum(d.held_out for d in of_source)
            size = sum(len(d.text) for d in of_source)
            rows.append(SourceCount(source.name, source.license, len(of_source), held, size))
        return tuple(rows)


def is_held_out(name: str) -> bool:
    """Whether a document is held out: decided by its name alone, one in sixteen."""
    return hashlib.sha256(name.encode()).digest()[0] % _ONE_IN == 0


def build(folder: Path | None = None) -> Corpus:
    """Return the corpus, from the cache or freshly extracted.

    Parameters
    ----------
    folder
        Cache folder; by default ``twins`` in refutable's own.

    Returns
    -------
    Corpus

    Raises
    ------
    RefutableError
        When apt-get or dpkg-deb is missing or a package cannot be had.
    """
    folder = folder or cache_dir() / "twins"
    kept = folder / "corpus.json.gz"
    if kept.exists():
        rows = json.loads(gzip.decompress(kept.read_bytes()))
        return Corpus(tuple(Document(**row) for row in rows))
    root = folder / "packages"
    for package in sorted({name for source in SOURCES for name in source.packages}):
        _unpacked(package, root)
    documents = tuple(
        Document(
            f"{source.name}/{name}",
            text,
            is_held_out(f"{source.name}/{name}"),
            source.public_domain,
        )
        for source in SOURCES
        for name, text in source.documents(root)
        if text
    )
    corpus = Corpus(documents)
    packed = gzip.compress(json.dumps([asdict(d) for d in documents]).encode(), mtime=0)
    files.write(kept, packed)
    return corpus


def _unpacked(package: str, root: Path) -> None:
    """Download one Debian package and unpack it into ``root/package``, unless it is there."""
    target = root / package
    if target.is_dir():
        return
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise RefutableError(
                f"the corpus is taken from Debian packages and {tool} is missing: "
                "run this on Debian 12 or in a debian:12 container"
            )
    download = root / f"{package}.download"
    download.mkdir(parents=True, exist_ok=True)
    _run(["apt-get", "download", "-qq", package], download, package)
    archives = sorted(download.glob("*.deb"))
    if len(archives) != 1:
        raise RefutableError(f"apt-get left {len(archives)} archives of {package} in {download}")
    with files.draft(target) as unpacking:
        _run(["dpkg-deb", "-x", str(archives[0]), str(unpacking)], download, package)
    shutil.rmtree(download)


def _run(command: list[str], folder: Path, package: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RefutableError(
            f"cannot get the Debian package {package}: {said} (try `apt-get update` first)"
        )


def excerpt(documents: Iterable[Document], size: int = _EXCERPT_BYTES) -> str:
    """Return public-domain held-out text that may be committed.

    Each held-out public-domain document gives its beginning in proportion to its length, cut
    after a whole paragraph; documents are separated by an empty line.

    Parameters
    ----------
    documents
        Any documents; those trained on or under a licence are left out.
    size
        Most bytes of UTF-8 to return.

    Returns
    -------
    str
    """
    chosen = [d for d in documents if d.held_out and d.public_domain]
    total = sum(len(d.text.encode()) + 2 for d in chosen)
    share = min(1.0, size / max(total, 1))
    texts = []
    for document in chosen:
        room = int(share * len(document.text.encode()))
        taken = list[str]()
        for line in document.text.splitlines():
            room -= len(line.encode()) + 1
            if room < 0:
                break
            taken.append(line)
        if taken:
            texts.append("\n".join(taken))
    return "\n\n".join(texts)


def shipped_excerpt() -> tuple[str, ...]:
    """Return the documents of the committed public-domain held-out excerpt."""
    text = (fixtures() / "twins" / "heldout.txt").read_text("utf-8")
    return tuple(text.split("\n\n"))
