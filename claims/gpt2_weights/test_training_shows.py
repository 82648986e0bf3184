"""Row W13: these views tell a well-trained model.

A view that an untrained model of the same config shares says nothing about training. One model is
held against 19 untrained copies by rank; a kind of model by its mean distance from the copies over
its training seeds, where 2 standard deviations of the copies stand for "beyond all 19". That bound
was set after a look at the twin of seed 0, so seed 0 takes no part in the verdicts. That a view
changes does not yet say that a *well* trained model is told from a badly trained one.
"""

from refutable import Source, claim
from refutable.observables.weights import rank_among
from refutable.predictions import over_seeds, rank
from refutable.spec.claim import at_least_heads, positioned_by

SOURCE = Source(study="gpt2-weights", ref="W13")
TWIN = "layernorm-both"
BEYOND_ALL = rank.below(0.051)


def _rank(view, weight_views, untrained_weight_views):
    return rank_among(weight_views.sel(view=view), untrained_weight_views.sel(view=view))


def _deviation(view, weight_views, untrained_weight_views):
    copies = untrained_weight_views.sel(view=view)
    return (weight_views.sel(view=view) - copies.mean("copy")) / copies.std("copy", ddof=1)


@claim(
    id="weights.tails-show-training",
    statement="The tails of attention weights tell a trained model from untrained copies.",
    refuted_if="one of 19 untrained copies has as unusual an excess kurtosis",
    source=SOURCE,
    predicts=BEYOND_ALL,
    no_control="the quantity is a rank among its null, 19 copies",
    kind="weights",
    unit="rank",
)
def test_tails_against_untrained(weight_views, untrained_weight_views):
    """Rank (1 + b)/(K + 1) of the excess kurtosis of attention weights, on either side."""
    return _rank("excess_kurtosis", weight_views, untrained_weight_views)


@claim(
    id="weights.dimension-shows-training",
    statement="The dimension of attention weights tells a trained model from untrained copies.",
    refuted_if="one of 19 untrained copies has as unusual a participation ratio",
    source=SOURCE,
    predicts=BEYOND_ALL,
    no_control="the quantity is a rank among its null, 19 copies",
    kind="weights",
    unit="rank",
)
def test_dimension_against_untrained(weight_views, untrained_weight_views):
    """Rank (1 + b)/(K + 1) of the participation ratio of [Q K V], on either side."""
    return _rank("participation", weight_views, untrained_weight_views)


@claim(
    id="weights.first-components-show-training",
    statement="The share of the first two components tells a trained model from untrained copies.",
    refuted_if="one of 19 untrained copies has as unusual a share",
    source=SOURCE,
    predicts=BEYOND_ALL,
    no_control="the quantity is a rank among its null, 19 copies",
    kind="weights",
    unit="rank",
)
def test_first_components_against_untrained(weight_views, untrained_weight_views):
    """Rank (1 + b)/(K + 1) of the share of two components of [Q K V], on either side."""
    return _rank("first_two_share", weight_views, untrained_weight_views)


@claim(
    id="weights.scatter-shows-training",
    statement="Clusters in the scatter of components tell a trained model from untrained copies.",
    refuted_if="one of 19 untrained copies has as unusual a silhouette",
    source=SOURCE,
    predicts=BEYOND_ALL,
    no_control="the quantity is a rank among its null, 19 copies",
    kind="weights",
    unit="rank",
)
def test_scatter_against_untrained(weight_views, untrained_weight_views):
    """Rank (1 + b)/(K + 1) of the best silhouette of [Q K V], on either side."""
    return _rank("silhouette", weight_views, untrained_weight_views)


@claim(
    id="weights.rows-show-training",
    statement="Unequal input features tell a trained model from untrained copies.",
    refuted_if="one of 19 untrained copies has as unusual a spread of row variances",
    source=SOURCE,
    predicts=BEYOND_ALL,
    no_control="the quantity is a rank among its null, 19 copies",
    kind="weights",
    unit="rank",
)
def test_rows_against_untrained(weight_views, untrained_weight_views):
    """Rank (1 + b)/(K + 1) of the spread of row variances of [Q K V], on either side."""
    return _rank("row_spread", weight_views, untrained_weight_views)


@claim(
    id="weights.query-heads-show-training",
    statement="Unequal query heads tell a trained model from untrained copies.",
    refuted_if="one of 19 untrained copies has as unusual a spread of query norms",
    source=SOURCE,
    models=at_least_heads(2),
    predicts=BEYOND_ALL,
    no_control="the quantity is a rank among its null, 19 copies",
    kind="weights",
    unit="rank",
)
def test_query_heads_against_untrained(weight_views, untrained_weight_views):
    """Rank (1 + b)/(K + 1) of the spread of heads' query norms, on either side."""
    return _rank("query_spread", weight_views, untrained_weight_views)


@claim(
    id="weights.head-trees-show-training",
    statement="The tree of heads tells a trained model from untrained copies.",
    refuted_if="one of 19 untrained copies has as unusual a cophenetic correlation",
    source=SOURCE,
    models=at_least_heads(4),
    predicts=BEYOND_ALL,
    no_control="the quantity is a rank among its null, 19 copies",
    kind="weights",
    unit="rank",
)
def test_head_trees_against_untrained(weight_views, untrained_weight_views):
    """Rank (1 + b)/(K + 1) of the cophenetic correlation under W_Q W_K', on either side."""
    return _rank("cophenetic_qk", weight_views, untrained_weight_views)


