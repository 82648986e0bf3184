"""The subjects: thought twins cannot answer without their thoughts."""

from refutable import Source, claim
from refutable.predictions import contrast, each_seed

SOURCE = Source(study="thought-tokens", ref="subjects")
PROMPTS = "modular-steps"


def needs_them(size):
    """Make the claim for one size."""

    @claim(
        id=f"thoughts.needed-{size}",
        statement=f"Every {size} twin answers better with six thoughts than with none.",
        refuted_if="accuracy with six thoughts exceeds that with none by less than 0.2 in any seed",
        source=SOURCE,
        prompts=PROMPTS,
        predicts=each_seed(f"thoughts-{size}").above(0.2),
        no_control="the quantity is less its null, the same weights without thoughts",
        kind="interventional",
        unit="accuracy",
        margin=0.05,
    )
    def test(answers_by_thoughts):
        """Share of right answers with six thoughts minus that with none, same weights."""
        right = answers_by_thoughts.sel(quantity="accuracy", drop=True)
        return (right.sel(thoughts=6) - right.sel(thoughts=0)).mean("prompt")

    return test


def beats_its_twin(size):
    """Make the claim for one size."""

    @claim(
        id=f"thoughts.beat-direct-twin-{size}",
        statement=f"The {size} twin with thoughts beats the one trained without, step for step.",
        refuted_if="its accuracy exceeds that of the twin without thoughts by less than 0.2",
        source=SOURCE,
        prompts=PROMPTS,
        predicts=contrast(f"thoughts-{size}", f"direct-{size}").above(0.2),
        no_control="the twin that was trained without thoughts is the null",
        kind="training",
        unit="accuracy",
        margin=0.05,
    )
    def test(answers_by_thoughts):
        """Share of right answers, at the number of thoughts with which the model does best."""
        right = answers_by_thoughts.sel(quantity="accuracy", drop=True)
        best = int(right.mean("prompt").argmax("thoughts"))
        return right.isel(thoughts=best, drop=True)

    return test


test_small_needs_thoughts = needs_them("small")
test_large_needs_thoughts = needs_them("large")
test_small_beats_its_twin = beats_its_twin("small")
test_large_beats_its_twin = beats_its_twin("large")
