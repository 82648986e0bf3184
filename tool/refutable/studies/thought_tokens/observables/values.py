"""What value a thought of a twin holds, and whether another problem's thought steers the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.errors import NotMeasurableError
from refutable.observables.registry import observable
from refutable.observables.thoughts.readout import thought_logits
from refutable.observables.thoughts.subject import by_prompt, donors, known, laid_out
from refutable.studies.thought_tokens.task import (
    MODULUS,
    PAUSE,
    PROMPT,
    SLOTS,
    VOCABULARY,
    after,
)

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel

OUTCOMES = ("other's answer", "continued", "own answer")
LATER = ("recomputed", "kept")


@observable(source="model", dims=("prompt", "thought", "slot"))
def thought_values(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Whether a thought reads out, among the 11 values, as the value after a slot: 1 or 0."""
    import numpy as np

    _check(loaded)
    said = thought_logits(loaded, encoded)[..., :MODULUS].argmax(dim=-1).cpu().numpy()
    wanted = np.array([_values(ids) for ids in encoded.ids])
    hit = (said[:, :, None] == wanted[:, None, :]).astype(float)
    return by_prompt(hit, encoded, ("thought", "slot"), thought=range(SLOTS), slot=range(SLOTS))


@observable(source="model", dims=("prompt", "later", "outcome", "thought"))
def thought_steering(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """What the model answers when one thought is another problem's: 1 or 0 by outcome.

    ``other's answer``: the right answer of the other problem. ``continued``: the other problem's
    value after that slot, taken on through this problem's later slots. ``own answer``: as before.
    Later thoughts are ``recomputed`` from the patched one, or ``kept``.
    """
    from dataclasses import replace

    import numpy as np

    from refutable.capture.answers import answer_logits
    from refutable.capture.thoughts import rethink

    _check(loaded)
    other = donors(encoded)
    answers = np.array([answer[-1] for answer in known(encoded)])
    intact = laid_out(loaded, encoded)
    values = np.empty((len(encoded), len(LATER), len(OUTCOMES), SLOTS))
    for number in range(SLOTS):
        at = intact.columns(f"t{number}")[0]
        patched = intact.embeddings[:, at][other]

        kept = intact.embeddings.clone()
        kept[:, at] = patched
        inputs = (
            rethink(loaded.model, intact, {number: patched}),
            replace(intact, embeddings=kept),
        )
        continued = [
            after(encoded.ids[row], number + 1, _values(encoded.ids[donor])[number])
            for row, donor in enumerate(other)
        ]
        targets = np.stack([answers[other], np.array(continued), answers], axis=1)
        for place, made in enumerate(inputs):
            said = answer_logits(loaded.model, made).argmax(dim=-1).cpu().numpy()
            values[:, place, :, number] = said[:, None] == targets
    return by_prompt(
        values, encoded, ("later", "outcome", "thought"),
        later=LATER, outcome=OUTCOMES, thought=range(SLOTS),
    )  # fmt: skip


@observable(dims=("later", "outcome", "thought"), recorded_with="thought_steering")
def mean_thought_steering(thought_steering: xr.DataArray) -> xr.DataArray:
    """Share of answers by outcome when one thought is another problem's."""
    return thought_steering.mean("prompt")


def _check(loaded: LoadedModel) -> None:
    if loaded.facts.d_vocab != VOCABULARY:
        raise NotMeasurableError("only the thought twins' task says what value a slot leaves")


def _values(ids: tuple[int, ...]) -> list[int]:
    if len(ids) < PROMPT or not all(PAUSE >= token for token in ids[1 : SLOTS + 2]):
        raise NotMeasurableError("these prompts are not of the thought twins' task")
    return [after(ids[: slot + 3], 0, ids[1]) for slot in range(SLOTS)]
