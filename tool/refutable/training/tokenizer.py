"""The twins' tokenizer: byte-level BPE of 1024 tokens, trained on the training split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from refutable.system.paths import fixtures

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS = "<|bos|>"
VOCABULARY = 1024


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Train the tokenizer.

    Parameters
    ----------
    texts
        Documents of the training split.
    vocabulary
        Number of tokens, the 256 bytes and the begin-of-sequence token included.

    Returns
    -------
    PreTrainedTokenizerFast
        Token 0 is ``<|bos|>``. It is never added by itself: whoever wants it puts it first.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return wrap(tokenizer)


def wrap(tokenizer: object) -> PreTrainedTokenizerFast:
    """Return the transformers form of a trained ``tokenizers.Tokenizer``."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=BOS, model_max_length=128
    )


def shipped_tokenizer() -> PreTrainedTokenizerFast:
    """Return the committed tokenizer of all twins."""
    from tokenizers import Tokenizer

    return wrap(Tokenizer.from_file(str(fixtures() / "twins" / "tokenizer.json")))
