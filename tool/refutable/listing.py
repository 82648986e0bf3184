"""Tables for the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def make_table(*columns: str) -> Table:
    """Return an empty table whose cells wrap instead of being cut."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        # A name that is cut or folded cannot be copied.
        made.add_column(column, overflow="fold", no_wrap=place == 0)
    return made


def table_of(what: str) -> Table:
    """Return the table of all ``claims``, ``models``, ``prompts`` or ``observables``."""
    return {
        "claims": _claims,
        "models": _models,
        "prompts": _prompts,
        "observables": _observables,
    }[what]()


def _claims() -> Table:
    from refutable.catalogue import bundled_claims

    table = make_table("claim", "row", "says", "predicts")
    for claim in bundled_claims():
        row = f"{claim.source.study} {claim.source.ref}"
        table.add_row(claim.id, row, claim.says, claim.predicts.says)
    return table


def _models() -> Table:
    from refutable.models.registry import all_specs

    table = make_table("model", "source", "norm", "size", "default", "licence")
    for spec in all_specs():
        size = f"{spec.size_bytes / 1e6:,.1f} MB" if spec.size_bytes else "?"
        default = "yes" if spec.default else ""
        table.add_row(spec.id, str(spec.source), spec.norm or "", size, default, spec.license or "")
    return table


def _prompts() -> Table:
    from refutable.paths import fixtures
    from refutable.prompts import known_prompts, read_prompts

    table = make_table("prompts", "n", "families", "hash", "says")
    for path in known_prompts([fixtures() / "prompts"]).values():
        prompts = read_prompts(path)
        table.add_row(
            prompts.name,
            str(len(prompts)),
            str(len(prompts.families)),
            prompts.content_hash[:12],
            prompts.says,
        )
    return table


def _observables() -> Table:
    import refutable.observables  # noqa: F401  (fills the registry)
    from refutable.observables.registry import REGISTRY

    table = make_table("observable", "dims", "unit", "says")
    for item in REGISTRY:
        table.add_row(item.name, ", ".join(item.dims) or "scalar", item.unit, item.says)
    return table


def card_of(claim_id: str) -> Table:
    """Return everything a claim states, as a two-column table."""
    from refutable.catalogue import find_claim

    claim = find_claim(claim_id)
    report = claim.report()
    table = make_table("", claim.id)
    rows = {
        "says": report.says,
        "refuted if": report.refuted_if,
        "measures": report.quantity,
        "predicts": report.statistic,
        "about": report.applies_to,
        "control": report.control or "none",
        "replication": claim.replication.says if claim.replication else "none",
        "observables": ", ".join(claim.observables),
        "prompts": claim.prompts or "the run's default",
        "arms": ", ".join(claim.arms),
        "kind": report.kind,
        "gate margin": "none" if report.margin is None else f"{report.margin:g} {report.unit}",
        "source": f"{report.study} {report.ref} {report.citation}".strip(),
    }
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def cache_table(*, clear: bool = False) -> Table:
    """Return what is kept between runs; with `clear`, delete the stored observations first."""
    from refutable.capture.store import Store
    from refutable.paths import cache_dir

    store = Store(cache_dir() / "observations")
    removed = store.clear() if clear else None
    table = make_table("kept", "where", "size")
    for name, folder in (
        ("observations", cache_dir() / "observations"),
        ("converted models", cache_dir() / "converted"),
    ):
        files = [p for p in folder.rglob("*") if p.is_file()] if folder.exists() else []
        size = sum(p.stat().st_size for p in files)
        table.add_row(name, str(folder), f"{size / 1e6:,.1f} MB in {len(files)} files")
    if removed is not None:
        table.add_row("removed", "observations", f"{removed}")
    return table
