"""Two runs on disk, read and held against each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.errors import EvidenceError, one_line
from refutable.evidence.json import read
from refutable.evidence.observations import read_observations
from refutable.evidence.release import Release, read_release, release_folders
from refutable.gate.answer import Answer, ModelAnswer, cleared
from refutable.gate.behaviour import compare_behaviour
from refutable.gate.compare import gate, renamed
from refutable.gate.files import file_facts
from refutable.gate.policy import Policy
from refutable.gate.profiles import compare_profiles
from refutable.gate.records import ClaimChange
from refutable.gate.weights import weight_facts
from refutable.gate.wording import render
from refutable.records import Evidence

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Run:
    """What one run left."""

    evidence: Evidence
    rows: pd.DataFrame | None
    releases: Mapping[str, Release] = field(default_factory=dict)


def read_run(path: str | os.PathLike[str]) -> Run:
    """Read a run: its folder, or the ``evidence.json`` in it.

    Raises
    ------
    EvidenceError
        In one line, if a file is missing, truncated or of another schema.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "evidence.json"
    evidence = read(file)
    rows = file.parent / "observations.parquet"
    releases = [read_release(folder) for folder in release_folders(file.parent)]
    named = {model.id for model in evidence.models}
    return Run(
        evidence,
        read_observations(rows) if rows.is_file() else None,
        {r.model: r for r in releases if r.model in named},
    )


def run_gate(
    base: str | os.PathLike[str],
    candidate: str | os.PathLike[str],
    strict: bool = False,
    format: str = "text",
    *,
    policy: Policy | None = None,
    verbose: bool = False,
    samples: tuple[ClaimChange, ...] = (),
    completed: Callable[[Evidence], Evidence] = lambda evidence: evidence,
) -> tuple[str, int]:
    """Hold one run against another.

    Parameters
    ----------
    base, candidate : path
        Two ``evidence.json`` files, or the folders that hold them; what lies beside them is read
        too.
    strict : bool
        Whether what could not be decided fails as well.
    format : {"text", "markdown", "json", "github"}
        How to word the answer.
    policy : Policy, optional
        What fails, and the margins.
    verbose : bool
        Whether to tell everything instead of the most important lines.
    samples : tuple of ClaimChange
        Further quantities, from per-sample logs.
    completed : callable, optional
        Adds to each run's evidence what is known of its models besides, such as counterexamples
        that are kept.

    Returns
    -------
    text : str
    code : int
        0 the same within the margins; 1 changed, lost or broken; 3 cannot judge.
    """
    try:
        before, after = (
            replace(run, evidence=completed(run.evidence))
            for run in map(read_run, (base, candidate))
        )
        answer = compare_runs(before, after, policy or Policy(), strict=strict, samples=samples)
    except EvidenceError as problem:
        return f"cannot judge: {one_line(problem)}", 3
    return render(answer, format, verbose=verbose), answer.exit_code


def compare_runs(
    base: Run,
    candidate: Run,
    policy: Policy,
    *,
    strict: bool = False,
    samples: tuple[ClaimChange, ...] = (),
) -> Answer:
    """Compare everything that two runs hold.

    Raises
    ------
    EvidenceError
        If there is nothing to compare with: the base decided no claim and left no release.
    """
    decided = any(result.verdict is not None for result in base.evidence.results)
    if not decided and not base.releases:
        raise EvidenceError(
            "nothing to compare with: the base decided no claim and holds no release"
        )
    claims = None
    if decided:
        claims = gate(base.evidence, candidate.evidence, base.rows, candidate.rows, strict=strict)
    pairs = _pairs(base, candidate)
    models = tuple(_of_model(base, candidate, pair, policy) for pair in pairs)
    broken = {m.id: m.error for m in candidate.evidence.models if m.error}
    known = {m.id for m in base.evidence.models if m.error}
    return Answer(
        models, claims, policy, strict,
        {name: why for name, why in broken.items() if name not in known}, samples,
        tuple(_notes(base, candidate, pairs)),
    )  # fmt: skip


def compare_releases(base: Release, candidate: Release, policy: Policy) -> Answer:
    """Compare what two models say and what their files say, without any claim."""
    return Answer((_of_releases(base, candidate, policy),), None, policy)


def _of_releases(base: Release, candidate: Release, policy: Policy) -> ModelAnswer:
    behaviour = compare_behaviour(base, candidate, policy.margins)
    facts = cleared([*weight_facts(base, candidate), *file_facts(base, candidate)], behaviour)
    notes = [
        f"measured in {base.facts[what]} and {candidate.facts[what]}"
        for what in ("dtype", "device")
        if base.facts[what] != candidate.facts[what]
    ]
    return ModelAnswer(
        base.model, candidate.model, behaviour, tuple(sorted(facts, key=lambda f: f.rank)),
        notes=(*notes, *behaviour.notes),
    )  # fmt: skip


def _pairs(base: Run, candidate: Run) -> list[tuple[str, str]]:
    """Models of the base and of the candidate that belong together, by name; else the only ones."""
    names = renamed(base.evidence, candidate.evidence)
    pairs = [(names.get(name, name), name) for name in candidate.releases]
    pairs = [
        (base_name, candidate_name)
        for base_name, candidate_name in pairs
        if base_name in base.releases
    ]
    if not pairs and len(base.releases) == len(candidate.releases) == 1:
        pairs = [(next(iter(base.releases)), next(iter(candidate.releases)))]
    return pairs


def _of_model(base: Run, candidate: Run, pair: tuple[str, str], policy: Policy) -> ModelAnswer:
    answer = _of_releases(base.releases[pair[0]], candidate.releases[pair[1]], policy)
    if base.rows is None or candidate.rows is None:
        return answer
    return replace(
        answer, profiles=compare_profiles(base.rows, candidate.rows, pair, policy.margins)
    )


def _notes(base: Run, candidate: Run, pairs: list[tuple[str, str]]) -> list[str]:
    notes = []
    met = {base_name for base_name, _ in pairs}
    lacking = [name for name in base.releases if name not in met]
    if lacking:
        notes.append(
            f"behaviour and files of {', '.join(lacking)} were not compared: the candidate's run "
            "holds no such release"
        )
    elif not pairs:
        notes.append(
            "behaviour and files were not compared: the runs hold no release; make them with "
            "`refutable verify`"
        )
    return notes
