"""Chained modular arithmetic: a start value, six slots, and what the value is after each slot.

A prompt is ``BOS v s1 .. s6 BEGIN``. A slot adds a number, multiplies by one (both modulo 11), or
pauses; two to six of the slots are steps and the rest are pauses. The answer is the value after
the last slot. What is 3 after ``+4``, ``*2``, a pause and ``+9``: (3 + 4) * 2 + 9 = 23 = 1 mod 11.

Addition and multiplication do not commute, so a decoder that reads all slots at once would need
the composition of six affine maps; one that takes a slot at a time needs a table of 11 x 20.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MODULUS = 11
SLOTS = 6
THOUGHTS = 6
FEWEST_STEPS = 2
# Token ids: 0..10 values, 11..20 "+1".."+10", 21..29 "*2".."*10".
PLUS = MODULUS - 1
TIMES = 2 * MODULUS - 3
PAUSE, BOS, BEGIN, END = 30, 31, 32, 33
VOCABULARY = 34
PROMPT = SLOTS + 3
"""Tokens of a prompt, BEGIN included."""
CONTEXT = PROMPT + THOUGHTS + 1
STUDY_DATA_SEED = 11_000
EVALUATION_SEED = 1_000_003
"""Of held-out problems; training streams have the seeds 11,000 and up."""
KINDS = {"+": "adds", "*": "multiplies", ".": "pauses"}


@dataclass(frozen=True, slots=True)
class Problems:
    """A batch of problems."""

    prompts: torch.Tensor
    """Token ids, shape (problem, 9)."""
    values: torch.Tensor
    """Value after each slot, shape (problem, 6); the last one is the answer."""
    steps: torch.Tensor
    """Number of slots that are no pause, shape (problem,)."""


def problems(generator: torch.Generator, count: int) -> Problems:
    """Draw problems: two to six steps, equally often, at random slots.

    Parameters
    ----------
    generator
        A generator on the CPU; the same state gives the same problems on every device.
    count
        How many.
    """
    import torch

    steps = torch.randint(FEWEST_STEPS, SLOTS + 1, (count, 1), generator=generator)
    order = torch.rand(count, SLOTS, generator=generator).argsort(dim=1)
    times = torch.rand(count, SLOTS, generator=generator) < 0.5
    kinds = torch.where(order >= steps, 2, times.long())
    return _of_kinds(kinds, generator)


def of_template(template: str, generator: torch.Generator, count: int) -> Problems:
    """Draw problems whose slots are of given kinds, such as ``+*..+*``.

    Parameters
    ----------
    template
        One of ``+``, ``*`` and ``.`` (a pause) for each slot.
    generator, count
        As for `problems`.
    """
    import torch

    kinds = torch.tensor(["+*.".index(kind) for kind in template]).expand(count, SLOTS)
    return _of_kinds(kinds, generator)


def _of_kinds(kinds: torch.Tensor, generator: torch.Generator) -> Problems:
    import torch

    count = len(kinds)
    added = torch.randint(1, MODULUS, kinds.shape, generator=generator)
    factor = torch.randint(2, MODULUS, kinds.shape, generator=generator)
    start = torch.randint(0, MODULUS, (count, 1), generator=generator)
    slots = torch.where(kinds == 0, PLUS + added, TIMES + factor)
    slots = torch.where(kinds == 2, PAUSE, slots)
    value, values = start[:, 0], []
    for slot in range(SLOTS):
        sums, products = value + added[:, slot], value * factor[:, slot]
        changed = torch.where(kinds[:, slot] == 0, sums, products) % MODULUS
        value = torch.where(kinds[:, slot] == 2, value, changed)
        values.append(value)
    ends = [torch.full((count, 1), token) for token in (BOS, BEGIN)]
    prompts = torch.cat([ends[0], start, slots, ends[1]], dim=1)
    return Problems(prompts, torch.stack(values, dim=1), (kinds != 2).sum(dim=1))


def stream(seed: int, batch: int, *, skip: int = 0) -> Iterator[Problems]:
    """Yield a training run's batches without end.

    Parameters
    ----------
    seed
        Training seed: runs of one seed share their data order, whatever their size.
    batch
        Problems a batch.
    skip
        Batches to leave out, for a run that goes on.
    """
    import torch

    generator = torch.Generator().manual_seed(STUDY_DATA_SEED + seed)
    for _ in range(skip):
        problems(generator, batch)
    while True:
        yield problems(generator, batch)


def shown(prompt: Sequence[int]) -> str:
    """Return a prompt in words, such as ``3 +4 *2 . . +9 .``.

    >>> shown([31, 3, 14, 21, 30, 30, 19, 30, 32])
    '3 +4 *2 . . +9 .'
    """
    words = {PAUSE: "."}
    words |= {token: str(token) for token in range(MODULUS)}
    words |= {PLUS + n: f"+{n}" for n in range(1, MODULUS)}
    words |= {TIMES + n: f"*{n}" for n in range(2, MODULUS)}
    return " ".join(words[token] for token in prompt if token not in (BOS, BEGIN, END))


def after(prompt: Sequence[int], slot: int, value: int) -> int:
    """Return what a value becomes through the slots of a prompt from one on.

    >>> after([31, 3, 14, 21, 30, 30, 19, 30, 32], 0, 3)
    1
    """
    for token in prompt[2 + slot : 2 + SLOTS]:
        if PLUS < token <= PLUS + MODULUS - 1:
            value = (value + token - PLUS) % MODULUS
        elif TIMES + 1 < token < PAUSE:
            value = value * (token - TIMES) % MODULUS
    return value
