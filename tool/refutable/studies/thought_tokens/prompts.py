"""The two prompt sets of the study, made from templates: a template is a family, and the unit.

`fixtures/prompts/modular-steps.toml` and `word-problems.toml` hold what these functions return; a
test compares them.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from refutable.studies.thought_tokens.task import END, EVALUATION_SEED, SLOTS, of_template, shown

TEMPLATES_PER_COUNT = 6
PROBLEMS_OF_A_TEMPLATE = 3
PROBLEMS_OF_A_STORY = 4
_LARGEST = 60


@dataclass(frozen=True, slots=True)
class Story:
    """A word problem without its numbers."""

    name: str
    signs: str
    """What each of the six events does to the running value: one of + - * /."""
    told: str
    """The story and its question, with places for the start and the six numbers."""


def stories() -> tuple[Story, ...]:
    """Return the 25 stories of ``stories.toml``."""
    raw = files(__package__).joinpath("stories.toml").read_text(encoding="utf-8")
    return tuple(Story(**table) for table in tomllib.loads(raw)["story"])


def modular_steps() -> str:
    """Return the set for the thought twins: 30 templates of slots, three problems each."""
    import torch

    generator = torch.Generator().manual_seed(EVALUATION_SEED + 1)
    lines = [
        'name = "modular-steps"',
        'description = "Chained arithmetic modulo 11 in six slots, for the thought twins; a '
        'family is a pattern of steps and pauses."',
    ]
    for template in templates():
        drawn = of_template(template, generator, PROBLEMS_OF_A_TEMPLATE)
        rows = [[*row, END] for row in drawn.prompts.tolist()]
        begin = len(rows[0]) - 2
        lines += ["", "[[family]]", f'name = "{template}"']
        lines += [f"steps = {sum(kind != '.' for kind in template)}"]
        lines += [f"# {' | '.join(shown(row) for row in rows)}"]
        lines += [f"input_ids = {rows}"]
        span = f"{{ begin = [{begin}], end = [{begin + 1}] }}"
        lines += [f"spans = [{', '.join([span] * len(rows))}]"]
        lines += [f"answers = {[[value] for value in drawn.values[:, -1].tolist()]}"]
    return "\n".join(lines) + "\n"


def templates() -> list[str]:
    """Return 30 patterns of slots: six for each number of steps from 2 to 6."""
    choose = random.Random(11)  # noqa: S311  (a frozen choice, no secret)
    texts: list[str] = []
    for steps in range(2, SLOTS + 1):
        new: list[str] = []
        while len(new) < TEMPLATES_PER_COUNT:
            slots = ["."] * SLOTS
            for place in choose.sample(range(SLOTS), steps):
                slots[place] = choose.choice("+*")
            if (template := "".join(slots)) not in new:
                new.append(template)
        texts += new
    return texts


def word_problems() -> str:
    """Return the set for models of text: 25 stories, four problems each, six written steps."""
    choose = random.Random(12)  # noqa: S311  (a frozen choice, no secret)
    lines = [
        'name = "word-problems"',
        'description = "Arithmetic word problems with six written steps, marked t0 to t5; a '
        'family is a story."',
    ]
    for story in stories():
        texts, answers = zip(*_problems(story, choose), strict=True)
        lines += ["", "[[family]]", f'name = "{story.name}"', "marked = true", "prompts = ["]
        lines += [f'  "{text}",' for text in texts]
        lines += ["]", f"answers = [{', '.join(repr(a) for a in answers)}]".replace("'", '"')]
    return "\n".join(lines) + "\n"


def _problems(story: Story, choose: random.Random) -> Iterator[tuple[str, str]]:
    made: set[str] = set()
    while len(made) < PROBLEMS_OF_A_STORY:
        drawn = _drawn(story.signs, choose)
        if drawn is None:
            continue
        numbers, values = drawn
        told = story.told.format(*numbers)
        steps = [
            f"{{t{at}|{values[at]} {sign} {numbers[at + 1]} = {values[at + 1]}.}}"
            for at, sign in enumerate(story.signs)
        ]
        text = f"Question: {told} Steps: {' '.join(steps)} The answer is"
        if text not in made:
            made.add(text)
            yield text, f" {values[-1]}"


def _drawn(signs: str, choose: random.Random) -> tuple[list[int], list[int]] | None:
    """Draw numbers that keep every value whole and small and end in one digit; or nothing."""
    value = choose.randint(4, 20)
    numbers, values = [value], [value]
    for sign in signs:
        number = choose.randint(2, 4) if sign in "*/" else choose.randint(2, 19)
        if sign == "/" and value % number:
            return None
        value = {
            "+": value + number, "-": value - number, "*": value * number, "/": value // number,
        }[sign]  # fmt: skip
        if not 2 <= value <= _LARGEST:
            return None
        numbers.append(number)
        values.append(value)
    return (numbers, values) if value <= 9 else None
