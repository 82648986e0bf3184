"""The registry of figures: which drawings a study has, and what each needs from the observations.

A figure is a function of a `Sample` that returns a `Drawing`: the table of numbers to be drawn and
the function that draws that table and nothing else. So a test compares table and picture, and a
figure is drawn again only when its table (or its code) changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.errors import one_line
from refutable.records import Evidence, ModelReport, Outcome, Result
from refutable.report import text
from refutable.report.figures import style
from refutable.report.tables import slug
from refutable.system.discovery import load_parts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class MissingDataError(Exception):
    """A figure's data are not among the observations; the message is the reason in one phrase."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one study measured on one prompt set in one arm."""

    study: str
    prompts: str
    arm: str
    evidence: Evidence
    results: tuple[Result, ...]
    frame: pd.DataFrame
    """Observations of the study's models, controls included, columns as in observations.parquet."""

    @property
    def models(self) -> tuple[ModelReport, ...]:
        """Models of the study with observations, in the order of the evidence."""
        present = set(self.frame["model"].dropna().unique())
        return tuple(model for model in self.evidence.models if model.id in present)

    def norm_kind(self, model: str) -> str:
        """Return the kind of norm read from a model's modules, or ``unknown``."""
        for report in self.evidence.models:
            if report.id == model and report.facts is not None:
                return report.facts.norm_kind
        return "unknown"

    def one_seed(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Keep one training seed of models that differ in the seed alone, the first that is there.

        For figures with a panel or a bar for each model; claims over seeds have their own.
        """
        kept: dict[str, str] = {}
        for model in self.models:
            group = model.facts.group if model.facts is not None else ""
            kept.setdefault(group or model.id, model.id)
        return rows[rows["model"].isin(kept.values())]

    def observed(self, quantity: str, *, controls: bool = False) -> pd.DataFrame:
        """Return the rows of one quantity, of the models themselves or of their controls.

        Raises
        ------
        MissingDataError
            If there are none.
        """
        rows = self.frame[self.frame["quantity"] == quantity]
        rows = rows[rows["control"].notna() == controls].dropna(subset=["value"])
        if rows.empty:
            whose = "controls" if controls else "models"
            raise MissingDataError(f"no {quantity} of the {whose} was measured")
        return rows


@dataclass(frozen=True, slots=True)
class Drawing:
    """A table and the function that draws it."""

    table: pd.DataFrame
    """Exactly the numbers that are drawn; `draw` gets nothing else."""
    draw: Callable[[pd.DataFrame], Figure]
    caption: str
    """What is seen and how its intervals were made, in one or two sentences."""
    source: pd.DataFrame
    """The observations behind the table, for the footer: models, prompts, families."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A figure that can be drawn."""

    study: str
    name: str
    """Unique in the run; also the file name."""
    title: str
    caption: str
    footer: str
    """Models, prompts, arm, n and families; the date is added when it is drawn."""
    table: pd.DataFrame
    draw: Callable[[pd.DataFrame], Figure]
    digest: str
    """Hash of everything the picture depends on, its date aside."""


@dataclass(frozen=True, slots=True)
class Omitted:
    """A figure that cannot be drawn from these observations, and why."""

    study: str
    name: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Registered:
    study: str
    name: str
    title: str
    make: Callable[[Sample], Drawing]
    once: bool = False


_FIGURES: dict[tuple[str, str], _Registered] = {}


def figure(
    *, study: str, name: str, title: str, once: bool = False
) -> Callable[[Callable[[Sample], Drawing]], Callable[[Sample], Drawing]]:
    """Register a figure of a study.

    Parameters
    ----------
    study : str
        The study as claims name it, e.g. ``last-block-gain``.
    name : str
        Slug, unique within the study; the file name is made of it.
    title : str
        Title on the figure and the page.
    once : bool
        Whether the first prompt set and arm that it has data for is enough: for a figure that
        others would only repeat.

    Returns
    -------
    callable
        A decorator. The function gets a `Sample` and returns a `Drawing`, or raises
        `MissingDataError` with the reason why it cannot.
    """

    def register(make: Callable[[Sample], Drawing]) -> Callable[[Sample], Drawing]:
        _FIGURES[study, name] = _Registered(study, name, title, make, once)
        return make

    return register


def figures_for(
    evidence: Evidence, frame: pd.DataFrame
) -> tuple[tuple[Spec, ...], tuple[Omitted, ...]]:
    """Compute every registered figure of the studies in a run; nothing is drawn yet.

    Parameters
    ----------
    evidence : Evidence
        The run.
    frame : DataFrame
        Its observations.

    Returns
    -------
    drawable, omitted : tuple of Spec, tuple of Omitted
        One figure for each prompt set and arm it has data for.
    """
    load_parts("figures")
    from refutable.report.figures.forest import NAME, TITLE, forest

    drawable: list[Spec] = []
    omitted: list[Omitted] = []
    names: set[str] = set()
    for sample in _samples(evidence, frame):
        first = f"{slug(sample.study, 60)}.{NAME}"
        if first not in names:
            names.add(first)
            item = _Registered(sample.study, NAME, TITLE, forest)
            # A study with one result has its chart on the page; that is nothing left out.
            with suppress(MissingDataError):
                drawable.append(_spec(item, first, _whole(sample), forest(_whole(sample))))
        for item in _FIGURES.values():
            if item.study != sample.study:
                continue
            name = _name(item, sample)
            if item.once and f"{item.study}.{item.name}" in names:
                continue
            try:
                drawing = item.make(sample)
                if drawing.source["prompt"].isna().all():
                    # Facts of the models, the same whatever prompts and arm: drawn once.
                    name = f"{slug(item.study, 60)}.{slug(item.name, 60)}"
                if name in names:
                    continue
                drawable.append(_spec(item, name, sample, drawing))
                names |= {name, f"{item.study}.{item.name}"}
            except MissingDataError as reason:
                omitted.append(Omitted(item.study, name, item.title, str(reason)))
            # One figure that cannot be made must not cost the report.
            except Exception as problem:
                what = f"it failed ({one_line(problem)}): please report this"
                omitted.append(Omitted(item.study, name, item.title, what))
    drawn = {(spec.study, spec.name.split(".")[1]) for spec in drawable}
    # What is drawn of another prompt set or arm lacks nothing.
    return tuple(drawable), tuple(
        o for o in omitted if (o.study, o.name.split(".")[1]) not in drawn
    )


def _samples(evidence: Evidence, frame: pd.DataFrame) -> Iterator[Sample]:
    tried = [r for r in evidence.results if r.outcome is not Outcome.SKIPPED]
    cells = list(dict.fromkeys((r.study, r.prompts, r.arm) for r in tried))
    # Stable: the plain arm comes first, so that what is drawn once is drawn of it.
    cells.sort(key=lambda cell: cell[2] == "bos")
    # A million texts are compared quickly as numbers.
    marks = {name: frame[name].astype("category") for name in ("model", "prompts", "arm")}
    for study, prompts, arm in cells:
        results = tuple(r for r in tried if (r.study, r.prompts, r.arm) == (study, prompts, arm))
        models = {r.model for r in results} | {m for r in results for m in r.models}
        chosen = marks["model"].isin(models)
        if prompts:
            chosen &= marks["prompts"] == prompts
        if arm:
            chosen &= marks["arm"] == arm
        yield Sample(study, prompts, arm, evidence, results, frame[chosen])


def _whole(sample: Sample) -> Sample:
    """Widen a sample to all that its study found, whatever the prompts and the arm."""
    results = tuple(
        r
        for r in sample.evidence.results
        if r.study == sample.study and r.outcome is not Outcome.SKIPPED
    )
    return replace(sample, prompts="", arm="", results=results)


def _name(item: _Registered, sample: Sample) -> str:
    parts = (item.study, item.name, sample.prompts, sample.arm)
    return ".".join(slug(part, 60) for part in parts if part)


def _spec(item: _Registered, name: str, sample: Sample, drawing: Drawing) -> Spec:
    footer = _footer(sample, drawing.source)
    shown = hashlib.sha256()
    for part in (item.title, drawing.caption, footer, _code(item.make), _numbers(drawing.table)):
        shown.update(part.encode("utf-8", "backslashreplace") + b"\0")
    return Spec(
        item.study,
        name,
        item.title,
        drawing.caption,
        footer,
        drawing.table,
        drawing.draw,
        shown.hexdigest(),
    )


def _numbers(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False))


