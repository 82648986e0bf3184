"""``report.md``: the matrix and a line for each claim and model, short enough for a CI summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from refutable.evidence import over_models
from refutable.records import Evidence
from refutable.report import overview, tables, text
from refutable.report.cells import Cell, make_cell
from refutable.report.findings import FINDINGS, by_study, findings, head
from refutable.report.tables import Matrix, Row

LIMIT = 60_000
"""Bytes; a GitHub step summary takes 1 MiB in all steps together, a comment 65,536 characters."""

CHANGES = 12
"""Lines of what is not as recorded on the first screen."""
OPEN, CLOSE = "<details>", "</details>"


def render(evidence: Evidence) -> str:
    """Return the report as GitHub-flavoured Markdown.

    Parameters
    ----------
    evidence : Evidence
        The run.

    Returns
    -------
    str
        First a screen: findings by study, what is not as recorded, what could not be measured and
        what to read first. Then, folded, the matrix of each study and one line for each claim and
        model; at most `LIMIT` bytes, and where lines had to be left out for that, it says how many.
    """
    top = [*_head(evidence), *_changes(evidence), *_failures(evidence), *_first(evidence)]
    body: list[str] = []
    for matrix in tables.matrices(evidence):
        said = overview.worded(overview.counts(matrix.results))
        body += [
            f"\n{OPEN}<summary><b>{text.markdown(matrix.study)}</b>: {said}</summary>\n",
            *_matrix(matrix, evidence),
            "",
            *_lines(matrix, evidence),
            f"\n{CLOSE}",
        ]
    return _cut([*top, *body, *_foot(evidence)])


def _head(evidence: Evidence) -> Iterator[str]:
    yield "# What was claimed, and what holds\n"
    tally = overview.counts(evidence.results)
    yield "Claims: " + " · ".join(f"**{n} {head(name)}**" for name, n in tally.items())
    counts = tables.tally(evidence.results)
    cells = " · ".join(
        f"{tables.SYMBOLS[name]} {n} {'not applicable' if name == 'skipped' else name}"
        for name, n in counts.items()
    )
    yield f"\n{text.count(sum(counts.values()), 'cell')} (claim, model, arm): {cells}"
    read = tables.readings(evidence.results)
    if read:
        shown = ", ".join(f"{tables.READINGS[r][0]} {n} {r}" for r, n in read.items())
        yield f"\nNull controls: {shown}"
    by = by_study(findings(evidence.results))
    names = [name for name in FINDINGS if name in tally]
    if len(by) > 1:
        yield "\n| study | " + " | ".join(head(name) for name in names) + " |"
        yield "|" + " --- |" * (len(names) + 1)
        for study, of in by.items():
            numbers = " | ".join(str(of[name]) for name in names)
            yield f"| {text.markdown(study)} | {numbers} |"


def _first(evidence: Evidence) -> Iterator[str]:
    claims = {claim.id: claim for claim in evidence.claims}
    cells = [
        make_cell(r, claims[r.claim], evidence)
        for r in evidence.results
        if r.claim in claims and tables.state(r) != "skipped"
    ]
    leads = [lead for lead in overview.leads(cells) if lead.why != overview.MOVED]
    if leads:
        yield "\n## To read first\n"
    for lead in leads:
        where = text.markdown(lead.where, 60)
        yield (
            f"- {text.markdown(lead.statement, 200)} *{lead.why}* ({where}: "
            f"{text.markdown(lead.value)})"
        )


def _changes(evidence: Evidence) -> Iterator[str]:
    changed = tables.changed(evidence.results)
    if changed:
        yield "\n## Not as recorded in the baseline\n"
    for result in changed[:CHANGES]:
        where = _where(result.model, result.arm, result.prompts)
        yield f"- {text.markdown(result.claim)} on {where}: {tables.against_baseline(result)}"
    if len(changed) > CHANGES:
        yield f"- and {len(changed) - CHANGES} more, marked ≠ below"


def _failures(evidence: Evidence) -> Iterator[str]:
    reports = tables.failed_models(evidence)
    if reports:
        yield "\n## Not measured\n"
    for model in reports:
        failed = [c.name for c in model.checks if not c.passed]
        why = model.error or "failed: " + ", ".join(failed)
        yield f"- {text.markdown(model.id, 60)}: {text.markdown(why)}"


def _matrix(matrix: Matrix, evidence: Evidence) -> Iterator[str]:
    heads = [
        "<br>".join(text.markdown(part, 48) for part in (c.model, *extra))
        for c in matrix.columns
        for extra in [tables.column_label(c, matrix.columns)]
    ]
    if matrix.sparse:
        yield from _beside(matrix, evidence)
    else:
        yield "| " + " | ".join(["claim", *heads]) + " |"
        yield "|" + " --- |" * (len(heads) + 1)
        for row in matrix.spoken:
            cells = [
                _cell(make_cell(r, row.claim, evidence)) if r is not None else "" for r in row.cells
            ]
            yield "| " + " | ".join([_name(row), *cells]) + " |"
    if matrix.unspoken:
        names = text.listed((text.markdown(row.claim.id) for row in matrix.unspoken), 40)
        yield f"\nThese claims speak of none of these models: {names}."


def _beside(matrix: Matrix, evidence: Evidence) -> Iterator[str]:
    """Put a claim's cells beside it, a line each: columns would be empty in most rows."""
    yield "| claim | on | found |"
    yield "| --- | --- | --- |"
    for row in matrix.spoken:
        name = _name(row)
        for column, result in zip(matrix.columns, row.cells, strict=True):
            if result is None or tables.state(result) == "skipped":
                continue
            label = (result.model, *tables.column_label(column, matrix.columns))
            where = " · ".join(text.markdown(part, 60) for part in label)
            shown = _cell(make_cell(result, row.claim, evidence)).replace("<br>", " ")
            yield f"| {name} | {where} | {shown} |"
            name = ""


