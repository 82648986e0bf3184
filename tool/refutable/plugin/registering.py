"""Claims are written down before they are measured, and results say so."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

import pytest

from refutable.errors import RefutableError
from refutable.evidence.baseline import Cell as Place
from refutable.evidence.registry import NAME, Entry, Registry
from refutable.plugin.cases import cell_of, claim_of
from refutable.plugin.selection import is_skipped
from refutable.records import Registration
from refutable.spec.cell import Cell
from refutable.spec.claim import Claim
from refutable.spec.prompts import PromptLibrary
from refutable.spec.registration import source_hash
from refutable.system.paths import cache_dir, shipped_baseline, writable


class Registrar:
    """What a run writes down of its claims.

    Parameters
    ----------
    folder : Path
        Of the project; where it cannot be written to, the cache is.
    prompts : PromptLibrary
        Prompt sets by name.
    file : Path, optional
        The registry itself, where the user names one.
    """

    def __init__(self, folder: Path, prompts: PromptLibrary, file: Path | None = None) -> None:
        self._prompts = prompts
        self.note = ""
        try:
            place = file or writable(folder / ".refutable") / NAME
        except RefutableError as problem:
            place = cache_dir() / NAME
            self.note = f"claims are registered in {place}: {problem}"
        self.registry = Registry(place, [shipped_baseline().with_name(NAME)])
        if self.registry.damaged:
            self.note = f"{place}: {self.registry.damaged} lines cannot be read and are passed over"

    def register(
        self, items: list[pytest.Item], *, run: bool, recorded: Container[Place]
    ) -> tuple[int, int]:
        """Write down what the claims of the items say; return how many are new, and of how many.

        Parameters
        ----------
        items : list of pytest.Item
            The selected ones.
        run : bool
            Whether they are about to be measured.
        recorded : container of Cell
            Cells of which a verdict is known already.
        """
        registered = [(claim_of(item), cell_of(item)) for item in items if not is_skipped(item)]
        entries = [self.entry(claim, cell) for claim, cell in registered if claim and cell]
        known = [entry for entry in entries if entry is not None]
        return self.registry.register(known, run=run, recorded=recorded), len(known)

    def told(self, items: list[pytest.Item], recorded: Container[Place]) -> str:
        """Write down what is not about to be measured; return a line that tells so."""
        new, of_all = self.register(items, run=False, recorded=recorded)
        return f"{new} of {of_all} registered anew in {self.registry.file}"

    def entry(self, claim: Claim, cell: Cell) -> Entry | None:
        """Return what a claim says of a cell; nothing where its prompts cannot be read."""
        try:
            prompts = self._prompts(cell.prompts)
            label = self._prompts.label(cell.prompts)
        except RefutableError:
            return None
        region = claim.predicts.region
        return Entry(
            claim.id, cell.model, label, cell.arm, source_hash(claim), _word(claim),
            (region.low, region.high), claim.sesoi, prompts.content_hash[:16],
        )  # fmt: skip

    def state(self, claim: Claim, cell: Cell) -> Registration | None:
        """Say when a claim was registered, and what was changed since."""
        entry = self.entry(claim, cell)
        return None if entry is None else self.registry.state(entry)


def _word(claim: Claim) -> str:
    """Return the prediction without its region."""
    record = claim.predicts.record()
    rest = {k: v for k, v in record.parameters.items() if k not in ("low", "high")}
    return " ".join([record.kind, *(f"{name}={value!r}" for name, value in sorted(rest.items()))])
