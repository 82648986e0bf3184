"""What a config.json states against what the model uses; fields that nobody reads are named."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from transformers.configuration_utils import ALLOWED_LAYER_TYPES

from refutable.models.legacy import base_of, stated_bases
from refutable.models.structure import Structure, text_config
from refutable.records import InstrumentCheck

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from refutable.system.typing import Json

# Fields that change the arithmetic, by what their names say.
_ARITHMETIC = re.compile(
    r"(?i)rope|rotary|yarn|ntk|theta|alibi|softcap|soft_cap|multiplier|sliding_window"
    r"|attention_chunk|parallel_residual|parallel_attn|qk_norm|clip_qkv|freq_base|wavelength|position_scal|position_interpol"
    r"|(logit|attn|attention|embedding|residual|softmax|query|key|depth)s?_(scal|temperature)"
    r"|(^|_)(mup|scale|scaling)(_|$)"
)
# A factor of 1 changes nothing, whoever reads it.
_FACTOR = re.compile(r"(?i)scal|multiplier|factor|temperature")
_BASE = re.compile(r"(?i)theta|base")
_WITHIN = re.compile(r"(?i)rope|rotary")
_OTHERS = re.compile(r"(?i)vision|audio|image|video|speech|encoder|talker|quantization|generation")
_SHARED = (
    "transformers.configuration_utils",
    "transformers.modeling_rope_utils",
    "transformers.masking_utils",
)
_ROPE_KEYS = {"type", "rope_type", "rope_theta", "finetuned", "truncate", "partial_rotary_factor"}


def stated_checks(
    model: PreTrainedModel, structure: Structure, stated: Mapping[str, Json]
) -> tuple[InstrumentCheck, ...]:
    """Compare what a config.json states with what the loaded class makes of it.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        As loaded.
    structure : Structure
        Its parts.
    stated : mapping
        The config.json as it stands.

    Returns
    -------
    tuple of InstrumentCheck
        ``config-read`` and ``rotary-base``.
    """
    raw = _text_part(stated)
    return _fields_read(model, raw), _rotary(model, structure, raw)


def _text_part(stated: Mapping[str, Json]) -> dict[str, Json]:
    """Fields of the text decoder, its own part of a composite config before the whole."""
    whole = {n: v for n, v in stated.items() if not (isinstance(v, dict) and _OTHERS.search(n))}
    for name in ("text_config", "language_config", "llm_config", "decoder"):
        inner = stated.get(name)
        if isinstance(inner, dict):
            whole.pop(name, None)
            return {**whole, **inner}
    return whole


def _fields_read(model: PreTrainedModel, raw: Mapping[str, Json]) -> InstrumentCheck:
    config = text_config(model)
    classes: tuple[type, ...] = (type(model), type(config), type(model.config))
    sources = _sources(classes)
    unread = sorted(
        name
        for name, value in raw.items()
        if value not in (None, False)
        and not (value == 1 and value is not True and _FACTOR.search(name))
        and _ARITHMETIC.search(name)
        and not hasattr(type(config), name)
        and name not in getattr(config, "attribute_map", {})
        and not re.search(rf"\b{re.escape(name)}\b", sources)
    )
    unread += sorted(_unknown_rope_keys(raw, sources, _rope_kinds(model)))
    if told := _empty_window(config):
        return InstrumentCheck("config-read", False, 1.0, 0.0, told)
    if not unread:
        return InstrumentCheck("config-read", True, 0.0, 0.0, _own_code(model, raw))
    told = ", ".join(f"{name} ({_value(raw, name)})" for name in unread[:3])
    return InstrumentCheck(
        "config-read",
        False,
        float(len(unread)),
        0.0,
        f"config.json states {told}, which {type(model).__name__} does not read: give it under "
        "the name that the class reads, or take it out",
    )


def _empty_window(config: PreTrainedConfig) -> str:
    """Name a window that lets no token see even itself; empty where there is none."""
    kinds = getattr(config, "layer_types", None) or ("sliding",)
    for name, value in vars(config).items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if name.endswith("sliding_window") and whole and value < 1:
            if any("sliding" in str(kind) for kind in kinds):
                return (
                    f"config.json states {name} = {value}, in which no token sees itself: give the "
                    "number of tokens, or null for all of them"
                )
    return ""


def _own_code(model: PreTrainedModel, raw: Mapping[str, Json]) -> str:
    """Say that a config brings code along which is not run; empty where it brings none."""
    code = raw.get("auto_map")
    known = code.get("AutoModelForCausalLM") if isinstance(code, Mapping) else None
    if not known or not type(model).__module__.startswith("transformers."):
        return ""
    return (
        f"config.json names code of its own ({known}), which is not run: what is measured is "
        f"transformers' {type(model).__name__}"
    )


def _value(raw: Mapping[str, Json], name: str) -> Json:
    value: Json = raw
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _rope_kinds(model: PreTrainedModel) -> set[str]:
    """Names under which the model may find rope parameters of its own for some blocks.

    The kinds of its blocks, and those that it keeps frequencies of. A class that keeps them by kind
    may be told of kinds that no block of this model is of.
    """
    kinds = {str(kind) for kind in getattr(text_config(model), "layer_types", None) or ()}
    of_buffers = {
        name.rsplit(".", 1)[-1].removesuffix("_inv_freq")
        for name, _ in model.named_buffers()
        if name.endswith("_inv_freq") and not name.endswith("original_inv_freq")
    }
    return kinds | of_buffers | (set(ALLOWED_LAYER_TYPES) if of_buffers else set())


def _unknown_rope_keys(
    raw: Mapping[str, Json], sources: str, layer_types: set[str]
) -> Iterator[str]:
    for field in ("rope_parameters", "rope_scaling"):
        inner = raw.get(field)
        if not isinstance(inner, dict):
            continue
        for name, value in inner.items():
            if isinstance(value, dict):
                if name not in layer_types:
                    yield f"{field}.{name}"
            elif name not in _ROPE_KEYS and not re.search(rf"[\"']{re.escape(name)}[\"']", sources):
                yield f"{field}.{name}"


@functools.cache
def _sources(classes: tuple[type, ...]) -> str:
    """Source text of the files that may read a config's fields."""
    homes = {base.__module__ for cls in classes for base in cls.__mro__}
    texts = []
    for name in sorted({*homes, *_SHARED} - {"builtins", "transformers.modeling_utils"}):
        module = sys.modules.get(name)
        if module is None or not (name.startswith("transformers") or "torch" not in name):
            continue
        try:
            texts.append(inspect.getsource(module))
        except (OSError, TypeError):
            continue
    return "\n".join(texts)


