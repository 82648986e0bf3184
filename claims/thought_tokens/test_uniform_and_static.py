"""Rows C2 and C3: attention over the thoughts is uniform, and the same in two blocks.

Beside the sound version stands the published procedure: the mean over its keys of a row that sums
to 1, which is 1 over the row's length in any model at any block. Untrained models satisfy it too.
"""

from refutable import Source, claim, untrained
from refutable.predictions import over_seeds

C2 = Source(study="thought-tokens", ref="C2")
C3 = Source(study="thought-tokens", ref="C3")
PROMPTS = "modular-steps"
MARGIN = 0.01
EXACT = 1e-4


def two_late_blocks(share):
    """The blocks at two thirds of the depth and the last: the study's 8 and 11 of 12."""
    last = share.sizes["layer"] - 1
    return share.isel(layer=2 * last // 3, drop=True), share.isel(layer=last, drop=True)


@claim(
    id="thoughts.attention-uniform",
    statement="The answer's position attends to the six thoughts as evenly as to any six spans.",
    refuted_if="a thought's share differs from that of a random span by more than 0.01",
    source=C2,
    prompts=PROMPTS,
    predicts=over_seeds("thoughts-small").below(MARGIN),
    control=untrained(seeds=5),
    unit="share",
    sesoi=MARGIN,
    margin=MARGIN,
)
def test_uniform(attention_from_answer, random_attention_from_answer):
    """Largest difference, over thoughts, of the mean share from a random span's; last block."""
    difference = attention_from_answer - random_attention_from_answer
    return abs(difference.isel(layer=-1, drop=True).mean("prompt")).max("thought")


@claim(
    id="thoughts.attention-uniform-as-published",
    statement="By the published procedure a thought's share is 1 over the number of keys it sees.",
    refuted_if="a share differs from that of the reciprocal lengths by more than 0.0001",
    source=C2,
    prompts=PROMPTS,
    predicts=over_seeds("thoughts-small").below(EXACT),
    control=untrained(seeds=5),
    unit="share",
    sesoi=EXACT,
    margin=EXACT,
)
def test_published_share_is_length(published_attention, keys_seen):
    """Largest difference of the published share from that of 1 / length; over blocks, thoughts."""
    length = keys_seen.rename(span="thought").assign_coords(thought=published_attention["thought"])
    reciprocal = (1 / length) / (1 / length).sum("thought")
    return abs(published_attention - reciprocal).max()


@claim(
    id="thoughts.attention-static",
    statement="The shares of the six thoughts are the same at two thirds of the depth and last.",
    refuted_if="the mean share of a thought changes by more than 0.01 between the two blocks",
    source=C3,
    prompts=PROMPTS,
    predicts=over_seeds("thoughts-small").below(MARGIN),
    control=untrained(seeds=5),
    unit="share",
    sesoi=MARGIN,
    margin=MARGIN,
)
def test_static(attention_from_answer):
    """Largest change, over thoughts, of the mean share between the two blocks."""
    before, after = two_late_blocks(attention_from_answer.mean("prompt"))
    return abs(after - before).max("thought")


@claim(
    id="thoughts.attention-static-as-published",
    statement="By the published procedure shares are the same in every block.",
    refuted_if="a share changes by more than 0.0001 between the two blocks",
    source=C3,
    prompts=PROMPTS,
    predicts=over_seeds("thoughts-small").below(EXACT),
    control=untrained(seeds=5),
    unit="share",
    sesoi=EXACT,
    margin=EXACT,
)
def test_published_share_is_static(published_attention):
    """Largest change of a published share between the two blocks, over problems and thoughts."""
    before, after = two_late_blocks(published_attention)
    return abs(after - before).max()
