"""A synthetic run with planted numbers: what the report's tests read instead of a measured model.

Norms grow by a planted log gain per block, so every number on a page can be traced to `PLANTED`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
from golden.sample_claims import CLAIMS
from scipy import stats

from refutable.records import (
    Control,
    Counterexample,
    Environment,
    Estimate,
    Evidence,
    InstrumentCheck,
    ModelFacts,
    ModelReport,
    Outcome,
    PromptSetReport,
    Reading,
    Region,
    Replication,
    Result,
    Verdict,
)

REGISTERS = ("factual", "syntactic", "cliche", "novel", "nonsense")
PLANTED = {
    "gpt2-medium": ("LayerNorm", 24, 0.145, 355_000_000),
    "gpt2-large": ("LayerNorm", 36, -0.060, 774_000_000),
    "smollm2-135m": ("RMSNorm", 30, 0.075, 134_515_008),
    "gemma-3-270m": ("RMSNorm", 18, 0.004, 268_098_176),
}
"""Norm kind, blocks, mean log gain of the last block, parameters."""
SHIFT = {"factual": -0.05, "syntactic": 0.03, "cliche": -0.05, "novel": -0.07, "nonsense": 0.14}
CONTROLS = 5
PROMPTS, ARM = "five-registers", "no-bos"


def observations(families: int = 6, each: int = 5, seed: int = 7) -> pd.DataFrame:
    """Return norms, entropies and log gains: `families` families of `each` prompts per register."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for model, (_, blocks, gain, _) in PLANTED.items():
        for control in (None, *(f"untrained-{k}" for k in range(CONTROLS))):
            for register in REGISTERS:
                for place in range(families):
                    family = f"{register}-{place}"
                    level = rng.normal(0, 0.03)
                    for item in range(each):
                        growth = rng.normal(0.09, 0.02, blocks)
                        growth[0] = 0.0
                        last = gain + SHIFT[register] + level + rng.normal(0, 0.05)
                        growth[-1] = rng.normal(0.05, 0.01) if control else last
                        entropy = 3.0 + 8 * growth[-1] + rng.normal(0, 0.6)
                        base = {
                            "model": model,
                            "control": control,
                            "prompts": PROMPTS,
                            "arm": ARM,
                            "prompt": f"{family}/{item}",
                            "family": family,
                            "register": register,
                            "text": f"The {register} prompt number {item} of {family} is",
                        }
                        norms = 40 * np.exp(np.cumsum(growth))
                        rows += [
                            base | {"quantity": "residual_norm", "layer": k, "value": norms[k]}
                            for k in range(blocks)
                        ]
                        rows.append(base | {"quantity": "next_token_entropy", "value": entropy})
                        rows.append(
                            base
                            | {"quantity": "value", "claim": claim_for(model), "value": growth[-1]}
                        )
    frame = pd.DataFrame(rows)
    frame["layer"] = frame["layer"].astype("Int64")
    return frame


def claim_for(model: str) -> str:
    """Return the id of the claim about the last block's gain that speaks of a model."""
    return "gain.layernorm-dampens" if PLANTED[model][0] == "LayerNorm" else "gain.rmsnorm-expands"


def estimate(values: pd.Series, families: pd.Series, **more: object) -> Estimate:
    """t interval on family means, written out."""
    means = values.groupby(families.to_numpy()).mean().to_numpy()
    mean, sd = float(means.mean()), float(means.std(ddof=1))
    half = float(stats.t.ppf(0.975, means.size - 1)) * sd / math.sqrt(means.size)
    return Estimate(
        mean,
        mean - half,
        mean + half,
        unit="log ratio",
        method="t on family means",
        n=values.size,
        clusters=means.size,
        sd=sd,
        df=means.size - 1.0,
        error=2e-6,
        check_low=mean - 1.03 * half,
        check_high=mean + 1.01 * half,
        **more,  # type: ignore[arg-type]
    )


