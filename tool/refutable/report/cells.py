"""What a page shows of one result: its charts, its observations and its facts, as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from refutable.evidence.registry import worded
from refutable.records import (
    ClaimReport,
    Estimate,
    Evidence,
    ModelReport,
    Region,
    Replication,
    Result,
)
from refutable.report import tables, text
from refutable.report.charts import Line, number_line, strip
from refutable.report.reasons import why_open

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

Key = tuple[str, str, str]
"""Claim, prompts and arm."""

FAMILIES_SHOWN = 60
_ORDINALS = ("First", "Second", "Third")


@dataclass(frozen=True, slots=True)
class Extreme:
    """One of the outermost prompts of a result."""

    value: str
    text: str
    family: str


@dataclass(frozen=True, slots=True)
class Strip:
    """The observations of a result by family, or by model for a claim about several."""

    title: str
    dot: str
    """What one dot is."""
    row: str
    """What one row is."""
    chart: Markup
    lowest: tuple[Extreme, ...]
    highest: tuple[Extreme, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One result as a page shows it."""

    result: Result
    claim: ClaimReport
    model: ModelReport | None
    anchor: str
    state: str
    word: str
    wording: str
    value: str
    ends: str
    baseline: str
    changed: bool
    figures: tuple[str, ...]
    why: str = ""
    """In a few words, why an inconclusive result is open."""
    estimate: Markup | str = ""
    contrast: Markup | str = ""
    replication: Markup | str = ""
    strips: tuple[Strip, ...] = ()

    @property
    def registration(self) -> str:
        """When the claim was registered, and what was changed since; empty where nothing says."""
        registration = self.result.registration
        return "" if registration is None else worded(registration)

    @property
    def reading(self) -> tuple[str, str, str] | None:
        """Symbol, word and meaning of the control's reading."""
        control = self.result.control
        if control is None or control.reading is None:
            return None
        return tables.READINGS[control.reading][0], str(control.reading), control.reason


def make_cell(
    result: Result,
    claim: ClaimReport,
    evidence: Evidence,
    *,
    observed: Mapping[Key, pd.DataFrame] | None = None,
    figures: tuple[str, ...] = (),
) -> Cell:
    """Gather what a page shows of one result; charts are left out where there is no result."""
    value, ends = text.interval(result.estimate, claim.region)
    cell = Cell(
        result=result,
        claim=claim,
        model=next((m for m in evidence.models if m.id == result.model), None),
        anchor=tables.anchor(result),
        state=tables.state(result),
        word=tables.word(result, claim),
        wording=tables.wording(result, claim),
        value=value,
        ends=ends,
        baseline=tables.against_baseline(result),
        changed=bool(tables.changed([result])),
        figures=figures,
        why=why_open(result, claim)[1],
    )
    if observed is None or cell.state in ("skipped", "error"):
        return cell
    key = (result.claim, result.prompts, result.arm)
    return replace(
        cell,
        estimate=_estimate_chart(result, claim),
        contrast=_contrast_chart(result, claim),
        replication=_replication_chart(result.replication),
        strips=tuple(_strips(result, claim, observed.get(key))),
    )


def by_result(frame: pd.DataFrame) -> dict[Key, pd.DataFrame]:
    """Split what the claims' bodies returned by claim, prompts and arm."""
    owned = frame[frame["claim"].notna()]
    keys = ["claim", "prompts", "arm"]
    filled = owned.assign(**{name: owned[name].fillna("") for name in keys})
    return {
        (str(key[0]), str(key[1]), str(key[2])): rows
        for key, rows in filled.groupby(keys, sort=False)
    }


def _estimate_chart(result: Result, claim: ClaimReport) -> Markup | str:
    estimate = result.estimate
    if estimate is None:
        return ""
    lines = [Line("estimate", estimate, state=tables.state(result))]
    if estimate.check_low is not None and estimate.check_high is not None:
        check = replace(estimate, low=estimate.check_low, high=estimate.check_high)
        lines.append(Line("guard of the verdict", check, "check"))
    comparable = [
        part
        for part in result.parts
        if part.unit == estimate.unit and part.value is not None and part.low != estimate.low
    ]
    lines += [Line(part.part or "part", part, "part") for part in comparable]
    control = result.control
    if control is not None and control.estimate is not None:
        lines.append(Line(f"{control.kind} control", control.estimate, "control"))
    unit = estimate.unit or claim.unit
    references = _landmarks(claim) if estimate.unit in ("", claim.unit) else []
    return number_line(lines, claim.region, unit=unit, references=references, label=claim.predicted)


