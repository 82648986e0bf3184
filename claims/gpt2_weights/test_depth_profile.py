"""Row W10: mean, spread, extremes and row variance move with depth."""

from refutable import Source, claim, replication
from refutable.observables.weights import depth_correlation, depth_difference, log_depth_ratio
from refutable.predictions import fact
from refutable.spec.claim import at_least_blocks

SOURCE = Source(study="gpt2-weights", ref="W10")
DEEP = at_least_blocks(3)
SESOI = 0.1


def spread_and_depth(weight_statistics):
    """Spearman's r of the standard deviation with depth, mean over matrices."""
    return depth_correlation(weight_statistics.sel(statistic="sd")).mean("matrix")


def extremes_and_depth(weight_statistics):
    """Spearman's r of the largest weight with depth, mean over matrices."""
    return depth_correlation(weight_statistics.sel(statistic="maximum")).mean("matrix")


def rows_and_depth(weight_row_variance):
    """Spearman's r of the median row variance with depth, mean over matrices."""
    return depth_correlation(weight_row_variance.sel(quantile=0.5)).mean("matrix")


@claim(
    id="weights.mean-moves",
    statement="The mean of a block's weights moves with depth.",
    refuted_if="from first to last third it moves by less than .01 standard deviations",
    source=SOURCE,
    models=DEEP,
    predicts=fact.above(0.01),
    no_control="untrained blocks are drawn from one distribution: a step of 0 but for the draw",
    kind="weights",
    unit="sd of weights",
    margin=0.005,
)
def test_mean_by_depth(weight_statistics):
    """Change of the mean from the first to the last third over the mean sd, largest matrix."""
    change = depth_difference(weight_statistics.sel(statistic="mean"))
    return abs(change / weight_statistics.sel(statistic="sd").mean("layer")).max("matrix")


@claim(
    id="weights.spread-grows",
    statement="Weights spread more in later blocks.",
    refuted_if="their log standard deviation rises by less than .1 from first to last third",
    source=SOURCE,
    models=DEEP,
    predicts=fact.above(SESOI),
    no_control="untrained blocks are drawn from one distribution: a step of 0 but for the draw",
    replication=replication(
        spread_and_depth,
        statement="Rank correlation of the standard deviation with depth.",
        statistic="value",
        above=0.0,
    ),
    kind="weights",
    unit="log ratio",
    margin=0.05,
)
def test_spread_by_depth(weight_statistics):
    """Log ratio of the standard deviation, last to first third of blocks, mean over matrices."""
    return log_depth_ratio(weight_statistics.sel(statistic="sd")).mean("matrix")


@claim(
    id="weights.extremes-grow",
    statement="The largest and smallest weights are farther out in later blocks.",
    refuted_if="the log of their size rises by less than .1 from first to last third",
    source=SOURCE,
    models=DEEP,
    predicts=fact.above(SESOI),
    no_control="untrained blocks are drawn from one distribution: a step of 0 but for the draw",
    replication=replication(
        extremes_and_depth,
        statement="Rank correlation of the largest weight with depth.",
        statistic="value",
        above=0.0,
    ),
    kind="weights",
    unit="log ratio",
    margin=0.05,
)
def test_extremes_by_depth(weight_statistics):
    """Log ratio of the largest and of minus the smallest weight, last to first third, mean."""
    largest = log_depth_ratio(weight_statistics.sel(statistic="maximum", drop=True))
    smallest = log_depth_ratio(-weight_statistics.sel(statistic="minimum", drop=True))
    return ((largest + smallest) / 2).mean("matrix")


@claim(
    id="weights.row-variance-grows",
    statement="The weights of an input feature vary more in later blocks.",
    refuted_if="the log of their median variance rises by less than .2 from first to last third",
    source=SOURCE,
    models=DEEP,
    predicts=fact.above(2 * SESOI),
    no_control="untrained blocks are drawn from one distribution: a step of 0 but for the draw",
    replication=replication(
        rows_and_depth,
        statement="Rank correlation of the median row variance with depth.",
        statistic="value",
        above=0.0,
    ),
    kind="weights",
    unit="log ratio",
    margin=0.1,
)
def test_row_variance_by_depth(weight_row_variance):
    """Log ratio of the median row variance, last to first third of blocks, mean over matrices."""
    return log_depth_ratio(weight_row_variance.sel(quantile=0.5)).mean("matrix")
