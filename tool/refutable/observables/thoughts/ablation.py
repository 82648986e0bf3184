"""Importance of thoughts: what the answer loses when one, or two, are replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from refutable.errors import NotMeasurableError
from refutable.models.large import is_large
from refutable.observables.registry import observable
from refutable.observables.thoughts.subject import (
    QUANTITIES,
    THOUGHTS,
    by_prompt,
    donors,
    first_of_each_family,
    is_latent,
    laid_out,
    scored,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    import xarray as xr
    from numpy.typing import NDArray

    from refutable.capture.thoughts import Thoughts
    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel

HOW = ("zero", "mean", "resampled")
"""What takes a thought's place: zeros, the mean over problems, another problem's thought."""
RUN_ON, INPUT = "input, later thoughts recomputed", "input"
# Many passes over every prompt: of larger models one problem a template, and the input alone.
_MOST_BLOCKS = 12


@observable(source="model", dims=("prompt", "thoughts", "quantity"))
def answers_by_thoughts(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Log-probability of the right answer in nats, and whether it is first, by thoughts given.

    Latent thoughts: 0 to 6 of them. Written ones: none (the steps left out) and all.
    """
    import numpy as np

    from refutable.capture.answers import answer_logits

    if is_latent(encoded):
        counts = tuple(range(THOUGHTS + 1))
        inputs = [laid_out(loaded, encoded, count=count) for count in counts]
    else:
        encoded = _affordable(loaded, encoded)
        counts = (0, THOUGHTS)
        full = laid_out(loaded, encoded)
        inputs = [_without_steps(full), full]
    scores = [scored(answer_logits(loaded.model, made), encoded).cpu().numpy() for made in inputs]
    values = np.stack(scores, axis=1)
    return by_prompt(
        values, encoded, ("thoughts", "quantity"), thoughts=counts, quantity=QUANTITIES
    )


