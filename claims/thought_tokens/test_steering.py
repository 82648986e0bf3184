"""Row C10: patching a thought from another problem steers the answer."""

from refutable import Source, claim, untrained
from refutable.predictions import over_seeds

SOURCE = Source(study="thought-tokens", ref="C10")
PROMPTS = "modular-steps"


def moves_to_other(size):
    """Make the claim for one size."""

    @claim(
        id=f"thoughts.patch-gives-other-answer-{size}",
        statement=f"In the {size} twin another problem's thought 2 or 3 brings its answer.",
        refuted_if="it does in less than half of the problems",
        source=SOURCE,
        prompts=PROMPTS,
        predicts=over_seeds(f"thoughts-{size}").above(0.5),
        control=untrained(seeds=5),
        sesoi=0.05,
        kind="interventional",
        unit="share of answers",
        margin=0.05,
    )
    def test(thought_steering):
        """Share of answers that become the other problem's, mean over thoughts 2 and 3."""
        moved = thought_steering.sel(later="recomputed", outcome="other's answer", drop=True)
        return moved.sel(thought=[2, 3]).mean("thought")

    return test


def goes_on(size):
    """Make the claim for one size."""

    @claim(
        id=f"thoughts.patch-is-continued-{size}",
        statement=f"In the {size} twin the other's value is taken on through the own slots.",
        refuted_if="the answer is that continuation in less than half of the problems",
        source=SOURCE,
        prompts=PROMPTS,
        predicts=over_seeds(f"thoughts-{size}").above(0.5),
        control=untrained(seeds=5),
        sesoi=0.05,
        kind="interventional",
        unit="share of answers",
        margin=0.05,
    )
    def test(thought_steering):
        """Share of answers that are the other's value after the slot, continued; thoughts 2, 3."""
        moved = thought_steering.sel(later="recomputed", outcome="continued", drop=True)
        return moved.sel(thought=[2, 3]).mean("thought")

    return test


def reads_out(size):
    """Make the claim for one size."""

    @claim(
        id=f"thoughts.read-out-as-values-{size}",
        statement=f"In the {size} twin each thought reads out as the value after its slot.",
        refuted_if="it does in less than half of the cases",
        source=SOURCE,
        prompts=PROMPTS,
        predicts=over_seeds(f"thoughts-{size}").above(0.5),
        control=untrained(seeds=5),
        sesoi=0.05,
        kind="probing",
        unit="share of thoughts",
        margin=0.05,
    )
    def test(thought_values):
        """Share of thoughts whose first choice among 11 values is that after the same slot."""
        same = thought_values["thought"] == thought_values["slot"]
        return thought_values.where(same, 0.0).sum("slot").mean("thought")

    return test


test_small_gives_other_answer = moves_to_other("small")
test_large_gives_other_answer = moves_to_other("large")
test_small_goes_on = goes_on("small")
test_large_goes_on = goes_on("large")
test_small_reads_out = reads_out("small")
test_large_reads_out = reads_out("large")