def _name(row: Row) -> str:
    return f"{text.markdown(row.claim.ref)} {text.markdown(row.claim.id)}"


def _cell(cell: Cell) -> str:
    if cell.state == "skipped":
        return "n/a"
    shown = f"{tables.SYMBOLS[cell.state]} {cell.word}{' ≠' if cell.changed else ''}"
    if cell.result.estimate is not None:
        shown += f"<br>{cell.value} {cell.ends}".rstrip()
    if cell.reading is not None:
        shown += f"<br>{cell.reading[0]} {cell.reading[1]}"
    return shown


def _lines(matrix: Matrix, evidence: Evidence) -> Iterator[str]:
    for row in matrix.rows:
        tried = [r for r in row.cells if r is not None and tables.state(r) != "skipped"]
        if not tried:
            continue
        claim = row.claim
        yield f"\n**{text.markdown(claim.id)}** {text.markdown(claim.statement)} "
        without = claim.no_control and f"; no null control: {text.markdown(claim.no_control)}"
        yield f"(refuted if {text.markdown(claim.refuted_if)}{without})\n"
        for result in tried:
            yield _line(make_cell(result, claim, evidence))


def _line(cell: Cell) -> str:
    result = cell.result
    parts = [
        f"- {tables.SYMBOLS[cell.state]} {_where(result.model, result.arm, result.prompts)}: "
        f"{cell.word}"
    ]
    estimate = result.estimate
    if estimate is not None:
        detail = " ".join(filter(None, (cell.value, cell.ends, text.markdown(estimate.unit))))
        if estimate.n:
            detail += f", n = {estimate.n:,}"
        # Batches and prompts that are taken as independent are their own families.
        if estimate.clusters and estimate.clusters != estimate.n:
            detail += f" in {text.count(estimate.clusters, 'family', 'families')}"
        if estimate.p is not None:
            detail += f", {text.probability(estimate.p).replace('<', '&lt;')}"
        if result.survives_holm is False and cell.state != "inconclusive":
            detail += " (not after Holm)"
        parts.append(detail)
    if cell.reading is not None:
        parts.append(f"control {cell.reading[1]}")
    if result.counterexample is not None:
        parts.append(f"counterexample: {text.markdown(result.counterexample.prompt, 120)}")
    if result.families_needed is not None:
        low, high = result.families_needed
        parts.append(f"{low:,} to {high:,} families would decide")
    if cell.why:
        parts.append(text.markdown(cell.why))
    if cell.state == "error":
        parts.append(text.markdown(result.reason))
    if cell.changed:
        parts.append(cell.baseline)
    return "; ".join(parts)


def _foot(evidence: Evidence) -> Iterator[str]:
    environment = evidence.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    yield "\n---\n"
    yield text.markdown(
        f"{environment.started} · {environment.device} · {environment.dtype} · "
        f"Python {environment.python}, {versions}"
    )
    for summary in evidence.over_models:
        yield f"\n{text.markdown(over_models.worded(summary))}"
    for note in evidence.notes:
        yield f"\n{text.markdown(note)}"


def _where(model: str, arm: str, prompts: str) -> str:
    parts = [text.markdown(model, 60), *(text.markdown(x, 60) for x in (arm, prompts) if x)]
    return " · ".join(parts)


def _cut(lines: Sequence[str]) -> str:
    """Join lines, leaving out the last ones past the limit; a fold that is open is closed."""
    kept: list[str] = []
    size = folds = 0
    for place, line in enumerate(lines):
        size += len(line.encode()) + 1
        if size > LIMIT - 160:
            kept += [f"\n{CLOSE}"] * folds
            kept.append(f"\n{len(lines) - place} more lines are left out: see report.html")
            break
        folds += (OPEN in line) - (CLOSE in line)
        kept.append(line)
    return "\n".join(kept) + "\n"
