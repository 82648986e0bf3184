"""Metadata of a GGUF file that changes the arithmetic: taken into the config, or refused.

transformers maps a few keys of each architecture to its config and passes over the others, rope
scaling and soft caps among them; the factors of Llama 3 lie in a tensor of their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refutable.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedConfig

# Keys that transformers does not read, by the field of a config that holds the same number.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "router_logit_softcapping": ("router_logit_softcapping",),
    "logit_scale": ("logit_scale", "logits_scaling"),
    "embedding_scale": ("embedding_multiplier",),
    "residual_scale": ("residual_multiplier",),
    "attention.scale": ("attention_multiplier",),
    "attention.sliding_window": ("sliding_window",),
    "attention.clamp_kqv": ("clip_qkv",),
    "attention.layer_norm_epsilon": ("layer_norm_epsilon", "layer_norm_eps", "norm_eps"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "rope.freq_base": ("rope_theta",),
    "expert_weights_scale": ("routed_scaling_factor",),
    "expert_weights_norm": ("norm_topk_prob",),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts"),
    "use_parallel_residual": ("use_parallel_residual",),
}
_ARITHMETIC = re.compile(
    r"rope|scale|softcap|clamp|alibi|causal|gating|window|epsilon|expert|parallel|pooling|norm"
    r"|key_length$|value_length$"
)
# What says nothing but "as usual" in most keys; of the others, what does.
_NEUTRAL = (0, 1, 0.0, 1.0, "none", True)
_USUAL: Mapping[str, tuple[bool | int | float, ...]] = {
    "attention.causal": (True,),
    "pooling_type": (0,),
    # Limits and switches: 1 is no neutral value of theirs.
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attn_logit_softcapping": (0,),
    "final_logit_softcapping": (0,),
    "use_parallel_residual": (False,),
}
_HEAD_SIZES = ("attention.key_length", "attention.value_length")
_ROPE = "rope.scaling."
_TOLERANCE = 1e-3


Field = str | int | float | bool | list[str] | list[int] | list[float]
"""What a key of the file may state."""


class GGUFKeys:
    """Reads a file's metadata and puts what transformers leaves out into a config.

    Parameters
    ----------
    path : pathlib.Path
        The .gguf file.
    """

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader

        self._reader = GGUFReader(path)
        fields = self._reader.fields
        self.architecture = str(fields["general.architecture"].contents())
        prefix = f"{self.architecture}."
        self._stated: dict[str, Field] = {
            name.removeprefix(prefix): field.contents()
            for name, field in fields.items()
            if name.startswith(prefix)
        }

    def apply(self, config: PreTrainedConfig) -> tuple[str, ...]:
        """Put what the file states into a config that transformers made of it.

        Parameters
        ----------
        config : transformers.PretrainedConfig
            Changed in place.

        Returns
        -------
        tuple of str
            The keys that changed something; empty for most files.

        Raises
        ------
        ModelError
            If the file states something that the model class cannot do.
        """
        text = config.get_text_config()
        changed = [*self._rope(text), *self._factors(text)]
        for name, value in sorted(self._stated.items()):
            if not name.startswith(_ROPE) and self._field(text, name, value):
                changed.append(name)
        return tuple(changed)

    def _field(self, config: PreTrainedConfig, name: str, value: Field) -> bool:
        """Honour one key; whether that changed the config."""
        if not _ARITHMETIC.search(name) or self._read_by_transformers(name):
            return False
        if name == "rope.dimension_count":
            return self._rotated(config, int(str(value)))
        if name in _HEAD_SIZES:
            return self._head_size(config, name, int(str(value)))
        field = next((f for f in _FIELDS.get(name, ()) if hasattr(config, f)), None)
        if field is None:
            usual = _USUAL.get(name, _NEUTRAL)
            if isinstance(value, bool | int | float | str) and value in usual:
                return False
            raise ModelError(
                f"the GGUF file states {self.architecture}.{name} = {value}, which "
                f"{type(config).__name__} has no field for: use the original checkpoint"
            )
        before = getattr(config, field)
        if isinstance(value, list) or before == value:
            return False
        if isinstance(value, float) and isinstance(before, int | float):
            if abs(value - before) <= 1e-6 * max(abs(value), 1e-12):
                return False
        setattr(config, field, value)
        return True

    def _read_by_transformers(self, name: str) -> bool:
        from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

        known: Mapping[str, Any] = GGUF_CONFIG_MAPPING
        kinds = (self.architecture, self.architecture.replace("-", "_"))
        return any(known.get(kind, {}).get(name) is not None for kind in kinds)

    def _head_size(self, config: PreTrainedConfig, name: str, size: int) -> bool:
        """Take over the size of a head, or check it where the class derives it or has two."""
        if hasattr(config, "v_head_dim"):
            # Compressed keys and values have sizes of their own, which their tensors hold.
            return False
        derived = int(config.hidden_size) // int(config.num_attention_heads)
        before = int(getattr(config, "head_dim", None) or derived)
        if size == before:
            return False
        if name != _HEAD_SIZES[0] or not hasattr(config, "head_dim"):
            raise ModelError(
                f"the GGUF file states {self.architecture}.{name} = {size}, where "
                f"{type(config).__name__} has heads of {before}: use the original checkpoint"
            )
        config.head_dim = size
        return True

    def _rotated(self, config: PreTrainedConfig, count: int) -> bool:
        """Check that as many features are rotated as the file states."""
        heads = int(config.num_attention_heads)
        size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        parameters = getattr(config, "rope_parameters", None) or {}
        partial = parameters.get("partial_rotary_factor") if isinstance(parameters, dict) else None
        partial = partial or getattr(config, "partial_rotary_factor", None) or 1.0
        rotated = getattr(config, "qk_rope_head_dim", None) or int(size * float(partial))
        if rotated != count:
            raise ModelError(
                f"the GGUF file rotates {count} features of a head, {type(config).__name__} "
                f"{rotated}: use the original checkpoint"
            )
        return False

    # -- rope scaling ------------------------------------------------------------------------

    def _rope(self, config: PreTrainedConfig) -> Iterator[str]:
        stated = {n.removeprefix(_ROPE): v for n, v in self._stated.items() if n.startswith(_ROPE)}
        # Scaling by a factor is linear where the file names no kind.
        kind = str(stated.pop("type", "linear"))
        linear = self._stated.get("rope.scale_linear")
        factor = float(str(stated.pop("factor", None) or linear or 1.0))
        if kind == "none" or (kind == "linear" and factor == 1.0):
            return
        base = self._base(config)
        if kind == "linear":
            config.rope_parameters = {"rope_type": "linear", "factor": factor, "rope_theta": base}
        elif kind == "yarn":
            config.rope_parameters = {
                "rope_type": "yarn",
                "factor": factor,
                "rope_theta": base,
                **self._yarn(stated, factor),
            }
        else:
            raise ModelError(
                f"the GGUF file scales its rotary positions by {kind!r}, which is not known here: "
                "use the original checkpoint"
            )
        yield f"{_ROPE}type"

    def _yarn(self, stated: dict[str, Field], factor: float) -> dict[str, Field]:
        """Return what YaRN needs besides its factor, under transformers' names."""
        names = {
            "original_context_length": "original_max_position_embeddings",
            "yarn_beta_fast": "beta_fast",
            "yarn_beta_slow": "beta_slow",
        }
        # The file's factor of attention multiplies YaRN's own; a config's takes its place.
        more = [float(str(stated.pop(n, 1.0))) for n in ("attn_factor", "yarn_attn_factor")]
        usual = {"finetuned": stated.get("finetuned"), "yarn_ext_factor": 1.0}
        unknown = sorted(n for n, v in stated.items() if n not in names and usual.get(n) != v)
        if unknown:
            raise ModelError(
                f"the GGUF file states {self.architecture}.{_ROPE}{unknown[0]}, which is not "
                "known here: use the original checkpoint"
            )
        known = {names[n]: v for n, v in stated.items() if n in names}
        if more != [1.0, 1.0]:
            attention = 1.0 + 0.1 * math.log(factor) if factor > 1 else 1.0
            known["attention_factor"] = attention * more[0] * more[1]
        return known

    def _base(self, config: PreTrainedConfig) -> float:
        parameters = getattr(config, "rope_parameters", None) or {}
        stated = self._stated.get("rope.freq_base") or parameters.get("rope_theta")
        return float(str(stated or getattr(config, "default_theta", None) or 10000.0))

    def _factors(self, config: PreTrainedConfig) -> Iterator[str]:
        factors = {tensor.name: tensor for tensor in self._reader.tensors}
        odd = sorted(n for n in factors if n.startswith("rope_factors"))
        if odd:
            raise ModelError(
                f"the GGUF file holds {odd[0]}, factors of a long context, which are not known "
                "here: use the original checkpoint"
            )
        if "rope_freqs.weight" not in factors:
            return
        wanted = np.asarray(factors["rope_freqs.weight"].data, dtype=np.float64).reshape(-1)
        if np.allclose(wanted, 1.0, rtol=_TOLERANCE):
            return
        base = self._base(config)
        plain = base ** -(np.arange(len(wanted)) / len(wanted))
        for parameters in _llama3_candidates(wanted, plain):
            if np.allclose(_llama3_factors(plain, parameters), wanted, rtol=_TOLERANCE):
                config.rope_parameters = {"rope_type": "llama3", "rope_theta": base, **parameters}
                yield "rope_freqs.weight"
                return
        raise ModelError(
            "the GGUF file holds factors of its rotary frequencies (rope_freqs.weight) that no "
            "scaling known here gives: use the original checkpoint"
        )


