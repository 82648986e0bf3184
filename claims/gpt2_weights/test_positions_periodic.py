"""Row W2: positional embeddings are periodic (shown in the study for dimensions 400 to 700)."""

from refutable import Source, claim, replication
from refutable.observables.weights import rank_above
from refutable.predictions import fact, rank
from refutable.spec.claim import positioned_by

SOURCE = Source(study="gpt2-weights", ref="W2")
STUDIED = (400, 500, 600, 700)


def studied_dimensions(position_periodicity):
    """Mean R2 of the four dimensions that the study shows; NaN in a narrower model."""
    fits = position_periodicity.sel(fit="r2_sinusoid").reindex(dim=STUDIED)
    return fits.mean("dim", skipna=False)


@claim(
    id="weights.positions-periodic",
    statement="Position embeddings follow a line and one sinusoid.",
    refuted_if="line and sinusoid hold less than half of the variance of the median dimension",
    source=SOURCE,
    models=positioned_by("learned"),
    predicts=fact.above(0.5),
    no_control="weights.positions-few-frequencies ranks the same fits among shuffled positions",
    replication=replication(
        studied_dimensions,
        statement="The same, mean of dimensions 400, 500, 600 and 700 alone.",
        statistic="value",
        above=0.5,
    ),
    kind="weights",
    unit="R2",
    margin=0.02,
)
def test_line_and_sinusoid(position_periodicity):
    """Median over dimensions of R2 of a line plus one sinusoid over positions."""
    return position_periodicity.sel(fit="r2_sinusoid").median("dim")


@claim(
    id="weights.positions-few-frequencies",
    statement="Three Fourier components hold more of a dimension than when positions are shuffled.",
    refuted_if="one of 19 copies with shuffled positions has as large a share",
    source=SOURCE,
    models=positioned_by("learned"),
    predicts=rank.below(0.051),
    no_control="the quantity is a rank among its null, 19 copies",
    kind="weights",
    unit="rank",
)
def test_top_three_against_shuffled(position_periodicity, position_top3_shuffled):
    """Rank (1 + b)/(K + 1) of the mean share of the 3 largest Fourier components of 20."""
    share = position_periodicity.sel(fit="top3_share", drop=True).mean("dim")
    return rank_above(share, position_top3_shuffled)
