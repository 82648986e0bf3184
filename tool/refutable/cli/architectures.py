"""`refutable check`: what can be measured of an architecture, seen on a small random copy of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from refutable.errors import ModelError, RefutableError, one_line
from refutable.measurement.survey import Survey, survey
from refutable.models.registry import resolve
from refutable.models.small import build_small, like, small_config
from refutable.models.sources import locate
from refutable.models.sources.twin import register
from refutable.system import files
from refutable.system.paths import fixtures

KINDS = {
    "residual stream": ("residual_norm", "embedding_norm"),
    "logits": ("next_token_entropy", "top_token"),
    "attention": ("attention_entropy", "attention_first"),
    "weights of matrices": ("weight_sd",),
    "weights of heads": ("query_head",),
    "routers": ("router_entropy", "expert_load"),
}
"""Kinds of observables by the words of the table, and those that stand for each."""
_TABLE = """# Architectures

What the instrument can measure of each model type of transformers that has a causal language model.
Each row is made from a random copy of two small blocks, on which the whole instrument is run: the
stream is followed from block to block, the last token is replaced, prompts are run together and
alone, attention is held against the model's own. Made by

<!-- not run: it takes a quarter of an hour -->
```sh
refutable check --all --write docs/architectures.md
```

(a run that was stopped goes on where it was, from `architectures.md.rows`), and for one type, or
for a model of yours from its config alone, in a second:

<!-- not run: it needs models that are not here -->
```sh
refutable check --architecture qwen3_moe
refutable check ./my-model
```

`+` is measured, `-` is not (the reason stands at the end of the row); routers are left out where a
type has none; W stands for the matrices of a block. Made with transformers {version}.

| type | norm | positions | run | stream | logits | attention | W | heads | routers | why not |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def surveyed(types: Iterable[str], say: Callable[[str], None]) -> Iterator[Survey]:
    """Build and look at each model type in turn."""
    for model_type in types:
        say(model_type)
        try:
            model = build_small(small_config(model_type))
            yield survey(model, model_type)
        except RefutableError as problem:
            yield Survey(model_type, "", error=str(problem))
        # One of two hundred classes must not end the sweep.
        except Exception as problem:
            yield Survey(model_type, "", error=f"it cannot be run: {one_line(problem)}")


def surveyed_into(path: Path, types: Iterable[str], say: Callable[[str], None]) -> Iterator[Survey]:
    """Look at each model type in turn, going on where an earlier run of these versions stopped.

    Parameters
    ----------
    path : Path
        Each look is added to this file as soon as it is made, one JSON object a line.
    types : iterable of str
        Model types, in the order of the table.
    say : callable
        Told each type before it is looked at.
    """
    made_with = {name: version(name) for name in ("refutable", "transformers", "torch")}
    known = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            kept = json.loads(line)
            if kept.pop("made_with") == made_with:
                known[kept["model_type"]] = Survey(**kept)
        # The last line of a run that was killed may be half a line.
        except (ValueError, KeyError, TypeError):
            continue
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        # What follows half a line is a line of its own.
        log.write("\n")
        for model_type in types:
            if model_type in known:
                yield known[model_type]
                continue
            for one in surveyed([model_type], say):
                log.write(json.dumps(asdict(one) | {"made_with": made_with}) + "\n")
                log.flush()
                yield one


def survey_of_model(name: str) -> Survey:
    """Look at a small copy of a model: its config is read, its weights are not."""
    from transformers import AutoConfig

    path = Path(name)
    if not (path / "config.json").is_file():
        spec = resolve(name)
        path = fixtures() / spec.location
    if not (path / "config.json").is_file():
        path = locate(resolve(name)).folder
    try:
        json.loads((path / "config.json").read_text(encoding="utf-8"))
        register(path)
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as problem:
        raise ModelError(f"the config of {name} cannot be used: {one_line(problem)}") from None
    return survey(build_small(like(config)), config.model_type)


def told(survey: Survey) -> Iterator[str]:
    """Lines that say what can be measured of one model, what not and why."""
    yield f"{survey.model_type} ({survey.architecture or 'not built'})"
    if survey.norm:
        yield f"  norm {survey.norm}, positions {survey.positions}"
    if survey.error:
        yield f"  nothing can be measured: {survey.error}"
        return
    yield f"  prompts are run {survey.layout}"
    for kind, names in KINDS.items():
        reason = survey.reason_for(*names)
        yield f"  {'no ' if reason else 'yes'} {kind}" + (f": {reason}" if reason else "")


def row(survey: Survey) -> str:
    """One row of the table."""
    marks, reasons = [], []
    for kind, names in KINDS.items():
        reason = survey.reason_for(*names)
        absent = kind == "routers" and "has no router" in reason
        marks.append("" if absent or survey.error else "-" if reason else "+")
        if reason and not absent and not survey.error:
            reasons.append(f"{kind}: {reason}")
    if survey.error:
        reasons = [survey.error]
    why = "; ".join(dict.fromkeys(reasons)).replace("|", "\\|")
    cells = [survey.model_type, survey.norm, survey.positions, survey.layout, *marks, why]
    return "| " + " | ".join(cells) + " |"


def write_table(survey: Iterable[Survey], path: Path) -> int:
    """Write the table of architectures; returns how many of them can be measured."""
    surveys = list(survey)
    head = _TABLE.format(version=version("transformers"))
    files.write(path, head + "\n".join(row(one) for one in surveys) + "\n")
    return sum(not one.error for one in surveys)
