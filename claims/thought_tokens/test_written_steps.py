"""The same questions of written steps, for models of text without continuous thoughts."""

from refutable import Source, claim, mean, replication, trend
from refutable.spec.claim import not_tagged, placebo, reads_text

PROMPTS = "word-problems"
MODELS = reads_text() & not_tagged("embedded")
SESOI = 0.02


def source(ref):
    """Name the row of the study."""
    return Source(study="thought-tokens", ref=ref)


@claim(
    id="thoughts.written-steps-help",
    statement="With six written steps in front of it the model answers better than without.",
    refuted_if="accuracy with the steps exceeds that without by less than 0.2",
    source=source("subjects"),
    models=MODELS,
    prompts=PROMPTS,
    predicts=mean.above(0.2),
    no_control="the quantity is less its null, the same problem without steps",
    kind="interventional",
    unit="accuracy",
    margin=0.05,
)
def test_steps_help(answers_by_thoughts):
    """Share of right answers with the six steps minus that with none of them."""
    right = answers_by_thoughts.sel(quantity="accuracy", drop=True)
    return right.sel(thoughts=6, drop=True) - right.sel(thoughts=0, drop=True)


@claim(
    id="thoughts.written-middle-matters-most",
    statement="Written steps 2 and 3 matter more than the other four.",
    refuted_if="nats lost by replacing them, minus the mean of the others, lie below 0",
    source=source("C1"),
    models=MODELS,
    prompts=PROMPTS,
    predicts=mean.above(0.0),
    no_control="the other four steps are the null that the two are held against",
    kind="interventional",
    unit="nats",
    margin=0.1,
)
def test_middle_matters(direct_importance):
    """Nats lost by resampling step 2 or 3 minus those by another, means; later steps kept."""
    lost = direct_importance.sel(quantity="log-probability", drop=True)
    others = lost.sel(thought=[0, 1, 4, 5]).mean("thought")
    return lost.sel(thought=[2, 3]).mean("thought") - others


@claim(
    id="thoughts.written-attention-uniform-as-published",
    statement="By the published procedure a step's share is 1 over the number of keys it sees.",
    refuted_if="a share differs from that of the reciprocal lengths by more than 0.0001",
    source=source("C2"),
    models=MODELS,
    prompts=PROMPTS,
    predicts=mean.below(1e-4),
    no_control="an identity: a row that sums to 1 has it in any model",
    unit="share",
    margin=1e-4,
)
def test_published_share_is_length(published_attention, keys_seen):
    """Largest difference of the published share from that of 1 / length; blocks and steps."""
    length = keys_seen.rename(span="thought").assign_coords(thought=published_attention["thought"])
    reciprocal = (1 / length) / (1 / length).sum("thought")
    return abs(published_attention - reciprocal).max(("layer", "thought"))


def last_minus_largest_other(share):
    """Share of step 5 minus the largest other, in the last block."""
    late = share.isel(layer=-1, drop=True)
    return late.sel(thought=5, drop=True) - late.sel(thought=slice(0, 4)).max("thought")


def of_random_spans(random_attention_from_answer):
    """Compare random spans of the problem instead of steps."""
    return last_minus_largest_other(random_attention_from_answer)


@claim(
    id="thoughts.written-attention-on-last",
    statement="The answer's position attends to a token of step 5 more than to one of the others.",
    refuted_if="the share of step 5 minus the largest other lies below 0",
    source=source("C6"),
    models=MODELS,
    prompts=PROMPTS,
    predicts=mean.above(0.0),
    control=placebo(
        of_random_spans, statement="six random spans of the problem, of the same lengths"
    ),
    unit="share",
    sesoi=SESOI,
    margin=SESOI,
)
def test_on_last(attention_from_answer):
    """Share of step 5, per token, minus the largest other; mean over heads, last block."""
    return last_minus_largest_other(attention_from_answer)


def pooled(attention_from_answer, direct_importance):
    """Attention and importance of every step of every problem."""
    lost = direct_importance.sel(quantity="log-probability", drop=True)
    share = attention_from_answer.sel(prompt=lost["prompt"]).mean("layer")
    points = {"point": ("prompt", "thought")}
    return share.transpose("prompt", "thought").stack(points), lost.stack(points)


@claim(
    id="thoughts.written-attention-follows-importance",
    statement="Attention to written steps correlates positively with their importance.",
    refuted_if="the mean correlation over a problem's six steps lies below 0",
    source=source("C7"),
    models=MODELS,
    prompts=PROMPTS,
    predicts=mean.above(0.0),
    no_control="0 is what steps dealt at random would give within each problem",
    replication=replication(
        pooled,
        statement="all steps of all problems as independent points",
        above=0.0,
        statistic="pooled correlation",
    ),
    unit="correlation",
    margin=0.05,
)
def test_follows(attention_follows_direct_importance):
    """Correlation over six steps of attention from the answer and nats lost by resampling."""
    return attention_follows_direct_importance


def random_share(random_attention_from_answer):
    """Share of the last of six random spans."""
    return random_attention_from_answer.sel(thought=5, drop=True)


@claim(
    id="thoughts.written-focus-grows-with-depth",
    statement="The share of step 5 grows with depth.",
    refuted_if="the mean slope of its share over the blocks lies below 0",
    source=source("C8"),
    models=MODELS,
    prompts=PROMPTS,
    predicts=trend(over="layer").above(0.0),
    control=placebo(random_share, statement="six random spans of the problem, of the same lengths"),
    unit="share a block",
    sesoi=0.001,
    margin=0.001,
)
def test_slope(attention_from_answer):
    """Share of step 5, per token, mean over heads, by block."""
    return attention_from_answer.sel(thought=5, drop=True)
