"""Evidence of schema 1, which held a prediction as a sentence alone, brought into today's form.

The only place that reads a prediction out of its wording, which no longer changes: that of the
versions that wrote schema 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from refutable.records import SCHEMA

SCHEMA_1 = "refutable.evidence/1"

_SEEDS = r"(?: \(seeds? (?P<seeds>[\d, ]+) left out\))?"
_NUMBER = r"[-+.\de]+"
_END = rf" (?:(?:below|above|around) {_NUMBER}|between {_NUMBER} and {_NUMBER})$"
_FORMS: tuple[tuple[str, str], ...] = (
    ("against_control", rf"mean over families of model minus control{_END}"),
    ("contrast", rf"mean over families of (?P<first>.+) minus (?P<second>.+?){_SEEDS}{_END}"),
    ("mean", rf"mean over families{_END}"),
    ("over_seeds", rf"mean over the training seeds of (?P<group>.+?){_SEEDS}{_END}"),
    ("each_seed", r"value of each training seed of (?P<group>.+?) (?P<where>equal to .+)$"),
    ("each_seed", rf"value of each training seed of (?P<group>.+?){_END}"),
    ("across", r"mean likeness of a (?P<first>.+) and a (?P<second>.+) of different seeds, minus "
               rf"that of two (?P=second){_SEEDS},{_END}"),
    ("share", r"share of prompts, families equally weighted, with a value above "
              rf"(?P<over>{_NUMBER}){_END}"),
    ("share", rf"share of prompts, families equally weighted,{_END}"),
    ("correlation", rf"correlation, between and within families each,{_END}"),
    ("trend", rf"mean slope per block, with and without the first and the last block,{_END}"),
    ("ordered_models", rf"means ordered over models{_SEEDS}, (?P<levels>.+), each step{_END}"),
    ("ordered", r"means ordered over (?P<over>[^,]+), (?P<levels>.+), each step" + _END),
    ("every", rf"every value{_END}"),
    ("equals", r"value (?P<where>equal to .+)$"),
    ("fact", rf"value{_END}"),
)  # fmt: skip


def converted(content: dict[str, Any]) -> dict[str, Any]:
    """Return evidence of schema 1, as parsed from JSON, in the form of the present schema.

    Parameters
    ----------
    content : dict
        The parsed file. Malformed parts stay as they are, for the check of the form to refuse.
    """
    claims = content.get("claims")
    if isinstance(claims, list):
        claims = [_claim(claim) if isinstance(claim, dict) else claim for claim in claims]
    current = {**content, "schema": SCHEMA, "claims": claims}
    for part, name in (("claims", "statement"), ("prompts", "description")):
        current[part] = _renamed(current.get(part), name)
    if isinstance(results := content.get("results"), list):
        current["results"] = [
            {**one, "replication": _renamed([one["replication"]], "statement")[0]}
            if isinstance(one, dict) and isinstance(one.get("replication"), dict)
            else one
            for one in results
        ]
    return current


def _renamed(items: Any, name: str) -> Any:
    """Give the field ``says`` its present name."""
    if not isinstance(items, list):
        return items
    return [
        {(name if key == "says" else key): value for key, value in item.items()}
        if isinstance(item, dict)
        else item
        for item in items
    ]


def _claim(claim: dict[str, Any]) -> dict[str, Any]:
    sentence, region = claim.get("statistic"), claim.get("region")
    if not isinstance(sentence, str) or not isinstance(region, dict):
        return claim
    kept = {name: value for name, value in claim.items() if name not in ("statistic", "region")}
    return {**kept, "predicted": sentence, "prediction": prediction_in(sentence, region)}


def prediction_in(sentence: str, region: dict[str, Any]) -> dict[str, Any]:
    """Read kind and parameters of a prediction out of the wording of schema 1.

    Parameters
    ----------
    sentence : str
        Such as ``mean over families of a minus b (seed 0 left out) above 0.02``.
    region : dict
        Its ``low`` and ``high``.

    Returns
    -------
    dict
        With an empty kind where the sentence is of no known form. What the wording did not say,
        such as the tolerance of a universal claim, is not there.
    """
    ends = {"low": region.get("low"), "high": region.get("high")}
    for kind, form in _FORMS:
        match = re.match(form, sentence)
        if match is not None:
            return {"kind": kind, "parameters": {**ends, **_PARAMETERS[kind](match, ends)}}
    return {"kind": "", "parameters": ends}


def _left_out(match: re.Match[str]) -> list[int]:
    return [int(seed) for seed in (match["seeds"] or "").split(",") if seed]


def _levels(match: re.Match[str]) -> list[list[str]]:
    return [level.split("/") for level in match["levels"].split(" < ")]


def _pair(match: re.Match[str], _: dict[str, Any]) -> dict[str, Any]:
    return {"names": [match["first"], match["second"]], "left_out": _left_out(match)}


def _over_seeds(match: re.Match[str], _: dict[str, Any]) -> dict[str, Any]:
    return {"names": [match["group"]], "left_out": _left_out(match)}


def _each_seed(match: re.Match[str], ends: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {"names": [match["group"]]}
    if "where" in match.groupdict():
        given["tolerance"] = (ends["high"] - ends["low"]) / 2
    return given


def _equals(_: re.Match[str], ends: dict[str, Any]) -> dict[str, Any]:
    low, high = ends["low"], ends["high"]
    return {"value": (low + high) / 2, "tolerance": (high - low) / 2}


def _share(match: re.Match[str], _: dict[str, Any]) -> dict[str, Any]:
    return {"over": float(match["over"])} if "over" in match.groupdict() else {"over": None}


def _ordered(match: re.Match[str], _: dict[str, Any]) -> dict[str, Any]:
    return {"levels": _levels(match), "over": match["over"]}


def _ordered_models(match: re.Match[str], _: dict[str, Any]) -> dict[str, Any]:
    return {"names": [level[0] for level in _levels(match)], "left_out": _left_out(match)}


def _nothing(_match: re.Match[str], _ends: dict[str, Any]) -> dict[str, Any]:
    return {}


_PARAMETERS: dict[str, Callable[[re.Match[str], dict[str, Any]], dict[str, Any]]] = {
    "against_control": _nothing,
    "contrast": _pair,
    "mean": _nothing,
    "over_seeds": _over_seeds,
    "each_seed": _each_seed,
    "across": _pair,
    "share": _share,
    "correlation": _nothing,
    "trend": _nothing,
    "ordered_models": _ordered_models,
    "ordered": _ordered,
    "every": _nothing,
    "equals": _equals,
    "fact": _nothing,
}
