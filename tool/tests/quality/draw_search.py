"""Draws docs/images/search.png: how many planted counterexamples a search finds in what time.

Run it as ``python tool/tests/quality/draw_search.py docs/images/search.png``; it takes minutes of
processor time, most of them for plain Hypothesis.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import hypothesis
import numpy as np
import torch
from hypothesis import Phase, given, settings
from matplotlib.figure import Figure
from quality.test_planted_search import BOUND, chosen, prepared, seeds
from support.planted_tokens import VOCAB

from refutable.falsify.budget import DEFAULT, Budget
from refutable.falsify.search import Search
from refutable.falsify.strategies import ids_of
from refutable.falsify.vocabulary import Ids
from refutable.report.figures import style

RUNS, RUNS_ONE_BY_ONE = 30, 4
EXAMPLES = 1000
"""Of Hypothesis, which takes some twenty times as long for one as an exploration."""
Finder = Callable[[int, int], "tuple[float, bool]"]
"""Takes the number of planted tokens and a seed; gives the processor seconds that were spent and
whether a violation was found."""


def exploration(count: int, seed: int) -> tuple[float, bool]:
    """Search as a run does; the time of shrinking is counted."""
    objective, domain = prepared(chosen(seed, count), seed)
    start = time.process_time()
    outcome = Search(objective, domain, bound=BOUND, seed=seed).run(seeds(seed), Budget())
    return time.process_time() - start, outcome.violation is not None


def random_prompts(count: int, seed: int) -> tuple[float, bool]:
    """Score random prompts of any allowed length, packed, as many as an exploration may."""
    objective, domain = prepared(chosen(seed, count), seed)
    rng = np.random.default_rng(seed)
    start = time.process_time()
    for _ in range(DEFAULT // _BATCH):
        batch = [
            tuple(map(int, rng.integers(1, VOCAB, rng.integers(1, domain.max_size + 1))))
            for _ in range(_BATCH)
        ]
        if any(one.margin > BOUND for one in objective(batch)):
            return time.process_time() - start, True
    return time.process_time() - start, False


class _FoundError(Exception):
    """Ends a Hypothesis run at the first violation."""


def targeted(count: int, seed: int) -> tuple[float, bool]:
    """Run an ordinary Hypothesis test with `target`, a forward pass for each example."""
    objective, domain = prepared(chosen(seed, count), seed)

    @hypothesis.seed(seed)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.target),
        report_multiple_bugs=False,
    )
    @given(ids_of(domain.vocabulary, domain.min_size, domain.max_size))
    def one(ids: Ids) -> None:
        margin = objective([ids])[0].margin
        hypothesis.target(margin)
        if margin > BOUND:
            raise _FoundError

    start = time.process_time()
    try:
        one()
    except _FoundError:
        return time.process_time() - start, True
    return time.process_time() - start, False


_BATCH = 100
_LEAST = 0.02
WAYS: dict[str, tuple[Finder, int]] = {
    "exploration, the default": (exploration, RUNS),
    "random prompts": (random_prompts, RUNS),
    "Hypothesis with target": (targeted, RUNS_ONE_BY_ONE),
}


def _steps(spent: Sequence[tuple[float, bool]], end: float) -> tuple[list[float], list[float]]:
    solved = sorted(seconds for seconds, violated in spent if violated)
    shares = [k / len(spent) for k in range(len(solved) + 1)]
    return [_LEAST, *solved, end], [*shares, shares[-1]]


def draw() -> Figure:
    """Search for planted pairs and triples in each way and draw what share was found by when."""
    with style.styled():
        fig, axes = style.panels(2, height=2.6)
        for axis, (what, count) in zip(axes, (("two tokens", 2), ("three tokens", 3)), strict=True):
            for (name, (find, runs)), (color, _), line in zip(
                WAYS.items(), style.GROUPS, ("-", "--", ":"), strict=False
            ):
                spent = [find(count, seed) for seed in range(runs)]
                done, end = sum(violated for _, violated in spent), max(s for s, _ in spent)
                print(f"{what}, {name}: {done} of {runs}, {end:.2f} s at most", flush=True)
                axis.step(
                    *_steps(spent, end), where="post", color=color, linestyle=line, label=name
                )
            axis.set_xscale("log")
            axis.set_xlim(left=_LEAST)
            axis.set_title(f"a prompt must hold {what}")
            axis.set_xlabel("processor time, s")
            axis.set_ylabel("share found")
            axis.set_ylim(-0.02, 1.02)
        # Between the curves of the second panel there is room for it; the first is drawn alike.
        axes[1].legend(loc="upper left", bbox_to_anchor=(0.42, 0.93), fontsize=7.5)
        style.finish(
            fig,
            "Planted counterexamples found",
            f"{RUNS} models a curve ({RUNS_ONE_BY_ONE} for Hypothesis), another pair or triple of "
            f"{VOCAB} tokens in each; {DEFAULT} candidates, {EXAMPLES} examples; float32, one core",
            "Only prompts that hold all of the chosen tokens violate the claim; each of them alone "
            "raises the value by its share of the way. A candidate of an exploration is scored "
            "together with its beginnings, in the same pass.",
        )
    return fig


if __name__ == "__main__":
    torch.set_num_threads(1)
    draw().savefig(sys.argv[1], dpi=110)