# -- rotary positions --------------------------------------------------------------------------


def _rotary(
    model: PreTrainedModel, structure: Structure, raw: Mapping[str, Json]
) -> InstrumentCheck:
    name = "rotary-base"
    if structure.positions != "rotary":
        return InstrumentCheck(name, True, None, None, f"positions are {structure.positions}")
    config = text_config(model)
    if told := _two_scalings(raw):
        return _failed(name, told)
    used = _honoured(getattr(config, "rope_parameters", None), _rope_kinds(model))
    effective = {float(f"{base:.6g}") for base in _effective_bases(model)}
    bases = {*stated_bases(used), *effective}
    wanted = dict(_bases(raw))
    lost = {field: base for field, base in wanted.items() if not _among(base, bases)}
    if wanted and len(lost) == len(wanted) and bases:
        field, base = next(iter(lost.items()))
        return _failed(
            name,
            f"config.json states a rotary base of {base:g} ({field}), the model uses "
            f"{', '.join(f'{b:g}' for b in sorted(bases))}",
        )
    scales = dict(_scales(raw))
    known = list(_numbers(used))
    gone = {field: value for field, value in scales.items() if not _among(value, known)}
    if gone and used:
        field, value = next(iter(gone.items()))
        return _failed(
            name, f"config.json states {field} = {value:g}, which the model does not use"
        )
    if told := _frequencies_off(model, config, used) or _share_off(model, config, raw):
        return _failed(name, told)
    left = f"; {', '.join(lost)} is stated besides and not used" if lost else ""
    shown = ", ".join(f"{b:g}" for b in sorted(bases)) or "the class's own"
    return InstrumentCheck(name, True, 0.0, 0.0, f"rotary base {shown}{left}")


def _honoured(parameters: Json, layer_types: set[str]) -> dict[str, Json]:
    """Rope parameters that the class can read: nested ones only under its own layer types."""
    if not isinstance(parameters, dict):
        return {}
    return {
        name: value
        for name, value in parameters.items()
        if not isinstance(value, dict) or name in layer_types
    }


