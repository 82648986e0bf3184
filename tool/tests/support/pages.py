"""Written reports: how the tests build one, read its page and open it in a browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from html.parser import HTMLParser

import pytest
from playwright.sync_api import sync_playwright

from refutable.evidence.json import write
from refutable.evidence.observations import write_observations


def save(folder, evidence, frame):
    """Write evidence and observations into a folder; return the path of the evidence."""
    write(evidence, folder / "evidence.json")
    write_observations(frame, folder / "observations.parquet")
    return folder / "evidence.json"


class Page(HTMLParser):
    """Elements, attributes and the text outside of style and script."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.texts, self.data = [], [], [], []
        self._open = []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v) for k, v in attrs]
        self._open.append(tag)
        if tag == "data":
            self.data.append(float(dict(attrs)["value"]))

    def handle_endtag(self, tag):
        # What was left open inside of it ends with it.
        if tag in self._open:
            last = len(self._open) - 1 - self._open[::-1].index(tag)
            del self._open[last:]

    def handle_data(self, data):
        if not {"style", "script"} & set(self._open):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())


def page_of(folder):
    """Read the page of a built report."""
    return Page((folder / "report.html").read_text("utf-8"))


def chromium():
    """The browser of this machine; tests that need one are skipped where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    return path


@contextmanager
def opened(path, fragment="", *, width=1400, height=900, scripts=True):
    """Open a file in headless Chromium and lend the page to click, type and measure on."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            size = {"width": width, "height": height}
            page = browser.new_page(viewport=size, java_script_enabled=scripts)
            page.goto(path.as_uri() + (f"#{fragment}" if fragment else ""))
            yield page
        finally:
            browser.close()


def printed(path, folder):
    """Text of a page as the browser prints it, pages parted by form feeds."""
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("no pdftotext is installed")
    options = (f"--user-data-dir={folder / 'print'}", f"--print-to-pdf={folder / 'page.pdf'}")
    words = ("--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer")
    subprocess.run(
        [chromium(), *words, *options, path.as_uri()], capture_output=True, timeout=90, check=False
    )
    if not (folder / "page.pdf").is_file():
        pytest.skip("Chromium does not print here")
    done = subprocess.run(
        [reader, folder / "page.pdf", "-"], capture_output=True, text=True, check=True
    )
    return done.stdout


def browse(path, profile, fragment=""):
    """Load a file in headless Chromium; return its DOM after scripts, and errors and requests."""
    browser = chromium()
    options = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --enable-logging=stderr "
        "--virtual-time-budget=2000 --dump-dom"
    )
    profile.mkdir(exist_ok=True)
    # A browser without a way out: whatever it asks for fails, and its log of the net tells.
    private = ("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}",
           f"--log-net-log={profile / 'net.json'}",
           path.as_uri() + (f"#{fragment}" if fragment else ""))  # fmt: skip
    done = subprocess.run(
        [browser, *options.split(), *private],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=os.environ | {"LANG": "C.UTF-8"},
    )
    if not done.stdout:
        pytest.skip(f"Chromium does not start here: {done.stderr.strip()[-200:]}")
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, errors + requests(profile / "net.json")


def requests(log):
    """What the page itself asked the net for; the browser's own errands have no origin."""
    # One event a line, whether or not the browser had the time to close the list.
    lines = [
        line.rstrip().rstrip(",") for line in log.read_text().splitlines() if '"initiator"' in line
    ]
    sent = [json.loads(line.removesuffix("]}"))["params"] for line in lines]
    return [f"requested {p['url']}" for p in sent if p["initiator"] != "not an origin"]
