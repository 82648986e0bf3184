"""A bounded function in the place of norms, where data are scarce and where they are not.

2604.23434 says of tanh(alpha x) (2503.10622) that it helps where training tokens are few and hurts
where they are not. Five seeds of a twin that has it in the place of every norm, held against
layernorm-both after 0.3 and after 14 million tokens of one run: an early point of a long schedule.
"""

from refutable import Source, claim
from refutable.predictions import contrast_along

SESOI = 0.02
SOURCE = Source(study="literature", ref="DyT", citation="arXiv 2604.23434; DyT: arXiv 2503.10622")
PAIR = ("dyt-both-trained", "layernorm-both-trained")
SCARCE, AMPLE = 307_200, 13_926_400


@claim(
    id="ablation.tanh-helps-when-data-are-scarce",
    statement="With tanh in the norms' place the loss after 0.3 million tokens is lower.",
    refuted_if="it is not lower than LayerNorm's by 0.02 nats after 0.3 million tokens",
    source=SOURCE,
    predicts=contrast_along(*PAIR, tokens=SCARCE).below(-SESOI),
    no_control="untrained models of both kinds know nothing and lose alike, ln 1024",
    kind="training",
    unit="nats",
    sesoi=SESOI,
    margin=SESOI,
)
def test_scarce(documents_along_training):
    """Held-out loss by document of held-out prose."""
    return documents_along_training.sel(quantity="loss", drop=True).rename(text="prompt")


@claim(
    id="ablation.tanh-hurts-when-data-are-ample",
    statement="With tanh in the norms' place the loss after 14 million tokens is higher.",
    refuted_if="it does not exceed LayerNorm's by 0.02 nats after 14 million tokens",
    source=SOURCE,
    predicts=contrast_along(*PAIR, tokens=AMPLE).above(SESOI),
    no_control="untrained models of both kinds know nothing and lose alike, ln 1024",
    kind="training",
    unit="nats",
    sesoi=SESOI,
    margin=SESOI,
)
def test_ample(documents_along_training):
    """Held-out loss by document of held-out prose."""
    return documents_along_training.sel(quantity="loss", drop=True).rename(text="prompt")