def _code(make: Callable[[Sample], Drawing]) -> str:
    """Version of the code that draws: the figure's module, the common style, matplotlib."""
    import inspect

    import matplotlib

    files = (inspect.getsourcefile(make), style.__file__)
    sources = [Path(file).read_bytes() for file in files if file]
    return matplotlib.__version__ + hashlib.sha256(b"\0".join(sources)).hexdigest()


def _footer(sample: Sample, source: pd.DataFrame) -> str:
    models = [text.visible(str(model), 60) for model in source["model"].dropna().unique()]
    parts = [text.listed(models, 6)]
    if source["prompt"].isna().all():
        # Facts of the models themselves: neither prompts nor a BOS arm had a part in them.
        seeds = text.count(len(models), "model")
        parts += [f"n = {seeds}", sample.evidence.environment.dtype]
        return " · ".join(part for part in parts if part)
    if sample.prompts:
        families = source["family"].nunique()
        size = text.count(source["prompt"].nunique(), "prompt")
        words = text.count(families, "family", "families")
        parts.append(f"prompts {text.visible(sample.prompts, 60)} (n = {size} in {words})")
    if sample.arm:
        parts.append(f"arm {sample.arm}")
    if sample.evidence.environment.dtype:
        parts.append(sample.evidence.environment.dtype)
    return " · ".join(parts)
