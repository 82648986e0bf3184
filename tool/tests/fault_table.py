"""The table of faults in docs/gate.md: each fault is planted in a copy of a model and gated.

    python tool/tests/fault_table.py MODEL [--prompts NAME|FILE] [--only NAME ...]

MODEL is a Llama-shaped folder with one model.safetensors, as `save_pretrained` writes it. The exit
code is 1 if a fault passed, if the first line names another cause, or if a harmless copy failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support import faults, finer_faults, more_faults

from refutable.evidence.release import Release
from refutable.gate.policy import Policy
from refutable.gate.runs import compare_releases
from refutable.gate.wording import first_line
from refutable.measurement.harness import open_harness
from refutable.measurement.release import release_of
from refutable.spec.prompts import PromptLibrary
from refutable.system.paths import fixtures


@dataclass(frozen=True, slots=True)
class Row:
    kind: str
    fault: faults.Fault
    line: str
    failed: bool

    @property
    def right(self) -> bool:
        expected = self.kind == "fault" and self.fault.failing
        return self.failed == expected and faults.names(self.line, self.fault)


def measured(folder: Path, prompts: str) -> Release:
    library = PromptLibrary([fixtures()], base=Path.cwd())
    return release_of(open_harness(library), str(folder), prompts)


def rows(model: Path, prompts: str, only: list[str]) -> Iterator[Row]:
    base = measured(model, prompts)
    for kind, known in (
        ("fault", (*faults.FAULTS, *more_faults.FAULTS, *finer_faults.FAULTS)),
        ("harmless", (*faults.HARMLESS, *more_faults.HARMLESS, *finer_faults.HARMLESS)),
    ):
        for fault in known:
            if only and fault.name not in only:
                continue
            with tempfile.TemporaryDirectory() as place:
                folder = faults.copy(model, Path(place) / "candidate")
                fault.make(folder)
                answer = compare_releases(base, measured(folder, prompts), Policy())
                yield Row(kind, fault, first_line(answer), answer.failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", default="battery")
    parser.add_argument("--only", nargs="*", default=[])
    given = parser.parse_args()
    print("| | copy | exit | first line |\n| --- | --- | --- | --- |")
    wrong = 0
    for row in rows(given.model, given.prompts, given.only):
        wrong += not row.right
        mark = "" if row.right else " **wrong**"
        line = row.line.replace("|", "\\|")
        print(f"| {row.kind}{mark} | {row.fault.name} | {int(row.failed)} | {line} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
