"""What a planted model says: next-token distributions from given logits, as a release."""

from __future__ import annotations

import numpy as np

from refutable.evidence.release import Behaviour, Release

RANKS = 32
PROMPTS, EACH = 60, 4
"""Prompts of five tokens in families of four, unless said otherwise."""
LENGTH = 5


def logits(seed, *, tokens=PROMPTS * LENGTH, vocab=200):
    return 2.0 * np.random.default_rng(seed).normal(size=(tokens, vocab))


def behaviour(values, *, ranks=RANKS, lengths=None, prompts=None, families=None, size=None):
    """Return what a model with these logits (token, vocab) says."""
    tokens, vocab = values.shape
    lengths = np.array(lengths if lengths is not None else [LENGTH] * (tokens // LENGTH))
    if lengths.sum() != tokens:
        lengths = np.array([tokens])
    names = prompts or tuple(f"f{i // EACH}/{i % EACH}" for i in range(len(lengths)))
    groups = families or tuple(name.split("/")[0] for name in names)
    if size is not None:
        groups = tuple(f"f{i % size}" for i in range(len(lengths)))
    logs = values - np.log(np.exp(values).sum(-1, keepdims=True))
    order = np.argsort(-logs, axis=1)[:, :ranks]
    kept = np.take_along_axis(logs, order, 1)
    said_tokens = np.arange(tokens) % vocab
    loss = -logs[np.arange(tokens), np.roll(said_tokens, -1)]
    loss[np.cumsum(lengths) - 1] = np.nan
    ends = np.concatenate([3 * np.arange(1, n + 1) for n in lengths])
    rest = np.clip(1 - np.exp(kept).sum(1), 0.0, 1.0) if ranks < vocab else np.zeros(tokens)
    return Behaviour(names, groups, lengths, said_tokens, ends, loss, order, kept, rest)


def facts(**changes):
    plain = {
        "class": "LlamaForCausalLM", "norm": "RMSNorm", "config": {"hidden_size": 8},
        "unknown": [], "generation": {}, "tokenizer": {}, "tensors": [],
        "stored": {"files": ["model.safetensors"], "names": [], "dtypes": {"F32": 1}},
        "dtype": "float32", "device": "cpu",
    }  # fmt: skip
    return {**plain, **changes}


def release(values, *, families=None, **changes):
    """Return a release of one arm that says what these logits say."""
    made = behaviour(values, size=families)
    return Release("m", "set", "hash", facts(**changes), {}, {"no-bos": made})
