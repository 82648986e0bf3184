"""One look for all figures: colours that survive colour blindness and grey print, and the footer.

Kinds of norm differ in colour, lightness and hatch; registers in marker and colour. The palette is
Okabe and Ito's.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1b1f24", "#57606a", "#d8dee4", "#ffffff"
"""Ink, secondary ink, grid and paper; a page may replace them by its own."""

BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00",
)  # fmt: skip
NORMS = {
    "LayerNorm": (BLUE, "////"),
    "RMSNorm": (ORANGE, ""),
    "none": (GREEN, ".."),
    "mixed": (PURPLE, "xx"),
    "unknown": (MUTED, "--"),
}
"""Colour and hatch by kind of norm."""

GROUPS = (
    (BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (VERMILION, "v"), (SKY, "P"),
    (INK, "X"), (MUTED, "<"),
)  # fmt: skip
"""Colour and marker of registers and other groups, in turn."""

REGISTERS = ("factual", "syntactic", "cliche", "novel", "nonsense")
"""Registers of the shipped prompts: each keeps its colour and marker in every figure."""

LINE = 0.125
"""Inches of a line of a caption."""

WIDTH = 7.6
"""Inches of a full-width figure."""

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "refutable",
}


def register_looks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return colour and marker of registers; a known one has its own whichever others there are.

    Parameters
    ----------
    names : sequence of str
        Registers of a figure; empty is no register.
    """
    free = [*GROUPS[len(REGISTERS) :], *GROUPS]
    others = sorted(name for name in names if name not in REGISTERS)
    return {
        name: GROUPS[REGISTERS.index(name)]
        if name in REGISTERS
        else free[others.index(name) % len(free)]
        for name in names
    }


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the common style, without a display and without warnings of missing glyphs."""
    import matplotlib as mpl

    with mpl.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        warnings.filterwarnings("ignore", message=".*missing from font.*")
        yield


def panels(
    n: int,
    *,
    columns: int = 2,
    height: float = 2.3,
    share_x: bool = True,
    share_y: bool = True,
) -> tuple[Figure, list[Axes]]:
    """Make `n` panels, on common axes unless told otherwise, at most `columns` side by side."""
    from matplotlib.figure import Figure

    columns = min(columns, n)
    rows = -(-n // columns)
    tall = 1.4 if n == 1 else 1.0
    figure = Figure(figsize=(WIDTH, tall * height * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=share_x, sharey=share_y, squeeze=False)
    axes = list(grid.flat)
    for spare in axes[n:]:
        spare.set_visible(False)
    for axis in axes[:n]:
        axis.tick_params(labelbottom=True)
    return figure, axes[:n]


def single(height: float = 3.6) -> tuple[Figure, Axes]:
    """Make one full-width panel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def finish(figure: Figure, title: str, footer: str, caption: str = "") -> None:
    """Put the title above, and the caption and the provenance below a drawn figure.

    The file is read without the page, too: the caption travels with it, and the canvas grows by
    the lines that it takes.
    """
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    width = int(figure.get_figwidth() * 17)
    lines = textwrap.wrap(footer, width, break_on_hyphens=False)
    said = textwrap.wrap(caption, width, break_on_hyphens=False)
    figure.set_figheight(figure.get_figheight() + LINE * len(said))
    lines = [*said, *lines]
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7, color=MUTED)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and two-sided 95 % t interval of values that are one unit each (family means).

    Returns
    -------
    mean, low, high : float
        The ends are NaN for fewer than two units.
    """
    # scipy.stats takes a second to import; its t quantile is this function.
    from scipy.special import stdtrit

    units = np.asarray(values, dtype=float)
    mean = float(units.mean())
    if units.size < 2:
        return mean, float("nan"), float("nan")
    half = float(stdtrit(units.size - 1, 0.975) * units.std(ddof=1) / np.sqrt(units.size))
    return mean, mean - half, mean + half


def whiskers(value: float, low: float, high: float) -> list[list[float]]:
    """Distances from a value to the ends of its interval, as matplotlib's error bars want them."""
    ends = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
    return [[0.0 if np.isnan(x) else x for x in side] for side in ends]
