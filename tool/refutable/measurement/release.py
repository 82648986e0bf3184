"""Measuring a release beside its claims: next-token distributions, and what the files say.

What needs the model is measured by the same passes as the claims' observables and kept in the
store; `release_of` puts it together. The gate reads the record and needs no model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refutable.errors import NotMeasurableError, RefutableError, one_line
from refutable.evidence.release import FOLDER, Behaviour, Release, write_release
from refutable.measurement.archive import ObservationArchive
from refutable.measurement.completion import complete
from refutable.measurement.harness import Harness
from refutable.measurement.needs import TENSORS, Plan
from refutable.measurement.room import is_streamed
from refutable.measurement.state import State
from refutable.models.build import read_config, read_tokenizer
from refutable.models.encode import encode
from refutable.models.facts.config import config_facts, generation_facts, unknown_fields
from refutable.models.facts.remembered import remembered
from refutable.models.facts.stored import stored_facts
from refutable.models.facts.tokenizer import ends_of, tokenizer_facts
from refutable.models.sources import locate
from refutable.spec.prompts import PromptSet

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from refutable.system.typing import Json


def leave_releases(harness: Harness, models: Iterable[str], prompts: str, out: Path) -> list[str]:
    """Record models as releases below the folder of a run; those of an earlier run go.

    Returns
    -------
    list of str
        One line for each model that could not be recorded.
    """
    shutil.rmtree(out / FOLDER, ignore_errors=True)
    notes = []
    for model in models:
        try:
            if not harness.state(model).weights_available:
                continue
            write_release(release_of(harness, model, prompts), out)
        except RefutableError as problem:
            notes.append(f"{model} was not recorded as a release: {one_line(problem)}")
    return notes


def release_of(harness: Harness, model: str, prompts: str) -> Release:
    """Measure a release, or read it from the store.

    Parameters
    ----------
    harness : Harness
        With the model among those it knows.
    model : str
        The model's id.
    prompts : str
        Name of the prompt set.

    Raises
    ------
    RefutableError
        If the model, its prompts or the instrument failed.
    """
    known = harness.state(model)
    if is_streamed(known, harness.sources.settings):
        raise NotMeasurableError(
            "every tensor of a release is described, and this model is measured block by block: "
            "give more room with --claim-memory"
        )
    # A state of its own: what claims still read must stay.
    state = replace(known, arrays={}, measured=False, replayed=set(), unavailable={})
    plan = Plan()
    plan.add_release(known.facts, prompts)
    complete(ObservationArchive(harness.sources, state, plan), harness.say)
    chosen = harness.sources.prompts(prompts)
    files = _Files(known)
    facts = files.facts()
    tensors, weights = _tensors(state.arrays[prompts, "no-bos", ""][TENSORS])
    behaviour = {arm: _behaviour(state, chosen, files, (prompts, arm)) for _, arm, _ in plan.wanted}
    return Release(
        model, chosen.name, chosen.content_hash, {**facts, "tensors": tensors}, weights, behaviour
    )


def _behaviour(
    state: State,
    prompts: PromptSet,
    files: _Files,
    where: tuple[str, str],
) -> Behaviour:
    """Put the arrays of one arm together."""
    arrays = state.arrays[where[0], where[1], ""]
    log_probability = arrays["next_token_log_probabilities"].values
    kept = np.exp(log_probability.astype(np.float64)).sum(axis=1)
    lengths = arrays["n_tokens"].values.astype(np.int64)
    whole = log_probability.shape[1] >= state.facts.d_vocab
    return Behaviour(
        prompts=tuple(p.id for p in prompts.prompts),
        families=tuple(p.family for p in prompts.prompts),
        lengths=lengths,
        tokens=arrays["own_tokens"].values,
        ends=_ends(prompts, files, where[1], lengths),
        loss=arrays["own_token_loss"].values,
        ids=arrays["next_token_ids"].values,
        log_probability=log_probability,
        rest=np.zeros(len(kept)) if whole else np.clip(1.0 - kept, 1e-9, 1.0),
    )


def _ends(
    prompts: PromptSet, files: _Files, arm: str, lengths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Where each token's text ends; a BOS token ends before the text begins."""
    ends = np.array(files.ends(prompts, arm))
    return ends if ends.size == lengths.sum() else np.full(int(lengths.sum()), -1)


def _tensors(array: xr.DataArray) -> tuple[list[dict[str, Json]], dict[str, NDArray[np.float32]]]:
    from safetensors.numpy import load

    content = array.values.tobytes()
    size = int.from_bytes(content[:8], "little")
    head = json.loads(content[8 : 8 + size])
    return json.loads(head["__metadata__"]["tensors"]), load(content)


class _Files:
    """What the files of a model say; read once, then remembered.

    Parameters
    ----------
    state : State
        What is known of the model.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._checkpoint = locate(state.spec)

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase | None:
        return read_tokenizer(self._state.spec, self._checkpoint)

    def facts(self) -> dict[str, Json]:
        """What config, generation config, tokenizer and the headers of the weights say."""
        report, known = self._state.report, self._state.facts
        read = remembered("release", self._checkpoint, (), self._read)
        assert isinstance(read, dict)  # noqa: S101  (`_read` returns one)
        return {
            "class": known.architecture,
            "norm": known.norm_kind,
            **read,
            "weights_digest": report.weights_digest,
            "tokenizer_digest": report.tokenizer_digest,
            "dtype": report.dtype,
            "device": report.device,
        }

    def _read(self) -> Json:
        config = read_config(self._state.spec, self._checkpoint)
        return {
            "config": config_facts(config),
            "unknown": unknown_fields(config),
            "generation": generation_facts(self._checkpoint.folder),
            "tokenizer": tokenizer_facts(self._tokenizer),
            "stored": stored_facts(self._checkpoint.weights),
        }

    def ends(self, prompts: PromptSet, arm: str) -> list[int]:
        """Where the text of each token of a prompt set ends; empty if that cannot be told."""
        texts = [p.text for p in prompts.prompts if p.text is not None]
        if len(texts) < len(prompts.prompts):
            return []

        def read() -> Json:
            ends = ends_of(self._tokenizer, texts) or []
            facts = self._state.facts
            bos = encode(prompts, self._tokenizer, facts, arm).bos if ends else None
            front = [] if bos is None else [0]
            return [end for spans in ends for end in (*front, *spans)]

        of = (prompts.content_hash, arm, str(self._state.facts.bos))
        ends = remembered("ends of tokens", self._checkpoint, of, read)
        assert isinstance(ends, list)  # noqa: S101  (`read` returns one)
        return [int(str(end)) for end in ends]
