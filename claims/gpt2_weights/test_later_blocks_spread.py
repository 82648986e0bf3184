"""Row W8: later layers spread more in the first two components."""

from refutable import Source, claim, replication
from refutable.observables.weights import depth_difference
from refutable.predictions import fact
from refutable.spec.claim import at_least_blocks

SESOI = 0.01


def standardised_ends(attention_input_spectrum_standardised):
    """The same of standardised columns, last three blocks minus first three."""
    shares = attention_input_spectrum_standardised.sel(measure="first_two_share")
    return shares.isel(layer=slice(-3, None)).mean() - shares.isel(layer=slice(None, 3)).mean()


@claim(
    id="weights.later-blocks-spread",
    statement="The first two components hold more of later blocks' attention weights.",
    refuted_if="their share rises by less than .01 from the first to the last third of the blocks",
    source=Source(study="gpt2-weights", ref="W8"),
    models=at_least_blocks(3),
    predicts=fact.above(SESOI),
    no_control="untrained blocks are drawn from one distribution: a step of 0 but for the draw",
    replication=replication(
        standardised_ends,
        statement=(
            "Columns standardised, which fixes the total; last three minus first three blocks."
        ),
        statistic="value",
        above=0.0,
    ),
    kind="weights",
    unit="share",
    margin=0.005,
)
def test_share_of_the_first_two(attention_input_spectrum):
    """Share of the first two components of [Q K V], last minus first third of the blocks."""
    return depth_difference(attention_input_spectrum.sel(measure="first_two_share"))
