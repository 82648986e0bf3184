"""Row T11: folding the norms and centring the weights leaves the function as it is."""

from refutable import Source, claim
from refutable.predictions import over_seeds


@claim(
    id="noposition.folding-exact",
    statement=(
        "Folding the norms and centring weights that write or unembed changes no probability."
    ),
    refuted_if="the largest change of a log-probability exceeds 0.00001 on average over seeds",
    source=Source(study="no-position", ref="T11"),
    predicts=over_seeds("no-position").within(-1e-5, 1e-5),
    no_control="an identity: it holds for any weights, untrained ones too",
    kind="weights",
    unit="nats",
)
def test_log_probabilities_stay(rewriting_gap):
    """Largest change of a log-probability over four rewritings and 64 held-out sequences."""
    return rewriting_gap.max()
