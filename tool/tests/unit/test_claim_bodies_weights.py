"""Bodies of the claims about weights, on arrays small enough to work out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.bodies import Case, agrees, arr, body_value, replicated, untested

STUDY = "gpt2-weights"
E = np.e
MATRICES = ["q", "k", "v", "o", "in", "out"]


def by(label: str, dims: str, **rows: Any) -> Any:
    """Stack arrays of the given dims along one labelled dim, which comes first."""
    return arr(f"{label} {dims}".strip(), list(rows.values()), **{label: list(rows)})


# Six blocks: a third is two. Means of the last and the first third are (5 + 6) / 2, (1 + 2) / 2.
DEPTH = np.array([1.0, 2, 3, 4, 5, 6])
# Logs of two matrices in the last third minus the first: 2 and 4 where values are exp(DEPTH / 2)
# and exp(DEPTH).
TWO = np.array([np.exp(DEPTH / 2), np.exp(DEPTH)])
STATISTICS = by(
    "statistic",
    "matrix layer",
    mean=np.array([DEPTH, -2 * DEPTH]),
    sd=np.array([[2.0] * 6, [4.0] * 6]),
    maximum=TWO,
    minimum=-np.array([np.exp(DEPTH), np.exp(DEPTH)]),
)
SPREAD = by("statistic", "matrix layer", sd=TWO, maximum=TWO)
# The order over six blocks is 1 2 3 4 6 5: Spearman's rho is 1 - 6 * 2 / (6 * 35).
ORDERED = by("statistic", "matrix layer", sd=[[1, 2, 3, 4, 6, 5]], maximum=[[1, 2, 3, 4, 6, 5]])
RHO = 1 - 12 / 210
ROWS = arr(
    "quantile matrix layer", [[[9.0] * 6] * 2, [np.exp(DEPTH), np.exp(DEPTH)]], quantile=[0.25, 0.5]
)
NEIGHBOURS = by("kind", "position", raw=[0.9, 0.7], centred=[0.3, 0.2], standardised=[0.6, 0.2])
VARIANCE = arr("dim", [1.0, 6.0, 2.0, 3.0])
SHARES = by("measure", "layer", first_two_share=DEPTH / 10, participation=[3.0] * 6)
LOW = by("measure", "layer", participation=[2.0, 3.0], participation_gaussian=[4.0, 4.0])
PARTS = arr(
    "measure matrix layer",
    [[[1, 1], [2, 2], [3, 4]], [[9, 9], [4, 4], [4, 4]]],
    measure=["participation", "participation_gaussian"],
    matrix=["q", "in", "out"],
)
# Attention only: the feed-forward matrices would move the median.
NORMAL = arr(
    "statistic matrix layer",
    [
        [[0.01], [0.02], [0.03], [0.06], [9.0], [9.0]],
        [[0.1], [0.2], [0.4], [0.9], [9.0], [9.0]],
    ],
    statistic=["ks_normal", "excess_kurtosis"],
    matrix=MATRICES,
)
CLUSTERS = arr(
    "tree operator layer copy",
    [[[[5, 1, 6, 2]], [[5, 1, 4, 2]]], [[[3, 9, 1, 9]], [[3, 9, 1, 1]]]],
    tree=["cophenetic", "gap"],
    copy=[-1, 0, 1, 2],
)
COPHENETIC = arr("operator layer", [DEPTH, 3 * DEPTH])
SLICES = arr("layer", [0.5, 0.7, 0.9])
TOTAL = by("counted", "", named=130.0, unique=124.0)
COUNT = by("category", "", embedding=30.0, attention=20.0, mlp=50.0)
FITS = by("fit", "dim", r2_sinusoid=[0.2, 0.4, 0.9], top3_share=[0.5, 0.6, 0.7])
# Norms of the heads are exp of (0, 2) and (1, 5): sample deviations of the logs sqrt(2), 2 sqrt(2).
HEADS = arr(
    "measure layer head",
    [np.exp([[0, 2], [1, 5]]), np.exp([[0, 4], [2, 10]])],
    measure=["norm", "variance"],
)
SILHOUETTE = arr("layer", [0.2, 0.4])
ROTATED = arr("layer copy", [[0.1, 0.4, 0.4], [0.3, 0.3, 0.3]])

VIEWS = {
    "kurtosis": "excess_kurtosis",
    "dimension": "participation",
    "first": "first_two_share",
    "scatter": "silhouette",
    "rows": "row_spread",
    "query": "query_spread",
    "trees": "cophenetic_qk",
    "positions": "adjacent_correlation",
    "normal": "ks_normal",
}
# Copies 1 to 4: median and mean 2.5, standard deviation sqrt(5 / 3). The value of view i is 10 i.
NAMES = list(VIEWS.values())
VALUES = arr("view", [10.0 * i for i in range(9)], view=NAMES)
COPIES = arr("view copy", [np.array([1, 2, 3, 4]) + 10 * i - 3 * i for i in range(9)], view=NAMES)
OF_VIEWS = {"weight_views": VALUES, "untrained_weight_views": COPIES}
DEVIATION = np.sqrt(5 / 3)


def rank(place: int) -> float:
    """Copies lie at 1 to 4 and the value at 3 i; the median is that of all five."""
    middle = sorted((1, 2, 3, 4, 3 * place))[2]
    far = abs(3 * place - middle)
    return (1 + sum(abs(x - middle) >= far for x in (1, 2, 3, 4))) / 5


def deviation(place: int) -> float:
    return (3 * place - 2.5) / DEVIATION


SHOWN = {
    "weights.tails-show-training": 0,
    "weights.dimension-shows-training": 1,
    "weights.first-components-show-training": 2,
    "weights.scatter-shows-training": 3,
    "weights.rows-show-training": 4,
    "weights.query-heads-show-training": 5,
    "weights.head-trees-show-training": 6,
    "weights.positions-show-training": 7,
}
MADE = {
    "weights.training-makes-tails": 0,
    "weights.training-lowers-dimension": 1,
    "weights.training-fills-first-components": 2,
    "weights.training-makes-scatter-cluster": 3,
    "weights.training-makes-rows-unequal": 4,
    "weights.training-spreads-query-heads": 5,
    "weights.training-makes-head-trees": 6,
    "weights.training-joins-positions": 7,
    "weights.training-makes-normal": 8,
}

CASES: dict[str, Case] = {
    **{name: (OF_VIEWS, rank(place)) for name, place in SHOWN.items()},
    **{name: (OF_VIEWS, deviation(place)) for name, place in MADE.items()},
    # No copy lies at or below 80 where the smallest is 57 ... 60: all four do.
    "weights.normality-shows-training": (OF_VIEWS, 1.0),
    "weights.adjacent-positions-alike": ({"position_adjacent_correlation": NEIGHBOURS}, 0.4),
    "weights.adjacent-positions-without-mean": (
        {"position_adjacent_correlation": NEIGHBOURS},
        0.25 / 0.8,
    ),
    # Changes of 4 and -8 over deviations of 2 and 4: both 2 in size.
    "weights.mean-moves": ({"weight_statistics": STATISTICS}, 2.0),
    "weights.spread-grows": ({"weight_statistics": SPREAD}, 3.0),
    # Maxima move by 2 and 4, minima by 4 and 4.
    "weights.extremes-grow": ({"weight_statistics": STATISTICS}, 3.5),
    "weights.row-variance-grows": ({"weight_row_variance": ROWS}, 4.0),
    "weights.position-dimension-dominates": ({"position_variance": VARIANCE}, 0.5),
    "weights.gpt2-position-dimension": ({"position_variance": VARIANCE}, 1),
    # Means over operators: the model's 5, copies 1, 5, 2; gaps 3 and 9, 1, 5.
    "weights.heads-form-a-tree": ({"head_clustering": CLUSTERS}, 2 / 4),
    "weights.heads-cluster": ({"head_clustering": CLUSTERS}, 3 / 4),
    "weights.heads-cluster-later": ({"head_cophenetic": COPHENETIC}, (4 + 12) / 2),
    "weights.later-blocks-spread": ({"attention_input_spectrum": SHARES}, 0.4),
    "weights.attention-low-dimensional": (
        {"attention_input_spectrum": LOW},
        (2 / 4 + 3 / 4) / 2,
    ),
    # Without the queries, whose ratio is 1 / 9.
    "weights.feed-forward-low-dimensional": (
        {"weight_spectrum": PARTS},
        (2 / 4 + 2 / 4 + 3 / 4 + 4 / 4) / 4,
    ),
    "weights.attention-near-normal": ({"weight_statistics": NORMAL}, 0.025),
    "weights.attention-tails-slight": ({"weight_statistics": NORMAL}, 0.3),
    "weights.gpt2-parameters": ({"parameter_total": TOTAL}, 124.0),
    "weights.counted-once": ({"parameter_total": TOTAL}, 6.0),
    "weights.feed-forward-largest": ({"parameter_count": COUNT}, 0.5),
    "weights.positions-periodic": ({"position_periodicity": FITS}, 0.4),
    # The mean share is 0.6: one of the two copies reaches it.
    "weights.positions-few-frequencies": (
        {
            "position_periodicity": FITS,
            "position_top3_shuffled": arr("copy", [0.5, 0.65]),
        },
        2 / 3,
    ),
    "weights.query-heads-differ": ({"query_head": HEADS}, 1.5),
    "weights.query-heads-differ-in-variance": ({"query_head": HEADS}, 3.0),
    # 0.3 against the copies' means 0.2, 0.35, 0.35.
    "weights.scatter-clusters": (
        {"scatter_silhouette": SILHOUETTE, "scatter_silhouette_rotated": ROTATED},
        3 / 4,
    ),
}

AS_STUDIED: dict[str, Case] = {
    "weights.adjacent-positions-alike": ({"position_adjacent_correlation": NEIGHBOURS}, 0.8),
    "weights.spread-grows": ({"weight_statistics": ORDERED}, RHO),
    "weights.extremes-grow": ({"weight_statistics": ORDERED}, RHO),
    "weights.row-variance-grows": ({"weight_row_variance": ROWS}, 1.0),
    "weights.position-dimension-dominates": ({"position_variance": VARIANCE}, 6 / 2.5),
    "weights.heads-form-a-tree": ({"slices_cophenetic": SLICES}, 0.7),
    "weights.heads-cluster-later": ({"slices_cophenetic": SLICES}, 0.4),
    "weights.later-blocks-spread": (
        {
            "attention_input_spectrum_standardised": by(
                "measure", "layer", first_two_share=[1, 2, 3, 40, 5, 6, 10]
            )
        },
        7.0 - 2.0,
    ),
    "weights.attention-near-normal": (
        {
            "attention_input_statistics": by(
                "statistic", "layer", ks_normal=[0.09, 0.2], excess_kurtosis=[1, 2]
            )
        },
        0.09,
    ),
    "weights.gpt2-parameters": ({"parameter_total": TOTAL}, 130.0),
    "weights.positions-periodic": (
        {
            "position_periodicity": arr(
                "fit dim",
                [[0.9, 0.1, 0.2, 0.3, 0.4]],
                fit=["r2_sinusoid"],
                dim=[0, 400, 500, 600, 700],
            )
        },
        0.25,
    ),
}


@pytest.mark.parametrize("claim", CASES)
def test_a_body_by_hand(claim: str) -> None:
    observables, expected = CASES[claim]
    agrees(body_value(claim, observables), expected)


@pytest.mark.parametrize("claim", AS_STUDIED)
def test_the_studys_own_quantity_by_hand(claim: str) -> None:
    observables, expected = AS_STUDIED[claim]
    agrees(replicated(claim, observables), expected)


def test_no_claim_is_without_a_case() -> None:
    assert untested(STUDY, CASES) == set()
