"""Small charts that live in the HTML itself: number lines and strips of observations.

Positions are percentages, so a chart has any width without scaling its text; labels are HTML, so
they wrap, copy and escape like the rest of the page. Colours come from the page's style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refutable.records import Estimate, Region
from refutable.report import text

if TYPE_CHECKING:
    from markupsafe import Markup

POINTS = 1000
"""Horizontal units of the cloud of single observations."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a chart."""

    label: str
    estimate: Estimate | None = None
    kind: str = "estimate"
    """``estimate``, ``check``, ``control``, ``contrast`` or ``family``."""
    state: str = ""
    """A verdict, which chooses colour and shape of the mark."""
    points: tuple[float, ...] = ()
    """Single observations."""
    hollow: float | None = None
    """A second mean, of the control."""
    href: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to percentages."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        """Percentage from the left, cut at the edges."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Three to seven round numbers on the scale."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return tuple(k * step for k in range(first, last + 1))


def scale_for(lines: Iterable[Line], region: Region, extra: Iterable[float] = ()) -> Scale | None:
    """Return a scale that shows every mark, the region's bounds and, where it is near, zero."""
    numbers = list(extra)
    for line in lines:
        numbers += [*line.points, *([line.hollow] if line.hollow is not None else [])]
        if line.estimate is not None:
            ends = (line.estimate.value, line.estimate.low, line.estimate.high)
            numbers += [x for x in ends if x is not None]
    numbers = [x for x in numbers if math.isfinite(x)]
    if not numbers:
        return None
    numbers += [x for x in (region.low, region.high) if x is not None]
    low, high = min(numbers), max(numbers)
    span = high - low
    if low > 0 and low <= 0.8 * span:
        low = 0.0
    if high < 0 and -high <= 0.8 * span:
        high = 0.0
    span = (high - low) or abs(high) * 0.1 or 1.0
    return Scale(low - 0.07 * span, high + 0.07 * span)


def number_line(
    lines: Sequence[Line],
    region: Region,
    *,
    unit: str = "",
    references: Sequence[tuple[str, float]] = (),
    label: str = "",
) -> Markup:
    """Draw estimates with their intervals against a region.

    Parameters
    ----------
    lines : sequence of Line
        Rows from top to bottom; those without a value show their label alone.
    region : Region
        Shaded; unbounded ends run off the edge.
    unit : str
        Unit of the axis.
    references : sequence of (name, value)
        Published values, as vertical lines.
    label : str
        What a screen reader says of the chart.

    Returns
    -------
    Markup
        Empty when there is nothing to draw.
    """
    return _chart(lines, region, unit, references, label=label, height=38)


def strip(lines: Sequence[Line], region: Region, *, unit: str = "", label: str = "") -> Markup:
    """Draw the observations of each family in a row, with the family's mean."""
    return _chart(lines, region, unit, (), label=label, height=18)


