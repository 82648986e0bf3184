"""Row C1: thoughts 2 and 3 matter most."""

from refutable import Source, claim, untrained
from refutable.predictions import over_seeds

SOURCE = Source(study="thought-tokens", ref="C1")
MIDDLE, OTHERS = (2, 3), (0, 1, 4, 5)


def middle_matters(size):
    """Make the claim for one size."""

    @claim(
        id=f"thoughts.middle-matters-most-{size}",
        statement=f"In the {size} twin thoughts 2 and 3 matter more than each of the others.",
        refuted_if="the smallest of the eight paired contrasts lies below 0 over seeds",
        source=SOURCE,
        prompts="modular-steps",
        predicts=over_seeds(f"thoughts-{size}").above(0.0),
        control=untrained(seeds=5),
        sesoi=0.1,
        kind="interventional",
        unit="nats",
        margin=0.1,
    )
    def test(total_importance):
        """Least of the contrasts of thought 2 or 3 with another, in nats lost by resampling it."""
        lost = total_importance.sel(quantity="log-probability", drop=True).mean("prompt")
        middle = lost.sel(thought=list(MIDDLE)).min("thought")
        return middle - lost.sel(thought=list(OTHERS)).max("thought")

    return test


test_small_middle_matters = middle_matters("small")
test_large_middle_matters = middle_matters("large")


def pairs_stand_in(size):
    """Make the claim for one size."""

    @claim(
        id=f"thoughts.pairs-beyond-singles-{size}",
        statement=f"In the {size} twin two thoughts stand in for each other.",
        refuted_if="a pair loses no more than its two thoughts alone together",
        source=Source(study="thought-tokens", ref="C1"),
        prompts="modular-steps",
        predicts=over_seeds(f"thoughts-{size}").above(0.0),
        control=untrained(seeds=5),
        sesoi=0.1,
        kind="interventional",
        unit="nats",
        margin=0.1,
    )
    def test(pairs_beyond_singles):
        """Nats lost by resampling two thoughts less those of each alone, mean over 15 pairs."""
        return pairs_beyond_singles.sel(quantity="log-probability", drop=True)

    return test


test_small_pairs = pairs_stand_in("small")
test_large_pairs = pairs_stand_in("large")
