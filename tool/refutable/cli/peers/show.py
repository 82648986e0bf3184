"""What a race came to: tables for a terminal, a file of numbers, a figure."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.cli.listing import make_table
from refutable.cli.peers.records import Report, Timing, Workload
from refutable.report.figures import style
from refutable.system import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

_COLUMNS = ("processor s", "of bare (quartiles)", "tokens a processor s", "memory", "difference")
NAME = "peers"


def tables(report: Report) -> list[Table]:
    """Return a table for each workload."""
    return [_table(report, workload) for workload in report.workloads]


def _table(report: Report, workload: Workload) -> Table:
    title = f"{workload.name}: {workload.what}"
    table = make_table(title, *_COLUMNS)
    for timing in workload.timings:
        table.add_row(timing.name, *cells(report, workload, timing))
    return table


def cells(report: Report, workload: Workload, timing: Timing) -> tuple[str, ...]:
    """Word one contender's row; `docs/performance.md` holds the same words."""
    if timing.absent:
        return (timing.absent, *[""] * (len(_COLUMNS) - 1))
    low, high = timing.quartiles(workload.floor)
    ratio = timing.cpu_median / workload.floor
    memory = "" if timing.memory is None else f"{timing.memory / 1e6:,.0f} MB"
    return (
        f"{timing.cpu_median:.3f}",
        f"{ratio:.2f} ({low:.2f} to {high:.2f})",
        f"{report.tokens / timing.cpu_median:,.0f}",
        memory,
        f"{timing.difference or 0.0:.0e}",
    )


def head(report: Report) -> str:
    """Say in two lines on what and where the race was run, and what the machine multiplies."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    line = (
        f"{report.model}, {report.prompts} prompts, {report.tokens} tokens, {report.rounds} rounds "
        f"in turn, {report.device}, {_threads(report)}; {report.machine}; "
        f"commit {report.commit or 'unknown'}; {versions}"
    )
    if not report.matmul:
        return line
    floor = report.workloads[0].floor
    limit = report.matmul * report.matmul_seconds / report.peak
    return (
        f"{line}\nMatrix products of the bare forward alone: {report.matmul_seconds:.3f} s of "
        f"{floor:.3f} s ({report.matmul_seconds / floor:.0%}) at {report.matmul:.0f} GFLOP/s for "
        f"each processor second; at the {report.peak:.0f} GFLOP/s of large square matrices they "
        f"would take {limit:.3f} s, of which the bare forward is {floor / limit:.2f} times"
    )


def _threads(report: Report) -> str:
    return "1 thread" if report.threads == 1 else f"{report.threads} threads"


def leave(report: Report, folder: Path) -> list[Path]:
    """Write the numbers and the figure into a folder."""
    numbers, picture = folder / f"{NAME}.json", folder / f"{NAME}.png"
    files.write(numbers, json.dumps(asdict(report), indent=1) + "\n")
    with files.draft(picture) as partial:
        figure(report).savefig(partial, format="png", dpi=150)
    return [numbers, picture]


def read(path: Path) -> Report:
    """Read what `leave` wrote."""
    # pydantic takes a fifth of a second to import; only documents and tests read files.
    from pydantic import TypeAdapter

    return TypeAdapter(Report).validate_json(path.read_bytes())


def figure(report: Report) -> Figure:
    """Draw each contender's processor time in units of the bare forward's, with quartiles."""
    from matplotlib.figure import Figure

    raced = [[t for t in w.timings if not t.absent] for w in report.workloads]
    with style.styled():
        height = 1.6 + 0.27 * sum(map(len, raced))
        canvas = Figure(figsize=(style.WIDTH, height), layout="constrained")
        axes = canvas.subplots(
            len(raced),
            1,
            sharex=True,
            squeeze=False,
            height_ratios=[len(timings) + 1 for timings in raced],
        )[:, 0]
        for each, workload, timings in zip(axes, report.workloads, raced, strict=True):
            for place, timing in enumerate(timings):
                ratio = timing.cpu_median / workload.floor
                low, high = timing.quartiles(workload.floor)
                engine = timing.name.startswith("this engine")
                colour, marker = (style.BLUE, "o") if engine else (style.MUTED, "s")
                each.plot([low, high], [place, place], color=colour)
                each.plot(ratio, place, marker, color=colour)
                each.annotate(
                    f"{ratio:.2f}", (high, place), xytext=(6, -3), textcoords="offset points"
                )
            each.axvline(1.0, color=style.GRID, zorder=0)
            each.set(
                yticks=range(len(timings)),
                yticklabels=[t.name for t in timings],
                ylim=(len(timings) - 0.5, -0.5),
                title=f"{workload.name}: {workload.what}",
                xscale="log",
            )
        end = 1.2 * axes[-1].get_xlim()[1]
        ticks = [1, 2, 3, 4, 6, 8]
        axes[-1].set_xticks(ticks, [str(tick) for tick in ticks])
        axes[-1].minorticks_off()
        axes[-1].set_xlim(0.9, end)
        axes[-1].set_xlabel("processor time, in units of the bare packed forward (quartiles)")
        told = (
            f"{report.model}, {report.prompts} prompts, {report.tokens} tokens, {report.rounds} "
            f"rounds in turn, {_threads(report)}; {report.machine}"
        )
        style.finish(canvas, "Other ways to the same numbers", told)
    return canvas
