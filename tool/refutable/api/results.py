"""What `refutable.verify` returns: the records of a run, as table, page, report and gate."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from refutable.evidence import json as evidence_json
from refutable.evidence.observations import write_observations
from refutable.gate.compare import gate
from refutable.records import Evidence, Result
from refutable.report import build
from refutable.system import wording

if TYPE_CHECKING:
    import pandas as pd

    from refutable.gate.records import GateReport

_MARKS = {"confirmed": "✓", "refuted": "✗", "inconclusive": "?"}


class Results(Sequence[Result]):
    """Results of claims on models, one record a cell.

    Parameters
    ----------
    evidence : Evidence
        The records of the run.
    observations : pandas.DataFrame
        One row for each value that was observed.
    """

    def __init__(self, evidence: Evidence, observations: pd.DataFrame) -> None:
        self.evidence = evidence
        self.observations = observations

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Result]: ...
    def __getitem__(self, index: int | slice) -> Result | Sequence[Result]:
        """Return a record, or some."""
        return self.evidence.results[index]

    def __len__(self) -> int:
        return len(self.evidence.results)

    def __repr__(self) -> str:
        return "\n".join(f"{r.claim}  {r.model}  {_worded(r)}" for r in self) or "no results"

    def to_pandas(self) -> pd.DataFrame:
        """Return one row a cell: claim, model, prompts, arm, verdict, estimate, control, reason."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "claim": r.claim,
                    "model": r.model,
                    "prompts": r.prompts,
                    "arm": r.arm,
                    "outcome": str(r.outcome),
                    "verdict": None if r.verdict is None else str(r.verdict),
                    "value": None if r.estimate is None else r.estimate.value,
                    "low": None if r.estimate is None else r.estimate.low,
                    "high": None if r.estimate is None else r.estimate.high,
                    "unit": "" if r.estimate is None else r.estimate.unit,
                    "families": None if r.estimate is None else r.estimate.clusters,
                    "p_adjusted": None if r.estimate is None else r.estimate.p_adjusted,
                    "control": None if r.control is None else r.control.reading,
                    "reason": r.reason,
                }
                for r in self
            ]
        )

    def _repr_html_(self) -> str:
        models = list(dict.fromkeys(r.model for r in self))
        cells = {(r.claim, r.model, r.arm): r for r in self}
        head = "".join(f"<th>{html.escape(model)}</th>" for model in models)
        body = []
        for claim, arm in dict.fromkeys((r.claim, r.arm) for r in self):
            row = [_shown(cells.get((claim, model, arm))) for model in models]
            body.append(f"<tr><th>{html.escape(claim)} ({arm})</th>{''.join(row)}</tr>")
        return (
            f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        )

    def save(self, folder: str | Path) -> Path:
        """Write ``evidence.json`` and ``observations.parquet``; return the evidence's path."""
        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        evidence_json.write(self.evidence, out / "evidence.json")
        write_observations(self.observations, out / "observations.parquet")
        return out / "evidence.json"

    def report(self, folder: str | Path, *, figures: bool = True) -> Path:
        """Write evidence, report and figures to a folder; return the path of the page."""
        build(self.save(folder), figures=figures)
        return Path(folder) / "report.html"

    def gate(self, candidate: Results) -> GateReport:
        """Say what changed from these results, the base, to those of a candidate."""
        return gate(self.evidence, candidate.evidence, self.observations, candidate.observations)


def _worded(result: Result) -> str:
    if result.verdict is None or result.estimate is None:
        return f"{result.outcome}: {result.reason}"
    e = result.estimate
    value = wording.number(e.value, sign=True)
    if e.low is None or e.high is None:
        return f"{result.verdict} {value} {e.unit}".rstrip()
    return f"{result.verdict} {value} {wording.ends(e.low, e.high, sign=True)} {e.unit}".rstrip()


def _shown(result: Result | None) -> str:
    if result is None:
        return "<td></td>"
    mark = _MARKS.get(str(result.verdict), "–")
    told = html.escape(f"{_worded(result)}. {result.reason}")
    return f'<td title="{told}">{mark} {html.escape(_worded(result))}</td>'
