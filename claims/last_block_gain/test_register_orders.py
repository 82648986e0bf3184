"""Row G6: the register of the prompt orders entropy and gain.

The register is the treatment, so families are its units, and the prompts are length-matched:
in the study's own prompts register and length are confounded.
"""

from refutable import Source, claim, ordered
from refutable.spec.claim import shuffled

ENTROPY_ORDER = ("cliche", "factual", "syntactic", "novel", "nonsense")
COMPLEXITY_ORDER = ("factual", "cliche", "nonsense", "novel", "syntactic")


@claim(
    id="gain.register-orders-entropy",
    statement="Entropy rises from cliche over factual and novel prompts to nonsense.",
    refuted_if="a neighbouring contrast of the stated order lies below +0.1 nat",
    source=Source(study="last-block-gain", ref="G6"),
    prompts="length-matched",
    predicts=ordered("cliche", "factual", "novel", "nonsense", over="register", by=0.1),
    control=shuffled(seeds=5),
    unit="nats",
    margin=0.1,
)
def test_entropy_by_register(next_token_entropy):
    """Entropy of the next token, prompts grouped by register.

    The study expects low, medium, high and very high; factual stands for the two registers that
    it expects to be medium, which have no order between them.
    """
    return next_token_entropy


@claim(
    id="gain.register-orders-gain",
    statement="The last block's gain rises with the complexity that the study gives each register.",
    refuted_if="a neighbouring contrast of the stated order lies below +0.02",
    source=Source(study="last-block-gain", ref="G6"),
    prompts="length-matched",
    predicts=ordered(*COMPLEXITY_ORDER, over="register", by=0.02),
    control=shuffled(seeds=5),
    unit="log ratio",
    margin=0.02,
)
def test_gain_by_register(log_growth):
    """Log gain of the last block, prompts grouped by register."""
    return log_growth.isel(layer=-1, drop=True)
