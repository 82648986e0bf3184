"""Draws docs/images/search.png: how many planted counterexamples a search has found by when.

Run it as ``python tool/tests/quality/draw_search.py docs/images/search.png``; it takes minutes of
processor time, most of them for plain Hypothesis.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import hypothesis
import numpy as np
from hypothesis import Phase, given, settings
from matplotlib.figure import Figure
from quality.test_planted_search import BOUND, chosen, prepared, searched
from support.planted_tokens import VOCAB

from refutable.falsify.budget import DEFAULT
from refutable.falsify.strategies import ids_of
from refutable.falsify.vocabulary import Ids
from refutable.report.figures import style

RUNS, RUNS_ONE_BY_ONE = 30, 4
Finder = Callable[[int, int], "int | None"]
"""Takes the number of planted tokens and a seed; gives the candidates scored until it was found."""


def exploration(count: int, seed: int) -> int | None:
    """Search as a run does."""
    outcome = searched(chosen(seed, count), seed)
    return outcome.candidates if outcome.violation is not None else None


def random_prompts(count: int, seed: int) -> int | None:
    """Score random prompts of any allowed length, packed."""
    objective, domain = prepared(chosen(seed, count), seed)
    rng = np.random.default_rng(seed)
    batch = [
        tuple(map(int, rng.integers(1, VOCAB, rng.integers(1, domain.max_size + 1))))
        for _ in range(DEFAULT)
    ]
    over = [place for place, one in enumerate(objective(batch)) if one.margin > BOUND]
    return over[0] + 1 if over else None


def targeted(count: int, seed: int) -> int | None:
    """Run an ordinary Hypothesis test with `target`, a forward pass for each example."""
    objective, domain = prepared(chosen(seed, count), seed)
    margins: list[float] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=DEFAULT,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.target),
    )
    @given(ids_of(domain.vocabulary, domain.min_size, domain.max_size))
    def one(ids: Ids) -> None:
        margins.append(objective([ids])[0].margin)
        hypothesis.target(margins[-1])

    one()
    over = [place for place, margin in enumerate(margins) if margin > BOUND]
    return over[0] + 1 if over else None


WAYS: dict[str, tuple[Finder, int]] = {
    "exploration, the default": (exploration, RUNS),
    "random prompts": (random_prompts, RUNS),
    "Hypothesis with target": (targeted, RUNS_ONE_BY_ONE),
}


def _steps(needed: Sequence[int | None]) -> tuple[list[float], list[float]]:
    solved = sorted(place for place in needed if place is not None)
    shares = [k / len(needed) for k in range(len(solved) + 1)]
    return [0, *solved, DEFAULT], [*shares, shares[-1]]


def draw() -> Figure:
    """Search for planted pairs and triples in each way and draw what share was found by when."""
    with style.styled():
        fig, axes = style.panels(2, height=2.6)
        for axis, (what, count) in zip(axes, (("two tokens", 2), ("three tokens", 3)), strict=True):
            for (name, (find, runs)), (color, _), line in zip(
                WAYS.items(), style.GROUPS, ("-", "--", ":"), strict=False
            ):
                needed = [find(count, seed) for seed in range(runs)]
                done = sum(place is not None for place in needed)
                print(f"{what}, {name}: {done} of {runs}", flush=True)
                axis.step(*_steps(needed), where="post", color=color, linestyle=line, label=name)
            axis.set_title(f"a prompt must hold {what}")
            axis.set_xlabel("candidates scored")
            axis.set_ylabel("share found")
            axis.set_ylim(-0.02, 1.02)
        # Between the curves of the first panel there is room for it; the second is drawn alike.
        axes[0].legend(loc="upper right", bbox_to_anchor=(1.0, 0.95), fontsize=7.5)
        style.finish(
            fig,
            "Planted counterexamples found",
            f"{RUNS} models a curve ({RUNS_ONE_BY_ONE} for Hypothesis), another pair or triple of "
            f"{VOCAB} tokens in each; {DEFAULT} candidates, float32",
            "Only prompts that hold all of the chosen tokens violate the claim; each of them alone "
            "raises the value by its share of the way. A candidate of an exploration is scored "
            "together with its beginnings, in the same pass.",
        )
    return fig


if __name__ == "__main__":
    draw().savefig(sys.argv[1], dpi=110)
