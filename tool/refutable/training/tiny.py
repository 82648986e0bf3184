"""The embedded pair: two tiny trained decoders that every run has without a network.

One is normalized by LayerNorm (GPT-2's class), one by RMSNorm (Llama's class). They differ in
more than the norm, so they are examples of two kinds of models and no contrast between norms.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch.nn.functional import cross_entropy

from refutable.errors import RefutableError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

TinyKind = Literal["layernorm", "rmsnorm"]
Tokens = list[int]

BOS = "<|bos|>"
CONTEXT = 256


@dataclass(frozen=True, slots=True)
class TinyRecipe:
    """How one of the pair is trained; the defaults are those of the shipped weights."""

    kind: TinyKind
    seed: int = 0
    steps: int = 400
    batch: int = 8
    """Sequences of `CONTEXT` tokens in a step."""
    rate: float = 4e-3
    """Peak learning rate: reached after a twentieth of the steps, then a cosine down to a tenth."""
    decay: float = 0.1
    """Weight decay of matrices; gains and biases have none."""
    blocks: int = 4
    heads: int = 4
    d_model: int = 64
    d_vocab: int = 768

    def __post_init__(self) -> None:
        if self.kind not in get_args(TinyKind):
            raise RefutableError(f"expected kind 'layernorm' or 'rmsnorm', got kind={self.kind!r}")
        if self.steps < 1:
            raise RefutableError(f"expected steps of 1 or more, got steps={self.steps}")


def python_topics() -> tuple[str, ...]:
    """Return the language reference that every CPython carries for ``help()``, one text a topic.

    Notes
    -----
    Python documentation, copyright Python Software Foundation, PSF licence 2.0. It is read from
    the running interpreter, so its words differ a little between versions of Python.
    """
    from pydoc_data.topics import topics

    return tuple(topics[name] for name in sorted(topics))


def train_tokenizer(texts: tuple[str, ...], d_vocab: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with one special token, the BOS.

    Parameters
    ----------
    texts : tuple of str
        What it is trained on.
    d_vocab : int
        Size of the vocabulary, all 256 bytes and the BOS included: any text can be encoded.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=d_vocab,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, model_max_length=CONTEXT
    )


def build(recipe: TinyRecipe) -> PreTrainedModel:
    """Build the untrained model of a recipe; the same seed gives the same weights."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    shared: dict[str, Any] = {"vocab_size": recipe.d_vocab, "bos_token_id": 0, "eos_token_id": None}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if recipe.kind == "layernorm":
            gpt2 = GPT2Config(
                n_positions=CONTEXT,
                n_embd=recipe.d_model,
                n_layer=recipe.blocks,
                n_head=recipe.heads,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                **shared,
            )
            return GPT2LMHeadModel(gpt2)
        llama = LlamaConfig(
            max_position_embeddings=CONTEXT,
            hidden_size=recipe.d_model,
            intermediate_size=(8 * recipe.d_model // 3 + 7) // 8 * 8,
            num_hidden_layers=recipe.blocks,
            num_attention_heads=recipe.heads,
            tie_word_embeddings=True,
            **shared,
        )
        return LlamaForCausalLM(llama)


def encode_corpus(tokenizer: PreTrainedTokenizerBase, texts: tuple[str, ...]) -> torch.Tensor:
    """Return one stream of token ids in which a BOS starts each text."""
    stream: Tokens = []
    for ids in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]:
        stream += [tokenizer.bos_token_id, *ids]
    return torch.tensor(stream)


def train(
    recipe: TinyRecipe,
    folder: Path,
    *,
    texts: tuple[str, ...] | None = None,
    advance: Callable[[int, str], None] = lambda done, note: None,
) -> float:
    """Train one of the pair and save it as a transformers checkpoint.

    Parameters
    ----------
    recipe : TinyRecipe
        What and how.
    folder : pathlib.Path
        Gets config, weights (float16 safetensors), tokenizer and ``training.json``.
    texts : tuple of str, optional
        The corpus; `python_topics` when left out.
    advance : callable
        Told the number of steps done and a note, as `refutable.system.progress.progress` gives it.

    Returns
    -------
    float
        Mean training loss of the last tenth of the steps, nats per token.

    Notes
    -----
    On one machine with one thread the same recipe and texts give the same weights bit by bit.
    """
    texts = python_topics() if texts is None else texts
    tokenizer = train_tokenizer(texts, recipe.d_vocab)
    corpus = encode_corpus(tokenizer, texts)
    if len(corpus) <= CONTEXT:
        raise RefutableError(f"the corpus has {len(corpus)} tokens, it needs over {CONTEXT}")
    model = build(recipe).train()
    losses = _fit(model, corpus, recipe, advance)
    tail = losses[-max(1, len(losses) // 10) :]
    loss = sum(tail) / len(tail)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # written for its owner alone
    _describe(folder, recipe, texts, len(corpus), loss)
    return loss


def _fit(
    model: PreTrainedModel,
    corpus: torch.Tensor,
    recipe: TinyRecipe,
    advance: Callable[[int, str], None],
) -> list[float]:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": recipe.decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe.steps))
    source = torch.Generator().manual_seed(recipe.seed)
    offsets = torch.arange(CONTEXT + 1)
    losses = []
    for step in range(recipe.steps):
        starts = torch.randint(len(corpus) - CONTEXT, (recipe.batch, 1), generator=source)
        batch = corpus[starts + offsets]
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        advance(step + 1, f"loss {losses[-1]:.2f}")
    return losses


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


def _describe(
    folder: Path, recipe: TinyRecipe, texts: tuple[str, ...], tokens: int, loss: float
) -> None:
    described = {
        "recipe": asdict(recipe),
        "text": {
            "says": "Python documentation topics as the interpreter carries them"
            if texts == python_topics()
            else "given by the caller",
            "license": "PSF-2.0" if texts == python_topics() else "unknown",
            "sha256": hashlib.sha256("\0".join(texts).encode()).hexdigest(),
            "tokens": tokens,
        },
        "loss_nats": round(loss, 4),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "license": "Apache-2.0",
    }
    (folder / "training.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