def _landmarks(claim: ClaimReport) -> list[tuple[str, float]]:
    """What tells how a claim fails: 0 and the smallest effect of interest on the other side."""
    region = claim.region
    above = region.high is None and region.low is not None and region.low >= 0
    below = region.low is None and region.high is not None and region.high <= 0
    if not (above or below):
        return []
    marks = [("0", 0.0)]
    if claim.sesoi:
        marks.append(("smallest effect, opposite", -claim.sesoi if above else claim.sesoi))
        if claim.sesoi != abs((region.low if above else region.high) or 0.0):
            marks.append(("smallest effect", claim.sesoi if above else -claim.sesoi))
    return marks


def _contrast_chart(result: Result, claim: ClaimReport) -> Markup | str:
    control = result.control
    if control is None or control.contrast is None:
        return ""
    band = Region(-claim.sesoi, claim.sesoi) if claim.sesoi else Region(0.0, 0.0)
    line = Line("model minus control", control.contrast, "contrast")
    return number_line(
        [line], band, unit=control.contrast.unit or claim.unit, label="model minus control"
    )


def _replication_chart(replication: Replication | None) -> Markup | str:
    if replication is None:
        return ""
    references = sorted(replication.published.items())
    return number_line(
        [Line("as published", replication.estimate, "replication")],
        replication.region,
        unit=replication.estimate.unit,
        references=references,
        label=replication.statement,
    )


def _strips(result: Result, claim: ClaimReport, rows: pd.DataFrame | None) -> Iterator[Strip]:
    """Yield one strip for each quantity that the claim's body returned."""
    if rows is None:
        return
    usable = rows.dropna(subset=["value", "family", "prompt"])
    # A claim about several models has rows under the name of each.
    members = [result.model] if (usable["model"] == result.model).any() else list(result.models)
    usable = usable[usable["model"].isin(members)]
    quantities = list(usable["quantity"].unique())
    for place, quantity in enumerate(quantities):
        of_quantity = usable[usable["quantity"] == quantity]
        measured = of_quantity[of_quantity["control"].isna()]
        if measured.empty:
            continue
        which = f"{_ORDINALS[place]} quantity" if 1 < len(quantities) <= 3 else str(quantity)
        by = "family" if len(members) == 1 else "model"
        title = f"Observations by {by}" if len(quantities) == 1 else f"{which} by {by}"
        extra = [d for d in ("layer", "head", "at") if measured[d].notna().any()]
        names = ["other coordinates" if d == "at" else d for d in extra]
        if extra:
            title += f" (each prompt's mean over {' and '.join(names)})"
        shown = claim if tables.of_values(claim) else None
        yield _strip(title, by, of_quantity, shown)


def _strip(title: str, by: str, rows: pd.DataFrame, claim: ClaimReport | None) -> Strip:
    measured = rows[rows["control"].isna()]
    point = [by, "prompt"] if by == "family" else [by, "family"]
    points = measured.groupby(point, sort=False)["value"].mean().reset_index()
    prompts = measured.groupby(["family", "prompt"], sort=False)["value"].mean().reset_index()
    texts = measured.drop_duplicates("prompt").set_index("prompt")["text"]
    controls = rows[rows["control"].notna()].groupby(by)["value"].mean()
    hollow = {str(name): float(mean) for name, mean in controls.items()}
    clouds = {str(name): tuple(values) for name, values in points.groupby(by)["value"]}
    means = points.groupby(by)["value"].mean().sort_values()
    lines = [
        Line(
            str(name),
            Estimate(float(mean), None, None),
            "family",
            points=clouds[str(name)],
            hollow=hollow.get(str(name)),
        )
        for name, mean in means.items()
    ]
    if len(lines) > FAMILIES_SHOWN:
        title += f", the {FAMILIES_SHOWN} outermost of {len(lines)}"
        lines = lines[: FAMILIES_SHOWN // 2] + lines[-FAMILIES_SHOWN // 2 :]
    ordered = prompts.sort_values("value")
    region, unit = (claim.region, claim.unit) if claim is not None else (Region(), "")
    return Strip(
        title,
        "prompt" if by == "family" else "family",
        by,
        strip(lines, region, unit=unit, label=title),
        tuple(_extremes(ordered.head(2), texts)),
        tuple(_extremes(ordered.tail(2).iloc[::-1], texts)),
    )


def _extremes(rows: pd.DataFrame, texts: pd.Series[str]) -> Iterator[Extreme]:
    for row in rows.to_dict("records"):
        words = texts.get(row["prompt"])
        shown = str(words) if isinstance(words, str) else str(row["prompt"])
        yield Extreme(text.number(float(row["value"])), shown, str(row["family"]))
