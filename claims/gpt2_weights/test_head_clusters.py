"""Row W12: heads cluster, more clearly in later layers.

The study's twelve "heads" are slices of [Q K V]: four of queries, four of keys, four of values.
"""

from refutable import Source, claim, replication
from refutable.observables.weights import depth_difference, rank_above
from refutable.predictions import fact, rank
from refutable.spec.claim import at_least_blocks, at_least_heads

SOURCE = Source(study="gpt2-weights", ref="W12")
HEADS = at_least_heads(4)


def slices(slices_cophenetic):
    """Cophenetic correlation of the slices' tree, mean over blocks."""
    return slices_cophenetic.mean("layer", skipna=False)


def slices_by_depth(slices_cophenetic):
    """The same, last minus first third of the blocks."""
    return depth_difference(slices_cophenetic)


@claim(
    id="weights.heads-form-a-tree",
    statement="Heads of a block fall into groups: a tree describes their distances well.",
    refuted_if="one of 19 copies with heads rotated apart is described as well",
    source=SOURCE,
    models=HEADS,
    predicts=rank.below(0.051),
    no_control="the quantity is a rank among its null, 19 copies",
    replication=replication(
        slices,
        statement=(
            "Cophenetic correlation of equal slices of [Q K V] averaged over inputs, not heads."
        ),
        statistic="value",
        above=0.7,
    ),
    kind="weights",
    unit="rank",
)
def test_tree_against_rotated(head_clustering):
    """Rank (1 + b)/(K + 1) of the mean cophenetic correlation over blocks and operators."""
    correlation = head_clustering.sel(tree="cophenetic").mean(("operator", "layer"))
    return rank_above(correlation.sel(copy=-1, drop=True), correlation.sel(copy=slice(0, None)))


@claim(
    id="weights.heads-cluster",
    statement="Heads of a block fall into clusters.",
    refuted_if="one of 19 copies with heads rotated apart has as large a gap statistic",
    source=SOURCE,
    models=HEADS,
    predicts=rank.below(0.051),
    no_control="the quantity is a rank among its null, 19 copies",
    kind="weights",
    unit="rank",
)
def test_gap_against_rotated(head_clustering):
    """Rank (1 + b)/(K + 1) of the mean gap over blocks and operators."""
    gap = head_clustering.sel(tree="gap").mean(("operator", "layer"))
    return rank_above(gap.sel(copy=-1, drop=True), gap.sel(copy=slice(0, None)))


@claim(
    id="weights.heads-cluster-later",
    statement="Heads cluster more clearly in later blocks.",
    refuted_if="the cophenetic correlation rises by less than .05 from first to last third",
    source=SOURCE,
    models=HEADS & at_least_blocks(3),
    predicts=fact.above(0.05),
    no_control="untrained blocks are drawn from one distribution: a step of 0 but for the draw",
    replication=replication(
        slices_by_depth,
        statement="The same of slices of [Q K V].",
        statistic="value",
        above=0.0,
    ),
    kind="weights",
    unit="correlation",
    margin=0.02,
)
def test_tree_by_depth(head_cophenetic):
    """Cophenetic correlation, last minus first third of the blocks, mean over operators."""
    return depth_difference(head_cophenetic).mean("operator")
