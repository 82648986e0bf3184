"""A claim to begin with for each word of the vocabulary of predictions."""

from __future__ import annotations

from dataclasses import dataclass

from refutable.errors import ClaimError, near


@dataclass(frozen=True, slots=True)
class Word:
    """What a claim of one prediction word looks like."""

    predicts: str
    statement: str
    refuted_if: str
    asks: tuple[str, ...]
    body: str
    quantity: str
    public: bool = True
    """Whether the word comes from `refutable` itself, or from `refutable.predictions`."""
    unit: str = ""
    more: tuple[str, ...] = ()
    """Further arguments of the decorator."""
    also: tuple[str, ...] = ()
    """Further imports."""


_LAST = "return log_growth.isel(layer=-1, drop=True)"
_CONTROL = "control=untrained(seeds=5),"
_GAIN = "Log growth of the last block, at the last token."

WORDS: dict[str, Word] = {
    "mean": Word(
        "mean.above(0.02)",
        "The last block grows the residual stream.",
        "the mean log growth over prompt families lies below +0.02",
        ("log_growth",),
        _LAST,
        _GAIN,
        unit="log ratio",
        more=(_CONTROL, "sesoi=0.02,"),
    ),
    "against-control": Word(
        "mean.above(0.02).against_control()",
        "Training makes the last block grow the residual stream.",
        "the growth beyond that of untrained models of the same config lies below +0.02",
        ("log_growth",),
        _LAST,
        _GAIN,
        unit="log ratio",
        more=("control=untrained(seeds=19),", "sesoi=0.02,"),
    ),
    "share": Word(
        "share.above(0.5, over=0.0)",
        "The last block grows the residual stream of most prompts.",
        "it grows that of no more than half of the prompts",
        ("log_growth",),
        _LAST,
        f"{_GAIN} The share counts those above 0.",
        unit="log ratio",
    ),
    "every": Word(
        "every.above(0.0)",
        "The last block grows the residual stream of every prompt.",
        "a single prompt has a log growth below 0",
        ("log_growth",),
        _LAST,
        _GAIN,
        unit="log ratio",
    ),
    "correlation": Word(
        "correlation.above(0.2)",
        "The last block grows the stream more where the next token is less certain.",
        "the correlation lies below 0.2, between families or within them",
        ("log_growth", "next_token_entropy"),
        "return log_growth.isel(layer=-1, drop=True), next_token_entropy",
        "Log growth of the last block, and the entropy of the next token.",
    ),
    "trend": Word(
        'trend(over="layer").below(0.0)',
        "Blocks grow the residual stream less the later they are.",
        "the slope of log growth over the blocks lies above 0",
        ("log_growth",),
        "return log_growth",
        "Log growth of each block, at the last token.",
        unit="log ratio per block",
    ),
    "ordered": Word(
        'ordered("factual", "nonsense", by=0.1)',
        "The next token is less certain after nonsense than after facts.",
        "the mean entropy after nonsense exceeds that after facts by less than 0.1 nats",
        ("next_token_entropy",),
        "return next_token_entropy",
        "Entropy of the next token. Groups are the families' remark `register`.",
        unit="nats",
    ),
    "contrast": Word(
        'contrast("layernorm-both", "rmsnorm-both").below(-0.02)',
        "LayerNorm models grow the stream less in their last block than RMSNorm models.",
        "the difference, LayerNorm minus RMSNorm, lies above -0.02",
        ("log_growth",),
        _LAST,
        _GAIN,
        unit="log ratio",
        more=("sesoi=0.02,",),
    ),
    "equals": Word(
        "equals(6)",
        "The model has six blocks.",
        "it has another number of them",
        ("n_blocks",),
        "return n_blocks",
        "Number of blocks that ran.",
        unit="blocks",
    ),
    "fact": Word(
        "fact.above(2)",
        "The model has more than two blocks.",
        "it has two or fewer",
        ("n_blocks",),
        "return n_blocks",
        "Number of blocks that ran.",
        public=False,
        unit="blocks",
    ),
    "rank": Word(
        "rank.below(0.051)",
        "The last block grows the stream less than that of any untrained copy.",
        "(a rank confirms or stays open: no rank refutes it)",
        ("log_growth",),
        "return log_growth.isel(layer=-1, drop=True).mean()",
        "Mean log growth of the last block; ranked among the copies.",
        public=False,
        more=("control=untrained(seeds=19),",),
    ),
    "over-seeds": Word(
        'over_seeds("rmsnorm-both").above(0.02)',
        "The last block of RMSNorm models grows the stream, over training seeds.",
        "the mean log growth over seeds and families lies below +0.02",
        ("log_growth",),
        _LAST,
        _GAIN,
        public=False,
        unit="log ratio",
    ),
    "each-seed": Word(
        'each_seed("rmsnorm-both").above(0.0)',
        "The last block grows the stream in each training run.",
        "one run has a mean log growth below 0",
        ("log_growth",),
        "return log_growth.isel(layer=-1, drop=True).mean()",
        "Mean log growth of the last block.",
        public=False,
        unit="log ratio",
    ),
}


def claim_text(word: str, claim_id: str, function: str) -> str:
    """Return a test module with one claim that predicts by a word.

    Parameters
    ----------
    word : str
        A key of `WORDS`.
    claim_id : str
        Id of the claim, ``<prefix>.<slug>``.
    function : str
        Name of the test function.

    Raises
    ------
    ClaimError
        For a word without a template; near ones are listed.
    """
    name = word.replace("_", "-")
    if name not in WORDS:
        raise ClaimError(f"no claim to begin with for {word!r}: {near(name, WORDS)}")
    made = WORDS[name]
    statistic = made.predicts.partition("(")[0].partition(".")[0]
    controlled = ["untrained"] if any("untrained" in line for line in made.more) else []
    public = sorted([*([statistic] if made.public else []), *controlled])
    lines = [f"from refutable import {', '.join(['Source', 'claim', *public])}"]
    if not made.public:
        lines.append(f"from refutable.predictions import {statistic}")
    prefix = claim_id.partition(".")[0]
    arguments = [
        f'id="{claim_id}",',
        f'statement="{made.statement}",  # CHANGE: the claim in one sentence',
        f'refuted_if="{made.refuted_if}",',
        f'source=Source(study="{prefix}", ref="1"),  # CHANGE: who says so',
        f"predicts={made.predicts},  # CHANGE: the region, before you look",
        *made.more,
        *([f'unit="{made.unit}",'] if made.unit else []),
    ]
    return "\n".join(
        [
            f'"""{made.statement}"""',
            "",
            *lines,
            "",
            "",
            "@claim(",
            *(f"    {line}" for line in arguments),
            ")",
            f"def {function}({', '.join(made.asks)}):  # CHANGE: `refutable list observables`",
            f'    """{made.quantity}"""',
            f"    {made.body}",
            "",
        ]
    )
