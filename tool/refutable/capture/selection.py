"""Which passes of a run are checked against single prompts, and which prompts of them. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from refutable.capture.packing import Pack
from refutable.models import large

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Sets of no more prompts are checked whole; of larger ones a few passes, chosen for what they mix.
_WHOLE = 48
MOST_PACKS = 6
# The layout of a model that was found right on one set is checked on fewer passes of others.
MOST_PACKS_AGAIN = 2
# Of a large model: the longest prompt, the widest range of lengths, and one more.
MOST_PACKS_LARGE = 3
_MOST_COMPARED = 5
_SWITCHES = ("window", "chunk", "original_max", "block_size", "local", "threshold", "switch")


def packs_to_check(model: PreTrainedModel, *, again: bool) -> int:
    """How many passes of a large set are checked: fewer the second time, and of a large model.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model whose layout is checked.
    again : bool
        Whether its layout was found right on another set.
    """
    if again:
        return MOST_PACKS_AGAIN
    return MOST_PACKS_LARGE if _is_large(model) else MOST_PACKS


def plain_packs(model: PreTrainedModel) -> int:
    """How many of these passes are made without reading attention, too."""
    return 1 if _is_large(model) else MOST_PACKS_AGAIN


def _is_large(model: PreTrainedModel) -> bool:
    return sum(parameter.numel() for parameter in model.parameters()) > large.LARGE


def checked_packs(
    packs: Sequence[Pack], lengths: Sequence[int], switches: Sequence[int], most: int = MOST_PACKS
) -> tuple[Pack, ...]:
    """Choose passes of a run that hold more than one prompt.

    Parameters
    ----------
    packs : sequence of Pack
        All passes of the run, in its layout and under its token budget.
    lengths : sequence of int
        Tokens of each prompt.
    switches : sequence of int
        Lengths at which the architecture may change what it does.
    most : int
        Passes of a larger set.

    Returns
    -------
    tuple of Pack
        All of them in a small set. Otherwise those with the longest prompt, the widest range of
        lengths, the most padding, the most prompts and the first, and one that holds prompts on
        either side of each switch. Empty where no two prompts share a pass.
    """
    shared = [pack for pack in packs if len(pack.segments) > 1]
    if len(lengths) <= _WHOLE or len(shared) <= 2:
        return tuple(shared)
    chosen: dict[int, Pack] = {}
    for pack in _notable(shared, switches):
        chosen.setdefault(id(pack), pack)
    return tuple(chosen.values())[:most]


def _notable(shared: Sequence[Pack], switches: Sequence[int]) -> Iterator[Pack]:
    for switch in switches:
        both = [p for p in shared if _shortest(p) <= switch < _longest(p)]
        yield from both[:1]
    yield max(shared, key=_longest)
    yield max(shared, key=lambda p: _longest(p) / _shortest(p))
    yield max(shared, key=lambda p: p.rows * p.width - p.tokens)
    yield max(shared, key=lambda p: len(p.segments))
    yield shared[0]


def compared_prompts(
    packs: Sequence[Pack], lengths: Sequence[int], switches: Sequence[int]
) -> tuple[int, ...]:
    """Choose the prompts of some passes whose values are compared, in rising order.

    Returns
    -------
    tuple of int
        All prompts in a small set; otherwise of each pass the shortest, the longest, the first, the
        last, one between, and the longest below each switch.
    """
    compared: set[int] = set()
    for pack in packs:
        by_length = sorted(pack.prompts, key=lambda i: (lengths[i], i))
        if len(lengths) <= _WHOLE or len(by_length) <= _MOST_COMPARED:
            compared |= set(by_length)
            continue
        middle = by_length[len(by_length) // 2]
        compared |= {by_length[0], by_length[-1], pack.prompts[0], pack.prompts[-1], middle}
        for switch in switches:
            below = [i for i in by_length if lengths[i] <= switch]
            if below and len(below) < len(by_length):
                compared.add(below[-1])
    return tuple(sorted(compared))


def switches_of(config: PreTrainedConfig, longest: int) -> tuple[int, ...]:
    """Read from a config at which lengths, shorter than the longest prompt, something may change.

    Windows, chunks and the context of before an extension: whatever is named so.
    """
    stated = config.to_dict() if hasattr(config, "to_dict") else dict(vars(config))
    switches = {value for value in _lengths(stated) if 1 < value < longest}
    return tuple(sorted(switches)[:MOST_PACKS])


def _lengths(stated: Mapping[str, object]) -> Iterator[int]:
    for name, value in stated.items():
        if isinstance(value, Mapping):
            yield from _lengths(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            if any(word in str(name) for word in _SWITCHES):
                yield value


def _longest(pack: Pack) -> int:
    return max(segment.length for segment in pack.segments)


def _shortest(pack: Pack) -> int:
    return min(segment.length for segment in pack.segments)
