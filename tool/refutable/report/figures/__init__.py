"""Figures: functions that turn observations into drawings, one file for each study."""

from refutable.report.figures.registry import (
    Drawing,
    MissingDataError,
    Omitted,
    Sample,
    figure,
    figures_for,
)

__all__ = ["Drawing", "MissingDataError", "Omitted", "Sample", "figure", "figures_for"]
