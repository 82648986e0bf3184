"""Row W9: the scatter of the first two components shows clusters."""

from refutable import Source, claim
from refutable.observables.weights import rank_above
from refutable.predictions import rank


@claim(
    id="weights.scatter-clusters",
    statement="Input features form clusters on the first two components of attention weights.",
    refuted_if="one of 19 copies with rotated rows has as high a silhouette",
    source=Source(study="gpt2-weights", ref="W9"),
    predicts=rank.below(0.051),
    no_control="the quantity is a rank among its null, 19 copies",
    kind="weights",
    unit="rank",
)
def test_silhouette_against_rotated(scatter_silhouette, scatter_silhouette_rotated):
    """Rank (1 + b)/(K + 1) of the mean best silhouette of the first and last three blocks."""
    return rank_above(scatter_silhouette.mean("layer"), scatter_silhouette_rotated.mean("layer"))
