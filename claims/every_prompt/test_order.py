"""Without positions the first block cannot see the order of the tokens; the others can.

The states that enter the first block are those of the tokens alone, and attention is a sum over
keys: for the last query it is the same in any order. Behind the first block this no longer holds,
because each token saw only those before it.
"""

from refutable import Source, claim, every
from refutable.spec.claim import at_least_blocks, positioned_by

TOLERANCE = 1e-3
MODELS = ("twin-layernorm-both-no-positions-0",)


@claim(
    id="order.first-block-cannot-see-it",
    statement="Without positions the first block says the same whatever the order of the tokens.",
    refuted_if="reversing the tokens before the last one of a prompt changes its state by 0.002",
    source=Source(study="every-prompt", ref="O1"),
    models=positioned_by("none"),
    default_models=MODELS,
    prompts="five-registers",
    predicts=every(tolerance=TOLERANCE).below(TOLERANCE),
    no_control="an identity: it holds for any weights, untrained ones too",
    unit="share of the norm",
    margin=TOLERANCE,
)
def test_first_block(change_by_order):
    """Change of the last token's state after the first block, over its norm, by reversal."""
    return change_by_order.isel(layer=0, drop=True)


@claim(
    id="order.second-block-cannot-see-it",
    statement="Without positions the second block cannot see the order of the tokens either.",
    refuted_if="reversing the tokens before the last one of a prompt changes its state by 0.002",
    source=Source(study="every-prompt", ref="O2"),
    models=positioned_by("none") & at_least_blocks(2),
    default_models=MODELS,
    prompts="five-registers",
    predicts=every(tolerance=TOLERANCE).below(TOLERANCE),
    no_control="one prompt refutes it, whatever an untrained model does",
    unit="share of the norm",
    margin=TOLERANCE,
)
def test_second_block(change_by_order):
    """Change of the last token's state after the second block, over its norm, by reversal."""
    return change_by_order.isel(layer=1, drop=True)
