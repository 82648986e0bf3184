"""Models whose counterexamples are known: a prompt violates only if it holds chosen tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

VOCAB = 512
_STREAM = 20
_NOISE = slice(12, 20)
_SIZE = 10
"""The dimension in which every token's vector has length 1 and that the last block scales."""


def planted(
    tokens: Sequence[int],
    *,
    holds: bool = False,
    vocab: int = VOCAB,
    seed: int = 0,
    noise: float = 0.0,
) -> Any:
    """Make a decoder whose last block grows the stream only behind all of some tokens.

    Block 0 averages, over the tokens so far, which of the chosen ones occurred; block 1 makes of
    each average 0 or 1; the last block scales the stream by 0.7 without any of them and by 1.1
    behind all, in equal steps. With `holds` it stays below 1 even then.

    Parameters
    ----------
    tokens : sequence of int
        At most three.
    noise : float
        Standard deviation of what is added to every parameter of the blocks: a checkpoint whose
        matrices are nothing but zeros is taken for one that was lost.
    """
    import torch

    from refutable.models.twin_model import TwinConfig, TwinLMHeadModel, initialise

    count = len(tokens)
    model = TwinLMHeadModel(
        TwinConfig(
            vocab_size=vocab,
            n_positions=64,
            n_embd=_STREAM,
            n_inner=2 * count + 1,
            n_layer=3,
            n_head=1,
            activation_function="relu",
            norm_place="none",
            positions="none",
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    initialise(model, seed)
    source = torch.Generator().manual_seed(seed)
    now, mean, seen = (slice(k * 3, k * 3 + count) for k in range(3))
    top = 0.9 if holds else 1.1
    with torch.no_grad():
        embedding = model.transformer.wte.weight
        embedding.zero_()
        embedding[:, _SIZE] = 1.0
        embedding[:, _NOISE] = 0.1 * torch.randn(vocab, 8, generator=source)
        for k, token in enumerate(tokens):
            embedding[token, now.start + k] = 0.1
        for block in model.transformer.h:
            for part in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
                part.weight.zero_()
                part.bias.zero_()
        first, second, last = model.transformer.h
        for k in range(count):
            # Queries and keys are zero: attention is the mean over all tokens so far.
            first.attn.c_attn.weight[now.start + k, 2 * _STREAM + k] = 1.0
            first.attn.c_proj.weight[k, mean.start + k] = 1.0
            # A token among up to 40 gives a mean of 0.0025 or more.
            second.mlp.c_fc.weight[mean.start + k, 2 * k : 2 * k + 2] = 1000.0
            second.mlp.c_fc.bias[2 * k : 2 * k + 2] = torch.tensor([-1.0, -2.0])
            second.mlp.c_proj.weight[2 * k : 2 * k + 2, seen.start + k] = torch.tensor([0.1, -0.1])
            last.mlp.c_fc.weight[seen.start + k, k] = 10.0
            last.mlp.c_proj.weight[k, _SIZE] = (top - 0.7) / count
        last.mlp.c_proj.bias[_SIZE] = -0.3
        model.transformer.ln_f.weight.mul_(1.25)
        if noise:
            for parameter in model.transformer.h.parameters():
                parameter.add_(noise * torch.randn(parameter.shape, generator=source))
    return model.eval()


def write_planted(folder: Path, tokens: Sequence[int], **how: Any) -> Path:
    """Save such a model."""
    planted(tokens, **{"noise": 1e-5, **how}).save_pretrained(folder)
    return folder


def growth_claim() -> Any:
    """Return the claim that the last block shrinks the stream for every prompt."""
    from refutable import Source, claim, every

    @claim(
        id="gain.planted",
        statement="The last block shrinks the stream.",
        refuted_if="one prompt grows it",
        source=Source(study="planted", ref="P"),
        predicts=every.below(0.0),
    )
    def body(log_growth: Any) -> Any:
        """Log gain of the last block."""
        return log_growth.isel(layer=-1, drop=True)

    return body.__claim__


def growth_of_long(at_least: int) -> Any:
    """Return the same claim of prompts of `at_least` tokens or more alone."""
    from refutable import Source, claim, every

    @claim(
        id="gain.planted-long",
        statement="The last block shrinks the stream of long prompts.",
        refuted_if="one of them grows it",
        source=Source(study="planted", ref="P"),
        predicts=every.below(0.0),
    )
    def body(log_growth: Any, n_tokens: Any) -> Any:
        """Log gain of the last block, long prompts."""
        long = (n_tokens >= at_least).values
        return log_growth.isel(layer=-1, drop=True).isel(prompt=long)

    return body.__claim__


def subject_of(model: Any, *, bos: int | None = None, dtype: str = "float32") -> Any:
    """Return a model as the search takes it, without a checkpoint behind it."""
    from refutable.falsify.objective import Subject
    from refutable.models.load import LoadedModel
    from refutable.models.sites import find_sites
    from refutable.models.spec import ModelSource, ModelSpec
    from refutable.records import ModelFacts

    config = model.config
    facts = ModelFacts(
        id="planted",
        architecture=type(model).__name__,
        norm_kind="none",
        blocks=config.num_hidden_layers,
        heads=config.num_attention_heads,
        d_model=config.hidden_size,
        d_vocab=config.vocab_size,
        context=64,
        parameters=sum(p.numel() for p in model.parameters()),
        tied=True,
        positions="none",
        attention_interface=True,
        bos=0,
        tokenizer=False,
    )
    loaded = LoadedModel(
        spec=ModelSpec("planted", ModelSource.LOCAL, ""),
        model=model.requires_grad_(False),
        tokenizer=None,
        facts=facts,
        weights_digest="",
        tokenizer_digest="",
        device="cpu",
        dtype=dtype,
    )
    return Subject(loaded, find_sites(model), "packed", bos)
