"""The table of faults in docs/gate.md: each fault is planted in a copy of a model and gated.

    python tool/tests/fault_table.py MODEL [--prompts NAME|FILE] [--only NAME ...] [--keep FILE]

MODEL is a Llama-shaped folder with one model.safetensors, as `save_pretrained` writes it. The exit
code is 1 if a fault passed, if the first line names another cause, or if a harmless copy failed.
With `--keep` each row is added to FILE as soon as it is known, and rows that are there already are
not made again: what was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support import faults, finer_faults, more_faults, wider_faults

from refutable.errors import RefutableError, one_line
from refutable.evidence.release import Release
from refutable.gate.answer import Answer
from refutable.gate.policy import Policy
from refutable.gate.runs import compare_releases
from refutable.gate.wording import first_line
from refutable.measurement.harness import open_harness
from refutable.measurement.release import release_of
from refutable.spec.prompts import PromptLibrary
from refutable.system.paths import fixtures

PARTS = (faults, more_faults, finer_faults, wider_faults)
KNOWN = (
    *(("fault", fault) for part in PARTS for fault in part.FAULTS),
    *(("harmless", copy) for part in PARTS for copy in part.HARMLESS),
)


@dataclass(frozen=True, slots=True)
class Row:
    kind: str
    name: str
    line: str
    failed: bool
    right: bool

    @property
    def text(self) -> str:
        mark = "" if self.right else " **wrong**"
        line = self.line.replace("|", "\\|")
        return f"| {self.kind}{mark} | {self.name} | {int(self.failed)} | {line} |"


def measured(folder: Path, prompts: str) -> Release:
    library = PromptLibrary([fixtures()], base=Path.cwd())
    return release_of(open_harness(library), str(folder), prompts)


def rows(model: Path, prompts: str, only: list[str], kept: dict[str, Row]) -> Iterator[Row]:
    base: Release | None = None
    for kind, fault in KNOWN:
        if only and fault.name not in only:
            continue
        if fault.name not in kept:
            base = base or measured(model, prompts)
        yield kept.get(fault.name) or made(model, prompts, (kind, fault), base)


def made(model: Path, prompts: str, planted: tuple[str, faults.Fault], base: Release | None) -> Row:
    kind, fault = planted
    assert base is not None
    with tempfile.TemporaryDirectory() as place:
        folder = faults.copy(model, Path(place) / "candidate")
        fault.make(folder)
        answer = answered(base, folder, prompts)
    line = first_line(answer)
    expected = kind == "fault" and fault.failing
    right = answer.failed == expected and faults.names(line, fault)
    return Row(kind, fault.name, line, answer.failed, right)


def answered(base: Release, folder: Path, prompts: str) -> Answer:
    """Gate a folder; one that cannot be measured is broken, as in a run."""
    try:
        return compare_releases(base, measured(folder, prompts), Policy())
    except RefutableError as problem:
        return Answer((), None, Policy(), broken={"the candidate": one_line(problem)})


def read_rows(file: Path | None) -> dict[str, Row]:
    if file is None or not file.is_file():
        return {}
    told = [Row(**json.loads(line)) for line in file.read_text().splitlines()]
    return {row.name: row for row in told}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", default="battery")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    kept = read_rows(given.keep)
    print("| | copy | exit | first line |\n| --- | --- | --- | --- |")
    wrong = 0
    for row in rows(given.model, given.prompts, given.only, kept):
        wrong += not row.right
        print(row.text, flush=True)
        if given.keep and row.name not in kept:
            with given.keep.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
