"""Prompts with thoughts, dealt to passes: of like length, and no more tokens than run fast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from refutable.capture.thoughts import Thoughts

# Numbers of one layer's stream that stay near the processor, and tokens that fill its units.
_NUMBERS = 1 << 18
_FEWEST = 256
_ACCELERATOR = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some prompts of a set, without the columns that all of them leave empty on the left."""

    rows: torch.Tensor
    """Which prompts, as indices into the set."""
    start: int
    """The first column that is kept."""
    thoughts: Thoughts

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """Cut (prompt, position, ...) of the whole set to this part."""
        return values.index_select(0, self.rows)[:, self.start :]


def parts_of(thoughts: Thoughts) -> list[Part]:
    """Deal prompts to passes by their lengths.

    Parameters
    ----------
    thoughts
        Prompts padded on the left.

    Returns
    -------
    list of Part
        Together they hold every prompt once. Few columns of a part are padding, and on a processor
        its activations stay in the cache.
    """
    lengths = (thoughts.present.shape[1] - thoughts.present.float().argmax(dim=1)).tolist()
    return [_part(thoughts, rows) for rows in _dealt(lengths, _most_tokens(thoughts.embeddings))]


def _most_tokens(embeddings: torch.Tensor) -> int:
    if embeddings.device.type != "cpu":
        return _ACCELERATOR
    return max(_FEWEST, _NUMBERS // embeddings.shape[-1])


def _dealt(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if rows and lengths[row] * (len(rows) + 1) > most:
            yield rows
            rows = []
        rows.append(row)
    yield rows


def _part(thoughts: Thoughts, rows: Sequence[int]) -> Part:
    chosen = torch.tensor(rows, device=thoughts.present.device)
    start = int(thoughts.present[chosen].any(dim=0).float().argmax())

    def cut(values: torch.Tensor) -> torch.Tensor:
        return values.index_select(0, chosen)[:, start:]

    spans: Mapping[str, torch.Tensor] = {name: cut(of) for name, of in thoughts.spans.items()}
    made = replace(
        thoughts,
        embeddings=cut(thoughts.embeddings),
        present=cut(thoughts.present),
        spans=spans,
    )
    return Part(chosen, start, made)


def gathered(parts: Sequence[Part], results: Sequence[torch.Tensor]) -> torch.Tensor:
    """Put what parts gave, a row a prompt, into the order of the set."""
    rows = torch.cat([part.rows for part in parts])
    whole: torch.Tensor = torch.cat(list(results)).index_select(0, rows.argsort())
    return whole


def without_gaps(thoughts: Thoughts) -> Thoughts:
    """Move tokens up to the right where something between them was hidden; nothing is between.

    Parameters
    ----------
    thoughts
        With positions in the middle that hold nothing.

    Returns
    -------
    Thoughts
        The same tokens in the same order, padded on the left; as wide as the longest prompt.
    """
    present = thoughts.present
    width = int(present.sum(dim=1).max())
    # A stable sort keeps the order of the tokens, and puts what holds nothing first.
    order = present.long().argsort(dim=1, stable=True)[:, -width:]

    def moved(values: torch.Tensor) -> torch.Tensor:
        index = order if values.ndim == 2 else order[..., None].expand(-1, -1, values.shape[2])
        return values.gather(1, index)

    kept = moved(present)
    return replace(
        thoughts,
        embeddings=moved(thoughts.embeddings) * kept[..., None],
        present=kept,
        spans={name: moved(span) & kept for name, span in thoughts.spans.items()},
    )