@observable(
    source="model",
    dims=("prompt", "replaced_by", "place", "quantity", "thought"),
    in_store_only=True,
    economical=True,
)
def thought_importance(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """What the answer loses when a thought is replaced: nats of log-probability, and accuracy.

    Replaced at the input, with the later thoughts kept or (latent ones) computed anew from what
    was fed, and in the residual stream before each block. Positive: the answer got worse. In a
    large model thoughts are replaced by another problem's alone, and written ones so at the input
    alone: nothing else of theirs is read.
    """
    import numpy as np

    encoded = _affordable(loaded, encoded)
    ablation = _Ablation(loaded, encoded)
    coordinates = ablation.coordinates()
    ways = HOW if ablation.thoughts.latent and not is_large(loaded.facts) else HOW[-1:]
    values = np.stack(
        [
            np.stack(
                [
                    np.stack([ablation.lost(how, place, (n,)) for n in range(THOUGHTS)], axis=-1)
                    for place in coordinates
                ],
                axis=1,
            )
            for how in ways
        ],
        axis=1,
    )
    return by_prompt(
        values, encoded, ("replaced_by", "place", "quantity", "thought"),
        replaced_by=ways, place=coordinates, quantity=QUANTITIES, thought=range(THOUGHTS),
    )  # fmt: skip


@observable(source="model", dims=("prompt", "quantity", "first", "second"), in_store_only=True)
def thought_pair_importance(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """What the answer loses when two thoughts at once are another problem's, later ones kept.

    On the diagonal: one alone.
    """
    import numpy as np

    if not is_latent(encoded):
        raise NotMeasurableError("pairs are replaced among latent thoughts only")
    ablation = _Ablation(loaded, encoded)
    values = np.empty((len(encoded), 2, THOUGHTS, THOUGHTS))
    for first in range(THOUGHTS):
        for second in range(first, THOUGHTS):
            lost = ablation.lost("resampled", INPUT, tuple({first, second}))
            values[:, :, first, second] = values[:, :, second, first] = lost
    numbers = range(THOUGHTS)
    return by_prompt(
        values, encoded, ("quantity", "first", "second"),
        quantity=QUANTITIES, first=numbers, second=numbers,
    )  # fmt: skip


class _Ablation:
    """One model on one set of prompts, and what its thoughts are replaced by."""

    def __init__(self, loaded: LoadedModel, encoded: Encoded) -> None:
        from refutable.capture.answers import Rerun, answer_logits
        from refutable.models.structure import find_structure

        self.loaded, self.encoded = loaded, encoded
        self.blocks = find_structure(loaded.model).blocks
        self.thoughts = laid_out(loaded, encoded)
        self.other = donors(encoded)
        self._streams: dict[str, torch.Tensor] = {INPUT: self.thoughts.embeddings}

        def keep(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
            def kept(stream: torch.Tensor) -> torch.Tensor:
                self._streams[name] = stream.clone()
                return stream

            return kept

        edits = {number: keep(name) for number, name in self._of_blocks()}
        logits = answer_logits(loaded.model, self.thoughts, edits=edits, blocks=self.blocks)
        self._rerun = Rerun(loaded.model, self.thoughts, logits)
        self.intact = scored(logits, encoded)

    def _of_blocks(self) -> Iterator[tuple[int, str]]:
        if self.thoughts.latent and len(self.blocks) <= _MOST_BLOCKS:
            yield from ((number, f"block {number}") for number in range(len(self.blocks)))

    def coordinates(self) -> tuple[str, ...]:
        """Names of the places where a thought is replaced."""
        first = (RUN_ON,) if self.thoughts.latent else ()
        return (*first, INPUT, *(name for _, name in self._of_blocks()))

    def lost(self, how: str, place: str, numbers: tuple[int, ...]) -> NDArray[np.float64]:
        """Return what the answer loses, (prompt, quantity)."""
        from refutable.capture.answers import answer_logits
        from refutable.capture.thoughts import rethink

        model = self.loaded.model
        if place in (RUN_ON, INPUT):
            changed = self._replaced(self.thoughts.embeddings, INPUT, how, numbers)
            if place == RUN_ON:
                fed = {n: changed[self.thoughts.thought(n)] for n in numbers}
                changed = rethink(model, self.thoughts, fed).embeddings
            logits = self._rerun.logits(changed)
        else:
            block = int(place.removeprefix("block "))

            def edit(stream: torch.Tensor) -> torch.Tensor:
                return self._replaced(stream, place, how, numbers)

            logits = answer_logits(model, self.thoughts, edits={block: edit}, blocks=self.blocks)
        lost: NDArray[np.float64]
        lost = (self.intact - scored(logits, self.encoded)).double().cpu().numpy()
        return lost

    def _replaced(
        self, stream: torch.Tensor, place: str, how: str, numbers: tuple[int, ...]
    ) -> torch.Tensor:
        """Return a stream (prompt, position, dim) with thoughts replaced at their positions."""
        known, new = self._streams[place], stream.clone()
        for number in numbers:
            mask = self.thoughts.thought(number)
            if how == "zero":
                new[mask] = 0
            elif how == "mean":
                new[mask] = known[mask].mean(dim=0)
            else:
                self._resample(new, known, mask)
        return new

    def _resample(self, new: torch.Tensor, known: torch.Tensor, mask: torch.Tensor) -> None:
        """Put the other problem's vectors in; repeated or cut where it has fewer or more."""
        import torch

        for row, other in enumerate(self.other):
            there = mask[row].nonzero()[:, 0]
            donated = known[other, mask[other]]
            turn = torch.arange(len(there), device=there.device) % len(donated)
            new[row, there] = donated[turn]


def _affordable(loaded: LoadedModel, encoded: Encoded) -> Encoded:
    large = loaded.facts.blocks > _MOST_BLOCKS
    return first_of_each_family(encoded) if large else encoded


def _without_steps(full: Thoughts) -> Thoughts:
    """Hide the steps and move what follows them up: no position is left out of the count."""
    from dataclasses import replace

    from refutable.capture.thought_parts import without_gaps

    return without_gaps(replace(full, present=full.present & ~full.spans["thoughts"]))
