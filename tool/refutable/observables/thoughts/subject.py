"""What the observables of thoughts share: the prompts laid out, answers, donors, labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from refutable.errors import NotMeasurableError

if TYPE_CHECKING:
    import numpy as np
    import torch
    import xarray as xr
    from numpy.typing import NDArray

    from refutable.capture.thoughts import Thoughts
    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel

THOUGHTS = 6
NAMES = tuple(f"t{number}" for number in range(THOUGHTS))


def is_latent(encoded: Encoded) -> bool:
    """Whether thoughts are to be inserted between ``begin`` and ``end``, or stand written.

    Raises
    ------
    NotMeasurableError
        If the prompts mark neither.
    """
    spans = encoded.spans
    if spans and all("begin" in span for span in spans):
        return True
    if spans and all(name in span for span in spans for name in NAMES):
        return False
    raise NotMeasurableError(
        "these prompts mark no thoughts: use a set whose prompts name the spans begin and end, or "
        "t0 to t5"
    )


def laid_out(loaded: LoadedModel, encoded: Encoded, *, count: int = THOUGHTS) -> Thoughts:
    """Return the prompts with their thoughts: computed here, or as they stand written.

    Parameters
    ----------
    loaded : LoadedModel
        The model that thinks.
    encoded : Encoded
        Prompts that mark ``begin`` and ``end``, or ``t0`` to ``t5``.
    count : int
        Thoughts to think, where they are computed here; 0 for none.
    """
    from refutable.capture.thoughts import latent_thoughts, without_thoughts, written_thoughts

    if not is_latent(encoded):
        answers = known(encoded)
        asked = [
            (*tokens, *answer[:-1]) for tokens, answer in zip(encoded.ids, answers, strict=True)
        ]
        return written_thoughts(loaded.model, asked, encoded.spans, THOUGHTS)
    prompts: list[tuple[int, ...]] = []
    ends: set[tuple[int, ...]] = set()
    for ids, span in zip(encoded.ids, encoded.spans, strict=True):
        cut = span["begin"][-1] + 1
        prompts.append(ids[:cut])
        ends.add(ids[cut:])
    if len(ends) > 1:
        raise NotMeasurableError("latent thoughts need the same end tokens in every prompt")
    (end,) = ends
    if count == 0:
        return without_thoughts(loaded.model, prompts, end=end)
    return latent_thoughts(loaded.model, prompts, count, end=end)


def known(encoded: Encoded) -> tuple[tuple[int, ...], ...]:
    """Return the token ids of the right answers.

    Raises
    ------
    NotMeasurableError
        If a prompt has none.
    """
    if not encoded.answers or not all(encoded.answers):
        raise NotMeasurableError("these prompts state no answers: use a set that does")
    return encoded.answers


def scored(logits: torch.Tensor, encoded: Encoded) -> torch.Tensor:
    """Return log-probability of the right answer in nats, and whether it is the first choice.

    Parameters
    ----------
    logits
        Shape (prompt, vocabulary).
    encoded
        For the answers; of several tokens the last counts, those before it being given.

    Returns
    -------
    torch.Tensor
        Shape (prompt, 2).
    """
    import torch

    right = torch.tensor([answer[-1] for answer in known(encoded)], device=logits.device)
    said = logits.log_softmax(dim=-1).gather(1, right[:, None])[:, 0]
    return torch.stack([said, (logits.argmax(dim=-1) == right).float()], dim=1)


QUANTITIES = ("log-probability", "accuracy")


def donors(encoded: Encoded) -> list[int]:
    """Return for each prompt the next one of another family and another answer."""
    count = len(encoded)
    donors_of = []
    for place in range(count):
        others = ((place + step) % count for step in range(1, count))
        other = next(
            (
                at
                for at in others
                if encoded.families[at] != encoded.families[place]
                and known(encoded)[at] != known(encoded)[place]
            ),
            None,
        )
        if other is None:
            raise NotMeasurableError(
                "another problem's thought needs prompts of two families with different answers"
            )
        donors_of.append(other)
    return donors_of


def first_of_each_family(encoded: Encoded, count: int = 1) -> Encoded:
    """Keep the first prompts of every family: for what takes many passes of a large model."""
    by_family: dict[str, list[int]] = {}
    for place, name in enumerate(encoded.families):
        by_family.setdefault(name, []).append(place)
    return encoded.only(sorted(place for of in by_family.values() for place in of[:count]))


def by_prompt(
    values: NDArray[np.float64],
    encoded: Encoded,
    dims: Sequence[str],
    **coords: Sequence[str] | Sequence[int],
) -> xr.DataArray:
    """Label an array whose first dimension is the prompt."""
    import numpy as np
    import xarray as xr

    about = {
        "prompt": ("prompt", np.asarray(encoded.prompt_ids)),
        "family": ("prompt", np.asarray(encoded.families)),
    }
    named = {key: (key, list(value)) for key, value in coords.items()}
    return xr.DataArray(values, dims=("prompt", *dims), coords={**about, **named})
