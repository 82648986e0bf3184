"""Row W6: normal-looking weights mean good training; but initialisation is normal."""

from refutable import Source, claim
from refutable.observables.weights import rank_below
from refutable.predictions import over_seeds, rank

SOURCE = Source(study="gpt2-weights", ref="W6")


@claim(
    id="weights.normality-shows-training",
    statement="A trained model's weights are closer to normal than an untrained model's.",
    refuted_if="one of 19 untrained copies is as close to normal",
    source=SOURCE,
    predicts=rank.below(0.051),
    no_control="the quantity is a rank among its null, 19 copies",
    kind="weights",
    unit="rank",
)
def test_normality_against_untrained(weight_views, untrained_weight_views):
    """Rank (1 + b)/(K + 1) of the KS distance of attention weights, smallest first."""
    return rank_below(
        weight_views.sel(view="ks_normal"), untrained_weight_views.sel(view="ks_normal")
    )


@claim(
    id="weights.training-makes-normal",
    statement="Training makes attention weights more normal.",
    refuted_if="over training seeds their KS distance exceeds that of untrained copies",
    source=SOURCE,
    predicts=over_seeds("layernorm-both").below(0.0),
    no_control="the quantity is in units of its null, 19 untrained copies",
    kind="weights",
    unit="sd of untrained copies",
    margin=1.0,
)
def test_normality_over_seeds(weight_views, untrained_weight_views):
    """Distance of the KS distance of attention weights from untrained copies, in their sd."""
    copies = untrained_weight_views.sel(view="ks_normal")
    change = weight_views.sel(view="ks_normal") - copies.mean("copy")
    return change / copies.std("copy", ddof=1)
