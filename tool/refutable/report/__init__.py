"""Reports from evidence alone: nothing here imports torch, and nothing heavy until it is used."""

from __future__ import annotations

import os
from pathlib import Path


def build(
    evidence_path: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    figures: bool = True,
) -> list[Path]:
    """Write report.html, report.md, observations.csv and figures/ from an evidence.json.

    See `refutable.report.assemble.build`.
    """
    from refutable.report import assemble

    return assemble.build(evidence_path, out_dir, figures)
