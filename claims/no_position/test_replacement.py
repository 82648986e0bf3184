"""Row T5: which activations matter, by replacing one at a time with its mean over sequences."""

import numpy as np

from refutable import Source, claim
from refutable.predictions import over_seeds
from refutable.spec.claim import placebo
from refutable.spec.references import reference

SOURCE = Source(study="no-position", ref="T5")
UNTRAINED = "the study's own models before training, one for each seed"
# Sites that hold the same numbers up to a linear map: replacing either gives the same loss.
IDENTITIES = {
    "blocks.0.resid_pre": "embed",
    "blocks.0.mlp.pre": "blocks.0.ln2.normalized",
    "blocks.0.mlp_out": "blocks.0.mlp.post",
    "blocks.0.attn_out": "blocks.0.attn.z",
}


def published():
    """Published loss of every distinct site."""
    losses = reference("no_position", "mean_replacement")
    return {site: loss for site, loss in losses.items() if site not in IDENTITIES}


def log_ratios(replaced_loss):
    """Log of our loss over the published one, by distinct site."""
    known = published()
    measured = replaced_loss.sel(site=list(known))
    return np.log(measured / np.array(list(known.values())))


def rank_correlation(replaced_loss):
    """Rank correlation of losses after replacement with the published ones, distinct sites."""
    known = published()
    losses = replaced_loss.sel(site=list(known)).values
    ranks = [np.argsort(np.argsort(some)) for some in (losses, np.array(list(known.values())))]
    return np.corrcoef(*ranks)[0, 1]


def ranks_untrained(untrained_replaced_loss):
    """The same before training."""
    return rank_correlation(untrained_replaced_loss)


@claim(
    id="noposition.replacement-ranks",
    statement="Replacing activations by their mean ranks the components as published.",
    refuted_if="the mean rank correlation with the published losses lies below 0.8",
    source=SOURCE,
    predicts=over_seeds("no-position").above(0.8),
    control=placebo(ranks_untrained, statement=UNTRAINED),
    sesoi=0.05,
    kind="interventional",
    unit="rank correlation",
    margin=0.05,
)
def test_rank_correlation(replaced_loss):
    """Rank correlation of loss after replacement with the published one over 19 distinct sites."""
    return rank_correlation(replaced_loss)


def sizes_untrained(untrained_replaced_loss):
    """The same before training."""
    return abs(log_ratios(untrained_replaced_loss)).median()


@claim(
    id="noposition.replacement-sizes",
    statement="Replacing activations by their mean costs about what was published.",
    refuted_if="the median distance to the published losses lies above log 1.5",
    source=SOURCE,
    predicts=over_seeds("no-position").below(np.log(1.5)),
    control=placebo(sizes_untrained, statement=UNTRAINED),
    sesoi=0.1,
    kind="interventional",
    unit="log ratio",
    margin=0.1,
)
def test_distance_to_the_published_losses(replaced_loss):
    """Median absolute log ratio of loss after replacement to the published, 19 distinct sites."""
    return abs(log_ratios(replaced_loss)).median()


@claim(
    id="noposition.replacement-identities",
    statement="Sites that hold the same numbers give the same loss when replaced.",
    refuted_if="the losses of such a pair differ by more than 0.0001 on the log scale on average",
    source=SOURCE,
    predicts=over_seeds("no-position").within(-1e-4, 1e-4),
    no_control="an identity: it holds for any weights, untrained ones too",
    kind="interventional",
    unit="log ratio",
)
def test_identities(replaced_loss):
    """Largest absolute log ratio within four pairs, such as embed and the first residual stream."""
    losses = np.log(replaced_loss)
    pairs = [(losses.sel(site=a), losses.sel(site=b)) for a, b in IDENTITIES.items()]
    return max(abs(float(a) - float(b)) for a, b in pairs)
