"""Written evidence of two releases with planted changes: what the tests of the gate compare."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pandas as pd

from refutable.evidence.observations import COLUMNS
from refutable.predictions import correlation, equals, every, mean, ordered, share, trend
from refutable.records import (
    ClaimReport,
    Environment,
    Estimate,
    Evidence,
    ModelReport,
    Outcome,
    PromptSetReport,
    Result,
    Verdict,
)
from refutable.stats.build import EXACT, T_FAMILIES

FAMILIES, SIZE = 12, 3
CALM = np.arange(FAMILIES * SIZE) % (2 * SIZE) < SIZE
"""Prompts of every other family."""
KINDS = {
    "gain.mean": mean.above(0.02),
    "gain.correlation": correlation.above(0.2),
    "gain.trend": trend().above(0.0),
    "gain.every": every.above(0.0),
    "gain.share": share.above(0.5, over=0.1),
    "gain.ordered": ordered("calm", "wild", by=0.1),
    "weights.count": equals(124.0),
}
MARGIN = 0.05


def claim_report(name, prediction, margin=MARGIN):
    return ClaimReport(
        name, "s", "r", "observational", "says", "refuted if", "q", prediction.statement,
        prediction.record(), margin=margin, sampled=prediction.sampled,
    )  # fmt: skip


def result(name, *, model="m", value=0.5, verdict=Verdict.CONFIRMED, **changes):
    exact = name.startswith("weights")
    estimate = Estimate(
        value, value - 0.1, value + 0.1, method=EXACT if exact else T_FAMILIES,
        clusters=0 if exact else FAMILIES, sd=None if exact else 0.2, p=None if exact else 0.01,
    )  # fmt: skip
    made = Result(
        name, "s", "r", "observational", model, "set", "no-bos", Outcome.PASSED, verdict,
        estimate=estimate, models=(model,),
    )  # fmt: skip
    return replace(made, **changes)


def evidence(names=tuple(KINDS), *, model="m", margin=MARGIN, **changes):
    made = Evidence(
        Environment("3.11", "linux", {}, "cpu", "float32"),
        tuple(claim_report(n, KINDS[n], margin) for n in names),
        (ModelReport(model, "local", "d", "t", None),),
        (PromptSetReport("set", "hash", FAMILIES * SIZE, FAMILIES),),
        tuple(result(n, model=model) for n in names),
    )
    return replace(made, **changes)


def rows(name, *, model="m", shift=0.0, families=FAMILIES, seed=0):
    """What a body returned: noise of sd .2 around .3, plus `shift` by prompt, block or family."""
    if name.startswith("weights"):
        return pd.DataFrame()
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    layers = range(6) if name == "gain.trend" else [None]
    family = np.repeat([f"f{i}" for i in range(families)], SIZE)
    frames = []
    for number, layer in enumerate(layers):
        for quantity in ("value", "value2") if name == "gain.correlation" else ("value",):
            moved = shift(number, quantity) if callable(shift) else shift
            frame = pd.DataFrame(
                {
                    "claim": name, "quantity": quantity, "model": model, "control": None,
                    "prompts": "set", "arm": "no-bos", "family": family, "layer": layer,
                    "prompt": [f"{f}/{i % SIZE}" for i, f in enumerate(family)],
                    "register": np.where(CALM[: family.size], "calm", "wild"),
                    "text": [f"text {i}" for i in range(family.size)],
                    "value": 0.3 + 0.2 * rng.normal(size=family.size) + moved,
                }
            )  # fmt: skip
            frames.append(frame)
    return pd.concat(frames)


def observations(names=tuple(KINDS), **how):
    shifts = how.pop("shifts", {})
    frames = [rows(n, shift=shifts.get(n, 0.0), **how) for n in names]
    return typed(pd.concat(frames, ignore_index=True))


def typed(frame):
    """Give every column that observations have, in the types that a written file has."""
    kinds = dict.fromkeys(("layer", "head"), "Int64")
    whole = frame.reindex(columns=list(COLUMNS))
    return whole.astype(kinds | {c: "string" for c in COLUMNS if c not in (*kinds, "value")})


def numbers(name, values):
    """Return what bodies that give one number each returned, by model."""
    return typed(
        pd.DataFrame(
            {"claim": name, "quantity": "value", "model": list(values), "prompts": "set",
             "arm": "no-bos", "value": list(values.values())}
        )
    )  # fmt: skip


def statuses(report):
    return {change.claim: change.status for change in report.changes}


def jitter(seed, sd, size):
    """Return noise of spread `sd`."""
    return sd * np.random.default_rng(seed).normal(size=size)


def altered(made, name, **changes):
    """Change the results of one claim."""
    results = tuple(replace(r, **changes) if r.claim == name else r for r in made.results)
    return replace(made, results=results)
