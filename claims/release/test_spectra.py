"""Row B29: heavy tails of weight spectra. Advisory: the gate tells of a change and lets it pass."""

from refutable import Source, claim
from refutable.predictions import fact
from refutable.spec.claim import placebo

GROUPS = ("release",)
LOW, HIGH = 2.0, 6.0
ONE_SIDED = 1.645


def heavy(tails):
    """Share of matrices with an exponent from 2 to 6 whose tail no log-normal fits better."""
    exponent = tails.sel(measure="exponent", drop=True)
    fits = tails.sel(measure="log_normal_z", drop=True) < ONE_SIDED
    return (fits & (exponent >= LOW) & (exponent <= HIGH)).mean(["layer", "matrix"])


def shuffled(shuffled_spectrum_tails):
    """The same of matrices filled with the model's weights at random."""
    return heavy(shuffled_spectrum_tails)


@claim(
    id="literature.heavy-tails",
    statement="Most spectra of weight matrices end in a power law of an exponent from 2 to 6.",
    refuted_if="half of the matrices or fewer do: another exponent, or a log-normal fits better",
    source=Source("literature", "B29", "Martin and Mahoney 2019, arXiv 1901.08276"),
    predicts=fact.above(0.5),
    control=placebo(shuffled, statement="19 sets of matrices filled with its weights at random"),
    kind="weights",
    unit="share of matrices",
    sesoi=0.1,
    margin=0.1,
    groups=GROUPS,
    advisory=True,
)
def test_heavy_tails(spectrum_tails):
    """Share of matrices whose spectrum ends in a power law of an exponent from 2 to 6."""
    return heavy(spectrum_tails)