def _two_scalings(raw: Mapping[str, Json]) -> str:
    """Name two ways of scaling that a config states in its older and its newer form."""
    stated = [raw.get(field) for field in ("rope_parameters", "rope_scaling")]
    # Nested by layer type they are read by classes of their own.
    given = [
        {"rope_type": one.get("type", "default"), **one}
        for one in stated
        if isinstance(one, dict) and not any(isinstance(v, dict) for v in one.values())
    ]
    if len(given) < 2:
        return ""
    shared = {"rope_type", "factor"} | (set(given[0]) & set(given[1]))
    odd = ", ".join(sorted(n for n in shared if given[0].get(n) != given[1].get(n)))
    told = f"config.json states rope_parameters and rope_scaling, which differ in {odd}"
    return f"{told}: one of them is not used" if odd else ""


def _failed(name: str, told: str) -> InstrumentCheck:
    return InstrumentCheck(
        name, False, 1.0, 0.0, f"{told}: state it in the form that the class reads"
    )


def _among(value: float, known: Iterable[float]) -> bool:
    return any(abs(value - other) <= 1e-6 * abs(value) for other in known)


def _bases(
    raw: Mapping[str, Json], path: str = "", inside: bool = False
) -> Iterator[tuple[str, float]]:
    """Numbers that a config states as rotary bases, whatever the field is called."""
    for name, value in raw.items():
        where = f"{path}{name}"
        if isinstance(value, dict):
            if inside or _WITHIN.search(name):
                yield from _bases(value, f"{where}.", inside=True)
        elif isinstance(value, int | float) and not isinstance(value, bool) and value > 1:
            if _BASE.search(name) and (inside or _WITHIN.search(name)):
                yield where, float(value)


def _scales(raw: Mapping[str, Json]) -> Iterator[tuple[str, float]]:
    for field in ("rope_parameters", "rope_scaling"):
        for name, value in _flat(raw.get(field), f"{field}."):
            if name.endswith("factor") and isinstance(value, int | float) and value != 1:
                yield name, float(value)


def _flat(value: Json, path: str) -> Iterator[tuple[str, Json]]:
    for name, item in value.items() if isinstance(value, dict) else ():
        if isinstance(item, dict):
            yield from _flat(item, f"{path}{name}.")
        elif not isinstance(item, bool):
            yield f"{path}{name}", item


def _numbers(value: Json) -> Iterator[float]:
    for _, item in _flat(value, ""):
        if isinstance(item, int | float):
            yield float(item)


def _effective_bases(model: PreTrainedModel) -> Iterator[float]:
    for name, buffer in model.named_buffers():
        if "inv_freq" in name.rsplit(".", 1)[-1] and buffer.dim() == 1 and not buffer.is_meta:
            base = base_of(buffer.detach().float().cpu())
            if base < float("inf"):
                yield base


def _frequencies_off(
    model: PreTrainedModel, config: PreTrainedConfig, used: Mapping[str, Json]
) -> str:
    """Compare frequencies in memory with those of an unscaled base, where one is all there is."""
    if used.get("rope_type") != "default":
        return ""
    stated = used.get("rope_theta")
    base = float(stated) if isinstance(stated, int | float) else 0.0
    buffers = {
        name: buffer.detach().float().cpu()
        for name, buffer in model.named_buffers()
        if name.endswith("inv_freq") and buffer.dim() == 1 and not buffer.is_meta
    }
    for name, in_use in buffers.items():
        size = 2 * len(in_use)
        wanted = 1.0 / (base or 1e4) ** (torch.arange(0, size, 2).float() / size)
        if base and not torch.allclose(in_use, wanted, rtol=1e-3, atol=1e-7):
            return f"the rotary frequencies in memory ({name}) are not those of base {base:g}"
    return ""


def _share_off(model: PreTrainedModel, config: PreTrainedConfig, raw: Mapping[str, Json]) -> str:
    """Compare how many features of a head are rotated with a share that the config states."""
    holders = (raw, raw.get("rope_parameters"), raw.get("rope_scaling"))
    shares = {
        field: float(value)
        for holder in holders
        if isinstance(holder, Mapping)
        for field in ("partial_rotary_factor", "rotary_pct", "rope_pct", "rotary_percentage")
        if isinstance(value := holder.get(field), int | float)
    }
    size = getattr(config, "head_dim", None)
    size = size or config.hidden_size // (getattr(config, "num_attention_heads", 0) or 1)
    rotated = {
        2 * int(buffer.count_nonzero())
        for name, buffer in model.named_buffers()
        if name.endswith("inv_freq") and buffer.dim() == 1 and not buffer.is_meta
    }
    for field, share in shares.items():
        if 0 < share < 1 and rotated == {int(size)}:
            return f"config.json states {field} = {share:g}, and the model rotates whole heads"
    return ""
