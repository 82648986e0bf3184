"""What a run leaves of a release beside its claims: what the model says and what its files say.

Below the folder of the run, for each model: ``releases/NAME/facts.json`` (config, tokenizer and one
entry for each tensor), ``weights.safetensors`` (norms and projections of rows and columns) and
``behaviour.safetensors`` (next-token distributions). Read and written without torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refutable.errors import EvidenceError
from refutable.system.files import write

FOLDER = "releases"
SCHEMA = "refutable.release/1"
_LOWEST = 64.0
"""Log-probabilities below minus this are kept as minus this."""
_STEPS = 65535

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a model says after every token of a prompt set in one arm."""

    prompts: tuple[str, ...]
    families: tuple[str, ...]
    lengths: Array
    """Tokens of each prompt: (prompt,)."""
    tokens: Array
    """Their ids, prompt after prompt: (token,)."""
    ends: Array
    """Where each token's text ends in the prompt, in characters; -1 where unknown: (token,)."""
    loss: Array
    """Minus the log-probability of the next own token, nats; NaN at a prompt's last: (token,)."""
    ids: Array
    """Most probable next tokens: (token, rank)."""
    log_probability: Array
    """Their log-probabilities, falling, nats: (token, rank)."""
    rest: Array
    """Probability of all other tokens together: (token,)."""

    @property
    def prompt_of(self) -> Array:
        """Index of each token's prompt: (token,)."""
        return np.repeat(np.arange(len(self.prompts)), self.lengths)


@dataclass(frozen=True, slots=True)
class Release:
    """One model as a run found it."""

    model: str
    prompts: str
    prompts_hash: str
    facts: dict[str, Any] = field(repr=False)
    """``config``, ``unknown`` (fields that the class does not read), ``generation``,
    ``tokenizer``, ``tensors`` and ``stored`` (files and their types)."""
    weights: Mapping[str, Array] = field(repr=False)
    behaviour: Mapping[str, Behaviour] = field(repr=False)
    """By arm."""


def slug(model: str) -> str:
    """Return a folder's name for a model."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.") or "model"
    return plain if plain == model else f"{plain}-{hashlib.sha256(model.encode()).hexdigest()[:6]}"


def coarse(log_probability: Array) -> NDArray[np.uint16]:
    """Keep log-probabilities in 16 bits, finest near 0 where probability is large.

    The root of minus the logarithm is rounded: a probability of 0.5 is kept to 2e-4 in nats, one of
    1e-6 to 1e-3. Kullback-Leibler divergences move by the square of that.
    """
    root = np.sqrt(np.clip(-log_probability.astype(np.float64), 0.0, _LOWEST))
    return np.asarray(np.rint(root / np.sqrt(_LOWEST) * _STEPS), dtype=np.uint16)


def fine(code: Array) -> NDArray[np.float32]:
    """Return the log-probabilities that `coarse` kept."""
    root = code.astype(np.float64) / _STEPS * np.sqrt(_LOWEST)
    return np.asarray(-(root**2), dtype=np.float32)


def write_release(release: Release, out: Path) -> Path:
    """Write a release below the folder of a run; each file appears whole.

    Returns
    -------
    Path
        The release's own folder.
    """
    from safetensors.numpy import save

    folder = out / FOLDER / slug(release.model)
    arms = {arm: _labels(one) for arm, one in release.behaviour.items()}
    files = {
        "weights.safetensors": save(_plain(release.weights)),
        "behaviour.safetensors": save(_arrays(release.behaviour)),
    }
    head = {
        "schema": SCHEMA,
        "model": release.model,
        "prompts": release.prompts,
        "prompts_hash": release.prompts_hash,
        "arms": arms,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    for name, content in files.items():
        write(folder / name, content)
    text = json.dumps({**head, "facts": release.facts}, ensure_ascii=False, indent=1)
    write(folder / "facts.json", text.encode("utf-8", "backslashreplace"))
    return folder


def _labels(one: Behaviour) -> dict[str, list[str]]:
    return {"prompts": list(one.prompts), "families": list(one.families)}


def _plain(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _arrays(behaviour: Mapping[str, Behaviour]) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for arm, one in behaviour.items():
        small = one.ids.size == 0 or int(one.ids.max()) < 1 << 16
        arrays |= {
            f"{arm}|lengths": one.lengths.astype(np.int32),
            f"{arm}|tokens": one.tokens.astype(np.int32),
            f"{arm}|ends": one.ends.astype(np.int32),
            f"{arm}|loss": one.loss.astype(np.float32),
            f"{arm}|ids": one.ids.astype(np.uint16 if small else np.uint32),
            f"{arm}|code": coarse(one.log_probability),
            f"{arm}|rest": one.rest.astype(np.float32),
        }
    return _plain(arrays)


def release_folders(run: Path) -> list[Path]:
    """Return the folders of all releases that a run left."""
    return sorted(path.parent for path in (run / FOLDER).glob("*/facts.json"))


def read_release(folder: Path) -> Release:
    """Read what `write_release` wrote, checking the digests of its files.

    Raises
    ------
    EvidenceError
        In one line, if a file is missing, unreadable, of another schema, or not the one written.
    """
    head = _head(folder / "facts.json")
    arrays = {name: _tensors(folder / name, digest) for name, digest in head["sha256"].items()}
    try:
        behaviour = {
            arm: _behaviour(arrays["behaviour.safetensors"], arm, labels)
            for arm, labels in head["arms"].items()
        }
        return Release(
            head["model"], head["prompts"], head["prompts_hash"], head["facts"],
            arrays["weights.safetensors"], behaviour,
        )  # fmt: skip
    except KeyError as missing:
        raise EvidenceError(f"{folder} lacks {missing}: run `refutable verify` again") from None


def _head(path: Path) -> dict[str, Any]:
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "it is not whole JSON"
        raise EvidenceError(f"cannot read {path}: {reason}; run `refutable verify` again") from None
    schema = head.get("schema") if isinstance(head, dict) else None
    if schema != SCHEMA:
        raise EvidenceError(f"{path} has schema {schema!r}, expected {SCHEMA!r}: run it again")
    content: dict[str, Any] = head
    return content


def _tensors(path: Path, digest: str) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise EvidenceError(f"{path} is not the file that its run wrote: run it again")
        return load(content)
    except OSError as problem:
        raise EvidenceError(f"cannot read {path}: {problem.strerror}; run it again") from None
    except SafetensorError as problem:
        raise EvidenceError(f"cannot read {path}: {problem}; run it again") from None


def _behaviour(arrays: Mapping[str, Array], arm: str, labels: Mapping[str, Any]) -> Behaviour:
    parts = {key: arrays[f"{arm}|{key}"] for key in ("lengths", "tokens", "ends", "loss", "rest")}
    return Behaviour(
        prompts=tuple(labels["prompts"]),
        families=tuple(labels["families"]),
        ids=arrays[f"{arm}|ids"].astype(np.int64),
        log_probability=fine(arrays[f"{arm}|code"]),
        **parts,
    )
