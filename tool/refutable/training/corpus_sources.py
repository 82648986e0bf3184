"""What the twins' corpus is made of: Debian packages, their licences, and how text is taken out.

The packages are downloaded with ``apt-get download`` and unpacked with ``dpkg-deb -x`` into a
cache folder; nothing is installed and nothing of them runs but the ``bible`` program, which
prints the packed text of its own package.
"""

from __future__ import annotations

import gzip
import re
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from refutable.errors import RefutableError

Extractor = Callable[[Path], Iterator[tuple[str, str]]]
"""From the folder of unpacked packages to (document name, plain text)."""


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of prose."""

    name: str
    """Short name; the first part of its documents' names."""
    packages: tuple[str, ...]
    """Debian packages that hold it."""
    kind: str
    """What is being read: scripture, fiction, ..."""
    license: str
    """Licence of the text, as the package's copyright file states it."""
    public_domain: bool
    """Whether the text itself may be copied into a repository without any condition."""
    documents: Extractor


def paragraphs(text: str) -> str:
    """Join the lines of each paragraph; one paragraph a line, runs of blanks made one blank."""
    parts = (re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text))
    return "\n".join(part for part in parts if part)


def _bible(root: Path) -> Iterator[tuple[str, str]]:
    """One document a book; verse numbers and chapter headings are left out."""
    program = root / "bible-kjv/usr/bin/bible"
    data = root / "bible-kjv-text/usr/lib"
    done = subprocess.run(  # noqa: S603 - a program of a signed Debian package, fixed arguments
        [str(program), "-p", str(data), "-l100000", "Gen1:1-Rev22:21"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or "Genesis 1" not in done.stdout:
        raise RefutableError(f"the bible program printed no text: {done.stderr.strip()[:200]}")
    book, verses = "", list[str]()
    for line in done.stdout.splitlines():
        heading = re.fullmatch(r"(\S.*) \d+", line)
        verse = re.fullmatch(r"  \d+ (.*)", line)
        if heading and heading[1] != book:
            if verses:
                yield book, "\n".join(verses)
            book, verses = heading[1], []
        elif verse:
            verses.append(verse[1].strip())
    yield book, "\n".join(verses)


def _r_strings(data: bytes) -> list[str]:
    """Decode one R character vector in R's XDR serialization (versions 2 and 3)."""
    version = struct.unpack_from(">i", data, 2)[0]
    at = 14
    if version == 3:
        at += 4 + struct.unpack_from(">i", data, at)[0]
    flags, count = struct.unpack_from(">ii", data, at)
    at += 8
    if flags & 0xFF != 16:
        raise RefutableError(f"expected an R character vector, got R type {flags & 0xFF}")
    strings = []
    for _ in range(count):
        length = struct.unpack_from(">i", data, at + 4)[0]
        at += 8
        strings.append(data[at : at + max(length, 0)].decode("utf-8", "replace"))
        at += max(length, 0)
    return strings


def _austen(root: Path) -> Iterator[tuple[str, str]]:
    """One document a chapter of each novel."""
    folder = root / "r-cran-janeaustenr/usr/lib/R/site-library/janeaustenr/data"
    packed = (folder / "Rdata.rdb").read_bytes()
    at = 0
    while at < len(packed):
        stream = zlib.decompressobj()
        lines = _r_strings(stream.decompress(packed[at + 4 :]))
        at = len(packed) - len(stream.unused_data)
        title = lines[0].strip().title()
        chapters = re.split(r"(?im)^chapter [\divxlc]+\.?$", "\n".join(lines))
        for number, chapter in enumerate(chapters[1:], start=1):
            yield f"{title}/{number:02d}", paragraphs(chapter)


def _dictionary(name: str) -> Extractor:
    """Return the extractor of a dict-* package: one document a run of forty entries."""

    def documents(root: Path) -> Iterator[tuple[str, str]]:
        packed = root / f"dict-{name}/usr/share/dictd/{name}.dict.dz"
        text = gzip.decompress(packed.read_bytes()).decode("utf-8", "replace")
        # Entries start at the left margin after an empty line; links are written {so}.
        entries = re.split(r"\n\s*\n(?=\S)", re.sub(r"[{}]", "", text))
        entries = [entry for entry in entries if not entry.startswith("00-database")]
        for first in range(0, len(entries), 40):
            yield f"{first:04d}", "\n".join(paragraphs(e) for e in entries[first : first + 40])

    return documents


def _state(root: Path) -> Iterator[tuple[str, str]]:
    for file in sorted((root / "miscfiles/usr/share/state").glob("*.gz")):
        yield file.stem, paragraphs(gzip.decompress(file.read_bytes()).decode("utf-8", "replace"))


class _Prose(HTMLParser):
    """Collects running text of paragraphs, list items and headings; drops code and navigation.

    DocBook pages (the handbook) write a paragraph as ``<div class="para">``.
    """

    _TAKE = frozenset({"p", "li", "dd", "h1", "h2", "h3", "h4"})
    _DROP = frozenset({"pre", "script", "style", "nav", "table", "head", "dt"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._dropping = 0
        self._taking = 0
        self._divs: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        is_paragraph = tag == "div" and dict(attrs).get("class") == "para"
        if tag == "div":
            self._divs.append(is_paragraph)
        if tag in self._DROP:
            self._dropping += 1
        elif tag in self._TAKE or is_paragraph:
            self._taking += 1
            self.pieces.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        ends_paragraph = tag == "div" and bool(self._divs) and self._divs.pop()
        if tag in self._DROP:
            self._dropping = max(0, self._dropping - 1)
        elif tag in self._TAKE or ends_paragraph:
            self._taking = max(0, self._taking - 1)
            self.pieces.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self._taking and not self._dropping:
            self.pieces.append(data)


def prose_of_html(page: str) -> str:
    """Return the running text of a page, one paragraph a line; pieces under 40 characters go."""
    parser = _Prose()
    parser.feed(page)
    lines = paragraphs("".join(parser.pieces).replace("¶", "")).splitlines()
    return "\n".join(line for line in lines if len(line) >= 40)


def _html(folder: str, *patterns: str) -> Extractor:
    """Return the extractor of HTML pages below a folder: one document a page."""

    def documents(root: Path) -> Iterator[tuple[str, str]]:
        for pattern in patterns:
            for file in sorted((root / folder).glob(pattern)):
                text = prose_of_html(file.read_text("utf-8", "replace"))
                if len(text) >= 400:
                    yield f"{file.parent.name}/{file.stem}", text

    return documents


SOURCES = (
    Source(
        "kjv",
        ("bible-kjv", "bible-kjv-text"),
        "scripture",
        "public domain (copyright expired; translation of 1611)",
        True,
        _bible,
    ),
    Source(
        "austen",
        ("r-cran-janeaustenr",),
        "fiction",
        "public domain (novels of 1811 to 1818; the R package around them is MIT)",
        True,
        _austen,
    ),
    Source(
        "devil",
        ("dict-devil",),
        "satire",
        "public domain (copyright of 1911 expired)",
        True,
        _dictionary("devil"),
    ),
    Source(
        "jargon",
        ("dict-jargon",),
        "glossary",
        "public domain (Jargon File 4.4.7)",
        True,
        _dictionary("jargon"),
    ),
    Source("state", ("miscfiles",), "law", "public domain", True, _state),
    Source(
        "python",
        ("python3.11-doc",),
        "reference",
        "PSF-2.0",
        False,
        _html(
            "python3.11-doc/usr/share/doc/python3.11/html",
            *("tutorial/*.html", "howto/*.html", "faq/*.html", "reference/*.html"),
            *("extending/*.html", "using/*.html", "library/*.html"),
        ),
    ),
    Source(
        "handbook",
        ("debian-handbook",),
        "handbook",
        "GPL-2.0-or-later or CC-BY-SA-3.0",
        False,
        _html("debian-handbook/usr/share/doc/debian-handbook/html/en-US", "*.html"),
    ),
    Source(
        "faq",
        ("debian-faq",),
        "questions and answers",
        "Debian FAQ licence (verbatim copies with its notice; modified under the same terms)",
        False,
        _html("debian-faq/usr/share/doc/debian/FAQ", "*.en.html"),
    ),
)
