"""Row W11: query weights differ by head."""

import numpy as np

from refutable import Source, claim
from refutable.predictions import fact
from refutable.spec.claim import at_least_heads, untrained_in

SESOI = 0.05
COPIES = "19 untrained models of the same config"


def spread_untrained(untrained_weight_views):
    """The same of three blocks of each copy."""
    return untrained_weight_views.sel(view="query_spread", drop=True)


@claim(
    id="weights.query-heads-differ",
    statement="The heads of a block differ in the size of their query weights.",
    refuted_if="the norms of W_Q differ between a block's heads by less than 5 % (sd of logs)",
    source=Source(study="gpt2-weights", ref="W11"),
    models=at_least_heads(2),
    predicts=fact.above(SESOI),
    control=untrained_in(spread_untrained, statement=COPIES),
    kind="weights",
    unit="sd of log norm",
    margin=0.01,
)
def test_spread_of_query_norms(query_head):
    """Standard deviation over heads of the log norm of W_Q, mean over blocks."""
    return np.log(query_head.sel(measure="norm")).std("head").mean("layer")


def variances_untrained(untrained_weight_views):
    """The same of three blocks of each copy; of a mean of 0, twice the spread of the norms."""
    return 2 * untrained_weight_views.sel(view="query_spread", drop=True)


@claim(
    id="weights.query-heads-differ-in-variance",
    statement="The heads of a block differ in the variance of their query weights.",
    refuted_if="the variances differ between a block's heads by less than 10 % (sd of logs)",
    source=Source(study="gpt2-weights", ref="W11"),
    models=at_least_heads(2),
    predicts=fact.above(2 * SESOI),
    control=untrained_in(variances_untrained, statement=COPIES),
    kind="weights",
    unit="sd of log variance",
    margin=0.02,
)
def test_spread_of_query_variances(query_head):
    """Standard deviation over heads of the log variance of W_Q, mean over blocks."""
    return np.log(query_head.sel(measure="variance")).std("head").mean("layer")