def _llama3_factors(
    plain: NDArray[np.float64], parameters: Mapping[str, float]
) -> NDArray[np.float64]:
    """Factors by which Llama 3.1's scaling divides frequencies."""
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    length, factor = parameters["original_max_position_embeddings"], parameters["factor"]
    turns = length * plain / (2 * np.pi)
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return 1.0 / ((1 - smooth) / factor + smooth)


def _llama3_candidates(
    wanted: NDArray[np.float64], plain: NDArray[np.float64]
) -> Iterator[dict[str, float]]:
    """Parameters that may have given these factors: the published ones, and a fit."""
    factor = float(wanted.max())
    if factor <= 1:
        return
    shared = {"factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    for length in (8192, 4096, 2048, 16384, 32768):
        yield {**shared, "original_max_position_embeddings": length}
    # Between the ends the share of the plain frequency grows linearly with the turns per context.
    share = (1 / wanted - 1 / factor) / (1 - 1 / factor)
    inside = (share > 1e-3) & (share < 1 - 1e-3)
    for at in np.flatnonzero(inside):
        length = round(float((3 * share[at] + 1) * 2 * np.pi / plain[at]))
        yield {**shared, "original_max_position_embeddings": length}
    if inside.sum() >= 2:
        slope, start = np.polyfit(plain[inside] / (2 * np.pi), share[inside], 1)
        if start < 0:
            high = 1.0 - 1.0 / float(start)
            length = round(float(slope) * (high - 1.0))
            yield {**shared, "high_freq_factor": high, "original_max_position_embeddings": length}
    for length in np.unique(np.geomspace(4, 1 << 20, 200).round()):
        yield {**shared, "original_max_position_embeddings": int(length)}