@claim(
    id="weights.positions-show-training",
    statement="The likeness of adjacent positions tells a trained model from untrained copies.",
    refuted_if="one of 19 untrained copies has as unusual a correlation",
    source=SOURCE,
    models=positioned_by("learned"),
    predicts=BEYOND_ALL,
    no_control="the quantity is a rank among its null, 19 copies",
    kind="weights",
    unit="rank",
)
def test_positions_against_untrained(weight_views, untrained_weight_views):
    """Rank (1 + b)/(K + 1) of the standardised r of adjacent positions, on either side."""
    return _rank("adjacent_correlation", weight_views, untrained_weight_views)


@claim(
    id="weights.training-makes-tails",
    statement="Training makes the tails of attention weights heavier.",
    refuted_if="over seeds their excess kurtosis lies less than 2 sd above untrained copies",
    source=SOURCE,
    predicts=over_seeds(TWIN, exclude_seeds=(0,)).above(2.0),
    no_control="the quantity is in units of its null, 19 untrained copies",
    kind="training",
    unit="sd of untrained copies",
    margin=1.0,
)
def test_tails_over_seeds(weight_views, untrained_weight_views):
    """Distance of the excess kurtosis of attention weights from untrained copies, in their sd."""
    return _deviation("excess_kurtosis", weight_views, untrained_weight_views)


@claim(
    id="weights.training-lowers-dimension",
    statement="Training lowers the dimension of attention weights.",
    refuted_if="over seeds their participation ratio lies less than 2 sd below untrained copies",
    source=SOURCE,
    predicts=over_seeds(TWIN, exclude_seeds=(0,)).below(-2.0),
    no_control="the quantity is in units of its null, 19 untrained copies",
    kind="training",
    unit="sd of untrained copies",
    margin=1.0,
)
def test_dimension_over_seeds(weight_views, untrained_weight_views):
    """Distance of the participation ratio of [Q K V] from untrained copies, in their sd."""
    return _deviation("participation", weight_views, untrained_weight_views)


@claim(
    id="weights.training-fills-first-components",
    statement="Training puts more of attention weights into two components.",
    refuted_if="over seeds the share of two components lies less than 2 sd above untrained copies",
    source=SOURCE,
    predicts=over_seeds(TWIN, exclude_seeds=(0,)).above(2.0),
    no_control="the quantity is in units of its null, 19 untrained copies",
    kind="training",
    unit="sd of untrained copies",
    margin=1.0,
)
def test_first_components_over_seeds(weight_views, untrained_weight_views):
    """Distance of the share of two components of [Q K V] from untrained copies, in their sd."""
    return _deviation("first_two_share", weight_views, untrained_weight_views)


@claim(
    id="weights.training-makes-scatter-cluster",
    statement="Training makes the scatter of the first two components cluster.",
    refuted_if="over seeds the best silhouette lies less than 2 sd above untrained copies",
    source=SOURCE,
    predicts=over_seeds(TWIN, exclude_seeds=(0,)).above(2.0),
    no_control="the quantity is in units of its null, 19 untrained copies",
    kind="training",
    unit="sd of untrained copies",
    margin=1.0,
)
def test_scatter_over_seeds(weight_views, untrained_weight_views):
    """Distance of the best silhouette of [Q K V] from untrained copies, in their sd."""
    return _deviation("silhouette", weight_views, untrained_weight_views)


@claim(
    id="weights.training-makes-rows-unequal",
    statement="Training makes the weights of input features unequal.",
    refuted_if="over seeds the spread of row variances lies less than 2 sd above untrained copies",
    source=SOURCE,
    predicts=over_seeds(TWIN, exclude_seeds=(0,)).above(2.0),
    no_control="the quantity is in units of its null, 19 untrained copies",
    kind="training",
    unit="sd of untrained copies",
    margin=1.0,
)
def test_rows_over_seeds(weight_views, untrained_weight_views):
    """Distance of the spread of row variances of [Q K V] from untrained copies, in their sd."""
    return _deviation("row_spread", weight_views, untrained_weight_views)


@claim(
    id="weights.training-spreads-query-heads",
    statement="Training makes query heads unequal.",
    refuted_if="over seeds the spread of their norms lies less than 2 sd above untrained copies",
    source=SOURCE,
    predicts=over_seeds(TWIN, exclude_seeds=(0,)).above(2.0),
    no_control="the quantity is in units of its null, 19 untrained copies",
    kind="training",
    unit="sd of untrained copies",
    margin=1.0,
)
def test_query_heads_over_seeds(weight_views, untrained_weight_views):
    """Distance of the spread of heads' query norms from untrained copies, in their sd."""
    return _deviation("query_spread", weight_views, untrained_weight_views)


@claim(
    id="weights.training-makes-head-trees",
    statement="Training makes a tree describe the distances of heads better.",
    refuted_if="over seeds the cophenetic correlation lies less than 2 sd above untrained copies",
    source=SOURCE,
    predicts=over_seeds(TWIN, exclude_seeds=(0,)).above(2.0),
    no_control="the quantity is in units of its null, 19 untrained copies",
    kind="training",
    unit="sd of untrained copies",
    margin=1.0,
)
def test_head_trees_over_seeds(weight_views, untrained_weight_views):
    """Distance of the cophenetic correlation under W_Q W_K' from untrained copies, in their sd."""
    return _deviation("cophenetic_qk", weight_views, untrained_weight_views)


@claim(
    id="weights.training-joins-positions",
    statement="Training makes the embeddings of adjacent positions alike.",
    refuted_if="over seeds their correlation lies less than 2 sd above untrained copies",
    source=SOURCE,
    predicts=over_seeds(TWIN, exclude_seeds=(0,)).above(2.0),
    no_control="the quantity is in units of its null, 19 untrained copies",
    kind="training",
    unit="sd of untrained copies",
    margin=1.0,
)
def test_positions_over_seeds(weight_views, untrained_weight_views):
    """Distance of the standardised r of adjacent positions from untrained copies, in their sd."""
    return _deviation("adjacent_correlation", weight_views, untrained_weight_views)
