"""Lists and tables for the command line."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from refutable.models.registry import all_specs
from refutable.models.sources import gguf, hub, twin
from refutable.models.sources.twin import trained_twins
from refutable.models.spec import ModelSource
from refutable.observables.registry import REGISTRY
from refutable.spec.prompts import known_prompts, read_prompts
from refutable.store.store import Store
from refutable.studies.catalogue import bundled_claims, find_claim
from refutable.system.paths import cache_dir
from refutable.system.plugins import shared_data

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

    from refutable.models.spec import ModelSpec

READABLE = 44
"""Characters that a column of sentences needs; a terminal with less shows entries as blocks."""

_UNLIMITED = 400
_CARD = 100


def console() -> Console:
    """Return where lists are printed; a pipe gets one line for each row, as grep needs it."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _UNLIMITED
    return Console(width=width, soft_wrap=False)


def make_table(*columns: str, width: int | None = None) -> Table:
    """Return an empty table whose cells wrap instead of being cut."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, width=width)
    for place, column in enumerate(columns):
        # A name that is cut or folded cannot be copied.
        made.add_column(column, overflow="fold", no_wrap=place == 0)
    return made


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows whose first column is a name and whose last one is a sentence.

    A table where the sentences have room in it, else a block for each row: the name and the short
    columns on one line, the sentence below.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Append a row."""
        self.rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what fits the width."""
        short = sum(
            max(len(row[place]) for row in [self.columns, *self.rows]) + 2
            for place in range(len(self.columns) - 1)
        )
        longest = max((len(row[-1]) for row in self.rows), default=0)
        if short + min(longest, READABLE) <= options.max_width:
            table = make_table(*self.columns)
            for column in table.columns[:-1]:
                column.no_wrap = True
            for row in self.rows:
                table.add_row(*map(_literal, row))
            yield table
            return
        yield from self._blocks()

    def _blocks(self) -> RenderResult:
        from rich.padding import Padding
        from rich.text import Text

        for name, *facts, sentence in self.rows:
            yield Text.assemble((name, "bold"), "  ", ", ".join(filter(None, facts)))
            if sentence:
                yield Padding(Text(sentence), (0, 0, 0, 4))


def _literal(text: str) -> Text:
    from rich.text import Text

    # [Q K V] in a sentence is no markup.
    return Text(text)


def table_of(what: str) -> Listing:
    """Return the list of all ``claims``, ``models``, ``prompts`` or ``observables``."""
    return {
        "claims": _claims,
        "models": _models,
        "prompts": _prompts,
        "observables": _observables,
    }[what]()


def _claims() -> Listing:
    listing = Listing(("claim", "row", "statement"))
    for claim in bundled_claims():
        listing.add(claim.id, f"{claim.source.study} {claim.source.ref}", claim.statement)
    return listing


def _models() -> Listing:
    listing = Listing(("model", "norm", "weights", "default", "licence", "description"))
    for spec in all_specs():
        listing.add(
            spec.id,
            spec.norm or "",
            _weights(spec),
            "default" if spec.default else "",
            spec.license or "",
            spec.description,
        )
    return listing


def _weights(spec: ModelSpec) -> str:
    """Say where the weights are, or what fetching them costs."""
    if spec.source is ModelSource.TWIN:
        return "shipped" if twin.folder_of(spec) else "observations only"
    if spec.source is ModelSource.HUB:
        here = hub.cached(spec) is not None
    else:
        here = gguf.converted(spec.sha256) is not None
    if here:
        return "fetched"
    size = spec.size_bytes / 1e9
    amount = f"{size:.1f} GB" if size >= 1 else f"{size * 1e3:.0f} MB"
    where = "hub" if spec.source is ModelSource.HUB else "package"
    return f"{where}, {amount}"


def _prompts() -> Listing:
    listing = Listing(("prompts", "n", "hash", "description"))
    for path in known_prompts(folder / "prompts" for folder in shared_data()).values():
        prompts = read_prompts(path)
        number = f"{len(prompts)} in {len(prompts.families)} families"
        listing.add(prompts.name, number, prompts.content_hash[:12], prompts.description)
    return listing


def _observables() -> Listing:
    listing = Listing(("observable", "dims", "unit", "description"))
    for item in REGISTRY:
        listing.add(item.name, ", ".join(item.dims) or "scalar", item.unit, item.description)
    return listing


def card_of(claim_id: str) -> Table:
    """Return everything a claim states, as a two-column table."""
    claim = find_claim(claim_id)
    report = claim.report()
    table = make_table("", claim.id, width=None if sys.stdout.isatty() else _CARD)
    rows = {
        "statement": report.statement,
        "refuted if": report.refuted_if,
        "measures": report.quantity,
        "predicts": report.predicted,
        "about": report.applies_to,
        "control": report.control or f"none: {report.no_control}".removesuffix(": "),
        "replication": claim.replication.statement if claim.replication else "none",
        "observables": ", ".join(claim.observables),
        "prompts": claim.prompts or "battery, or what --prompts names",
        "arms": ", ".join(claim.arms),
        "kind": report.kind,
        "gate margin": "none" if report.margin is None else f"{report.margin:.3g} {report.unit}",
        "source": f"{report.study} {report.ref} {report.citation}".strip(),
    }
    for name, text in rows.items():
        table.add_row(name, _literal(text))
    return table


def cache_table(*, clear: bool = False) -> Table:
    """Return what is kept between runs; with `clear`, delete the stored observations first."""
    store = Store(cache_dir() / "observations")
    removed = store.clear() if clear else None
    table = make_table("kept", "where", "size")
    for name, folder in (
        ("observations", cache_dir() / "observations"),
        ("converted models", cache_dir() / "converted"),
        ("trained twins", trained_twins()),
    ):
        files = [p for p in folder.rglob("*") if p.is_file()] if folder.exists() else []
        size = sum(p.stat().st_size for p in files)
        table.add_row(name, str(folder), f"{size / 1e6:,.1f} MB in {len(files)} files")
    if removed is not None:
        table.add_row("removed", "observations", f"{removed}")
    return table
