"""Rows C4, C5 and C7: whether attention goes to the thoughts that matter."""

from refutable import Source, claim, untrained
from refutable.predictions import each_seed, over_seeds
from refutable.spec.references import reference

C4 = Source(study="thought-tokens", ref="C4")
C5 = Source(study="thought-tokens", ref="C5")
C7 = Source(study="thought-tokens", ref="C7")
PROMPTS = "modular-steps"
MARGIN = 0.05


@claim(
    id="thoughts.attention-against-importance",
    statement="In the small twin attention and importance of thoughts correlate negatively.",
    refuted_if="the mean correlation over a problem's six thoughts lies above 0",
    source=C4,
    prompts=PROMPTS,
    predicts=over_seeds("thoughts-small").below(0.0),
    control=untrained(seeds=5),
    sesoi=MARGIN,
    unit="correlation",
    margin=MARGIN,
)
def test_against(attention_follows_total_importance):
    """Correlation over six thoughts of attention from the answer and nats lost by resampling."""
    return attention_follows_total_importance


@claim(
    id="thoughts.attention-follows-importance",
    statement="In the large twin attention and importance of thoughts correlate positively.",
    refuted_if="the mean correlation over a problem's six thoughts lies below 0",
    source=C7,
    prompts=PROMPTS,
    predicts=over_seeds("thoughts-large").above(0.0),
    control=untrained(seeds=5),
    sesoi=MARGIN,
    unit="correlation",
    margin=MARGIN,
)
def test_follows(attention_follows_total_importance):
    """Correlation over six thoughts of attention from the answer and nats lost by resampling."""
    return attention_follows_total_importance


def follows_direct(size):
    """Make the claim for one size."""

    @claim(
        id=f"thoughts.attention-follows-direct-importance-{size}",
        statement=f"In the {size} twin attention goes to the thoughts that the answer reads.",
        refuted_if="the mean correlation with importance, later thoughts kept, lies below 0",
        source=C7,
        prompts=PROMPTS,
        predicts=over_seeds(f"thoughts-{size}").above(0.0),
        control=untrained(seeds=5),
        sesoi=MARGIN,
        unit="correlation",
        margin=MARGIN,
    )
    def test(attention_follows_direct_importance):
        """Correlation over six thoughts of attention and nats lost when later ones are kept."""
        return attention_follows_direct_importance

    return test


test_small_follows_direct = follows_direct("small")
test_large_follows_direct = follows_direct("large")


@claim(
    id="thoughts.middle-least-attended",
    statement="In the small twin thoughts 2 and 3 get less attention than each of the others.",
    refuted_if="the least of the other four exceeds the larger of the two by less than 0",
    source=C5,
    prompts=PROMPTS,
    predicts=over_seeds("thoughts-small").above(0.0),
    control=untrained(seeds=5),
    sesoi=0.01,
    unit="share",
    margin=0.01,
)
def test_middle_least(attention_from_answer):
    """Least mean share of thoughts 0, 1, 4, 5 minus the larger of thoughts 2 and 3; last block."""
    share = attention_from_answer.isel(layer=-1, drop=True).mean("prompt")
    others = share.sel(thought=[0, 1, 4, 5]).min("thought")
    return others - share.sel(thought=[2, 3]).max("thought")


@claim(
    id="thoughts.middle-least-attended-in-published-table",
    statement="In the study's own table thoughts 2 and 3 have the lowest attention.",
    refuted_if="a thought other than 2 and 3 has a lower share there than one of them",
    source=C5,
    prompts=PROMPTS,
    predicts=each_seed("thoughts-small").equals(0.0),
    no_control="nothing of a model enters: it is about a published table",
    kind="observational",
    unit="thoughts",
)
def test_published_table(span_lengths):
    """Number of other thoughts with a published share below the larger of thoughts 2 and 3.

    The table is the same for every seed, and nothing of the model enters.
    """
    share = reference("thought_tokens", "gpt2", "attention_share")
    bound = max(share[2], share[3])
    return float(sum(share[other] < bound for other in (0, 1, 4, 5)))