def _chart(
    lines: Sequence[Line],
    region: Region,
    unit: str,
    references: Sequence[tuple[str, float]],
    *,
    label: str,
    height: int,
) -> Markup:
    from markupsafe import Markup, escape

    scale = scale_for(lines, region, (value for _, value in references))
    if scale is None:
        return Markup("")
    total = height * len(lines)
    body = [_background(scale, region, total), _axis(scale, total)]
    if height < 30:
        body.append(_cloud(lines, scale, height))
    else:
        body += [_mark(line, scale, height * k + height // 2) for k, line in enumerate(lines)]
    body.extend(_reference(name, value, scale, total) for name, value in references)
    decimals = max(0, 2 - math.floor(math.log10(scale.high - scale.low)))
    names = Markup("").join(
        _label(line, region, decimals if height < 30 else None) for line in lines
    )
    return Markup(
        '<div class="chart{}" style="--row:{}px"><ul class="names">{}</ul>'
        '<svg role="img" aria-label="{}" height="{}">{}</svg><p class="unit">{}</p></div>'
    ).format(
        " strip" if height < 30 else "",
        height,
        names,
        escape(text.visible(label)),
        total + 22,
        Markup("".join(body)),  # noqa: S704 - made of numbers and escaped texts
        text.visible(unit),
    )


def _label(line: Line, region: Region, decimals: int | None) -> Markup:
    """Name and number beside a row; `decimals` are given where rows hold a plain mean."""
    from markupsafe import Markup

    if decimals is not None and line.estimate is not None:
        # Strips have many rows, so theirs are short.
        mean = text.number(line.estimate.value, decimals)
        return Markup("<li><bdi>{}</bdi><i>{}</i></li>").format(text.visible(line.label, 80), mean)
    number = " ".join(text.interval(line.estimate, region)).strip()
    name = Markup("<bdi>{}</bdi>").format(text.visible(line.label, 80))
    if line.href:
        name = Markup('<a href="#{}">{}</a>').format(line.href, name)
    title = text.visible(line.label, 200)
    return Markup('<li><span class="n" title="{}">{}</span><span class="v">{}</span></li>').format(
        title, name, number
    )


def _background(scale: Scale, region: Region, total: int) -> str:
    parts = []
    if region.low is not None or region.high is not None:
        left = scale(region.low) if region.low is not None else 0
        right = scale(region.high) if region.high is not None else 100
        width = max(round(right - left, 2), 0.3)
        parts.append(f'<rect class="rg" x="{left}%" width="{width}%" height="{total}"/>')
        for bound in (region.low, region.high):
            if bound is not None:
                parts.append(_vertical("rb", scale(bound), total))
    return "".join(parts)


def _axis(scale: Scale, total: int) -> str:
    ticks = scale.ticks
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) if ticks else 1
    decimals = max(0, -math.floor(math.log10(step))) if step else 0
    parts = [f'<line class="ax" x1="0" x2="100%" y1="{total}" y2="{total}"/>']
    for tick in ticks:
        at = scale(tick)
        parts.append(_vertical("zr" if abs(tick) < 1e-12 else "gr", at, total))
        parts.append(f'<text x="{at}%" y="{total + 15}">{text.number(tick, decimals)}</text>')
    return "".join(parts)


def _vertical(kind: str, at: float, total: int) -> str:
    return f'<line class="{kind}" x1="{at}%" x2="{at}%" y1="0" y2="{total}"/>'


def _cloud(lines: Sequence[Line], scale: Scale, height: int) -> str:
    """Rings, dots and bars of all rows as one path each, which costs a few bytes a mark."""
    rings, dots, bars = [], [], []
    for place, line in enumerate(lines):
        y = height * place + height // 2
        at = sorted(_units(scale, x) for x in line.points if math.isfinite(x))
        dots += [f"M{x} {y}h0" for x in at]
        if line.hollow is not None and math.isfinite(line.hollow):
            rings.append(f"M{_units(scale, line.hollow)} {y}h0")
        if line.estimate is not None and line.estimate.value is not None:
            bars.append(f"M{_units(scale, line.estimate.value)} {y - 7}v14")
    kinds = (("pt", dots), ("ro", rings), ("ri", rings), ("fm", bars))
    paths = [f'<path class="{kind}" d="{"".join(d)}"/>' for kind, d in kinds if d]
    return (
        f'<svg viewBox="0 0 {POINTS} {height * len(lines)}" preserveAspectRatio="none" '
        f'height="{height * len(lines)}">{"".join(paths)}</svg>'
    )


def _units(scale: Scale, value: float) -> int:
    return round(scale(value) * POINTS / 100)


def _mark(line: Line, scale: Scale, y: int) -> str:
    estimate = line.estimate
    if estimate is None or estimate.value is None:
        return ""
    parts = []
    kind = f"{line.kind} {line.state}".strip()
    if estimate.low is not None and estimate.high is not None:
        left, right = scale(estimate.low), scale(estimate.high)
        parts.append(f'<line class="iv {kind}" x1="{left}%" x2="{right}%" y1="{y}" y2="{y}"/>')
        parts += [
            f'<line class="cap {kind}" x1="{x}%" x2="{x}%" y1="{y - 5}" y2="{y + 5}"/>'
            for x in (left, right)
        ]
    shape = line.state if line.kind == "estimate" and line.state else line.kind
    parts.append(f'<use href="#m-{shape}" class="{kind}" x="{scale(estimate.value)}%" y="{y}"/>')
    return "".join(parts)


def _reference(name: str, value: float, scale: Scale, total: int) -> str:
    from markupsafe import escape

    shown = escape(f"{text.visible(name, 60)}: {text.number(value)}")
    at = scale(value)
    return (
        f'<g class="ref"><title>{shown}</title>{_vertical("rf", at, total)}'
        f'<use href="#m-reference" x="{at}%" y="5"/></g>'
    )