def decided(measured: Estimate, region: Region) -> Verdict:
    """Interval against region."""
    assert measured.low is not None
    assert measured.high is not None
    low = -math.inf if region.low is None else region.low
    high = math.inf if region.high is None else region.high
    if low < measured.low and measured.high < high:
        return Verdict.CONFIRMED
    if measured.high < low or measured.low > high:
        return Verdict.REFUTED
    return Verdict.INCONCLUSIVE


def evidence(frame: pd.DataFrame) -> Evidence:
    """Return the records that belong to `frame`."""
    results: list[Result] = []
    for model, (kind, _blocks, _, parameters) in PLANTED.items():
        results.append(_gain(frame, model))
        results.append(_skipped(model, kind))
        results.append(_universal(frame, model))
        results.append(_count(model, parameters))
    broken = InstrumentCheck(
        "packed equals single", False, 0.31, 0.001, "packed logits differ from single prompts"
    )
    error = "tiny-layernorm: instrument check failed: packed equals single"
    results.append(
        replace(
            _skipped("tiny-layernorm", "RMSNorm"),
            claim="gain.layernorm-dampens",
            ref="G1",
            outcome=Outcome.ERROR,
            reason=error,
        )
    )
    models = [_model(m, k, b, p) for m, (k, b, _, p) in PLANTED.items()]
    tiny = replace(
        _model("tiny-layernorm", "LayerNorm", 4, 1_200_000), checks=(broken,), error=error
    )
    return Evidence(
        Environment(
            "3.11.9",
            "Linux-x86_64",
            {"refutable": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
            "cpu",
            "float32",
            command="refutable verify --model gpt2-medium --model smollm2-135m",
            started="2026-11-22T04:45:00+00:00",
            seconds=73.2,
            family_size=8,
        ),
        CLAIMS,
        (*models, tiny),
        (PromptSetReport(PROMPTS, "ab12" * 16, 150, 30, "Five registers, six families each."),),
        tuple(results),
        notes=("Holm over 8 claims x models.",),
    )


def _rows_of(frame: pd.DataFrame, model: str, *, control: bool = False) -> pd.DataFrame:
    chosen = frame[(frame["model"] == model) & (frame["quantity"] == "value")]
    return chosen[chosen["control"].notna()] if control else chosen[chosen["control"].isna()]


def _gain(frame: pd.DataFrame, model: str) -> Result:
    model_rows, null = _rows_of(frame, model), _rows_of(frame, model, control=True)
    claim = next(c for c in CLAIMS if c.id == claim_for(model))
    measured = estimate(model_rows["value"], model_rows["family"], p=0.0003, p_adjusted=0.0024)
    control = replace(estimate(null["value"], null["family"]), seeds=CONTROLS)
    paired = model_rows.groupby("family")["value"].mean() - null.groupby("family")["value"].mean()
    contrast = estimate(paired, paired.index.to_series())
    informative = claim.region.high is not None and model == "gpt2-large"
    verdict = decided(measured, claim.region)
    ratio = np.exp(model_rows["value"])
    return Result(
        claim.id,
        claim.study,
        claim.ref,
        claim.kind,
        model,
        PROMPTS,
        ARM,
        Outcome.FAILED if model == "gpt2-medium" else Outcome.PASSED,
        verdict,
        expected={"gpt2-medium": Verdict.CONFIRMED, "gpt2-large": Verdict.CONFIRMED}.get(model),
        reason=f"interval against region {claim.predicted}",
        estimate=measured,
        parts=(
            replace(measured, part="all blocks"),
            replace(contrast, part="last minus five before"),
        ),
        control=Control(
            "untrained",
            tuple(f"{model}@untrained-{k}" for k in range(CONTROLS)),
            control,
            contrast,
            Reading.INFORMATIVE if informative else Reading.UNDETERMINED,
            "the contrast lies beyond the smallest effect of interest on the claimed side"
            if informative
            else "neither the contrast nor the control settles it",
        ),
        replication=Replication(
            "One-sample t-test of the gain against 1 over prompts taken as independent.",
            Estimate(
                float(ratio.mean()),
                float(ratio.mean() - 2 * ratio.sem()),
                float(ratio.mean() + 2 * ratio.sem()),
                unit="ratio",
                method="one-sample t",
                n=ratio.size,
            ),
            Region(None, 1.0) if claim.region.low is None else Region(1.0, None),
            "would say: the opposite" if model == "gpt2-medium" else "would say: as claimed",
            {"EleutherAI/pythia-6.9b": 0.80},
        ),
        models=(model,),
        survives_holm=verdict is not Verdict.INCONCLUSIVE,
        families_needed=(40, 260) if verdict is Verdict.INCONCLUSIVE else None,
        nodeid=f"claims/last_block_gain/test_gain.py::test_gain[{model}]",
        command=f"refutable verify {claim.id} --model {model} --prompts {PROMPTS}",
        seconds=0.4,
    )


def _skipped(model: str, kind: str) -> Result:
    other = "gain.rmsnorm-expands" if kind == "LayerNorm" else "gain.layernorm-dampens"
    return Result(
        other,
        "last-block-gain",
        "G2" if kind == "LayerNorm" else "G1",
        "observational",
        model,
        PROMPTS,
        ARM,
        Outcome.SKIPPED,
        reason=f"the claim is about another norm, {model} is normalized by {kind}",
    )


def _universal(frame: pd.DataFrame, model: str) -> Result:
    rows_of_model = _rows_of(frame, model)
    sign = -1 if PLANTED[model][0] == "LayerNorm" else 1
    worst = rows_of_model.loc[(sign * rows_of_model["value"]).idxmin()]
    value = float(sign * worst["value"])
    return Result(
        "gain.norm-fixes-sign",
        "last-block-gain",
        "G3",
        "observational",
        model,
        PROMPTS,
        ARM,
        Outcome.PASSED,
        Verdict.REFUTED,
        expected=Verdict.REFUTED,
        reason="one counterexample refutes a universal claim",
        estimate=Estimate(value, None, None, unit="log ratio", method="smallest value", n=150),
        counterexample=Counterexample(worst["text"], value, worst["family"]),
        models=(model,),
        command=f"refutable verify gain.norm-fixes-sign --model {model}",
    )


def _count(model: str, parameters: int) -> Result:
    applies = model == "gpt2-medium"
    return Result(
        "weights.parameter-count",
        "gpt2-weights",
        "W1",
        "weights",
        model,
        "",
        "",
        Outcome.PASSED if applies else Outcome.SKIPPED,
        Verdict.CONFIRMED if applies else None,
        reason="" if applies else f"the claim is about gpt2-medium, not about {model}",
        estimate=_exact(parameters) if applies else None,
        command=f"refutable verify weights.parameter-count --model {model}",
    )


def _exact(count: int) -> Estimate:
    value = float(count)
    return Estimate(
        value, value, value, unit="parameters", method="fact: value and numerical error", n=1
    )


def _model(name: str, kind: str, blocks: int, parameters: int) -> ModelReport:
    facts = ModelFacts(
        name, "GPT2LMHeadModel", kind, blocks, 16, 1024, 50257, 1024, parameters, True,
        "learned", True, 50256, True,
    )  # fmt: skip
    checks = (
        InstrumentCheck("packed equals single", True, 3.1e-6, 1e-3),
        InstrumentCheck("hooks change nothing", True, 0.0, 0.0),
        InstrumentCheck("attention rows sum to 1", True, 1.2e-7, 1e-4),
    )
    return ModelReport(
        name, "hub", "d1" * 32, "70" * 32, facts, "cpu", "float32", "packed", "sdpa", checks,
        seconds=4.2,
    )  # fmt: skip
