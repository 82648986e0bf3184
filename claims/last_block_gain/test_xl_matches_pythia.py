"""Row G5: GPT-2 XL is consistent with Pythia."""

from refutable import Source, claim, mean, untrained
from refutable.spec.claim import named


@claim(
    id="gain.xl-matches-pythia",
    statement="The mean gain of GPT-2 XL equals that of Pythia-6.9B to .15.",
    refuted_if="the family mean of the raw gain lies outside .80 +- .15",
    source=Source(study="last-block-gain", ref="G5"),
    models=named("gpt2-xl"),
    predicts=mean.within(0.65, 0.95),
    control=untrained(seeds=19),
    unit="ratio",
    sesoi=0.02,
    margin=0.02,
)
def test_xl_gain(residual_norm):
    """Ratio of the last token's norms after the last two blocks.

    The published Pythia value is one scalar, so the comparison cannot be paired.
    """
    last = residual_norm.isel(layer=-1, drop=True)
    return last / residual_norm.isel(layer=-2, drop=True)
