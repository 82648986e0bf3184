"""Is the model in memory the one in the checkpoint? Checks that run before any verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch

from refutable.models.checkpoint import Checkpoint
from refutable.models.norms import LAYER_NORM, RMS_NORM, NormModule
from refutable.models.spec import ModelSpec
from refutable.models.structure import Structure, find_structure, text_config
from refutable.records import InstrumentCheck, ModelFacts

# Fresh matrices are normal with the config's standard deviation; trained ones are not.
_FRESH_SD = 0.03
_FRESH_KURTOSIS = 0.25


def fidelity_checks(
    model: Any,
    report: dict[str, Any],
    checkpoint: Checkpoint,
    spec: ModelSpec,
    facts: ModelFacts,
) -> tuple[InstrumentCheck, ...]:
    """Compare a loaded model with its checkpoint, its config and the registry.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        As loaded.
    report : dict
        What ``from_pretrained(output_loading_info=True)`` gave; keys that the model class
        declares ignorable, and tied tensors, are not in it.
    checkpoint, spec, facts
        What was asked for.

    Returns
    -------
    tuple of InstrumentCheck
        ``weights-used``, ``weights-complete``, ``norm-kind``, ``norm-gains``,
        ``weights-finite``.
    """
    structure = find_structure(model)
    return (
        _used(report),
        _complete(model, report, checkpoint),
        _norm_kind(model, structure, spec, facts),
        _norm_gains(model, structure),
        _finite(model),
    )


def _check(name: str, bad: Iterable[str], detail: str) -> InstrumentCheck:
    listed = sorted(bad)
    if not listed:
        return InstrumentCheck(name, True, 0.0, 0.0)
    more = f", and {len(listed) - 3} more" if len(listed) > 3 else ""
    shown = ", ".join(listed[:3]) + more
    return InstrumentCheck(name, False, float(len(listed)), 0.0, detail.format(shown))


def _used(report: dict[str, Any]) -> InstrumentCheck:
    return _check(
        "weights-used",
        report["unexpected_keys"],
        "the checkpoint holds tensors that its model class has no place for ({}): its config "
        "names another architecture than it was trained with; load it with that one",
    )


def _complete(model: Any, report: dict[str, Any], checkpoint: Checkpoint) -> InstrumentCheck:
    missing = set(report["missing_keys"])
    missing |= {str(key[0]) for key in report["mismatched_keys"]}
    missing |= _ignored(model, checkpoint)
    return _check(
        "weights-complete",
        missing,
        "these parameters are not in the checkpoint or have another shape there, and were "
        "filled with random numbers ({}): save all weights, or correct the config",
    )


def _ignored(model: Any, checkpoint: Checkpoint) -> set[str]:
    """Parameters that the class lets a checkpoint leave out, are not tied, and were left out."""
    patterns = sorted(getattr(model, "_keys_to_ignore_on_load_missing", None) or ())
    tied = set(getattr(model, "all_tied_weights_keys", {}) or {})
    names = [
        name
        for name, _ in model.named_parameters()
        if name not in tied and any(re.search(pattern, name) for pattern in patterns)
    ]
    if not names:
        return set()
    held = _tensor_names(checkpoint)
    return {n for n in names if not any(n == key or n.endswith("." + key) for key in held)}


def _tensor_names(checkpoint: Checkpoint) -> set[str]:
    names: set[str] = set()
    for path in checkpoint.weights:
        if checkpoint.safe:
            from safetensors import safe_open

            with safe_open(path, framework="pt") as tensors:
                names.update(tensors.keys())
        else:
            names.update(torch.load(path, map_location="meta", weights_only=True))
    return names


def _norm_kind(
    model: Any, structure: Structure, spec: ModelSpec, facts: ModelFacts
) -> InstrumentCheck:
    found = structure.norm_kind
    stated = {"the registry": spec.norm, "its config": _config_norm(model, structure)}
    stated["its modules without weights"] = facts.norm_kind
    wrong = [f"{who} states {kind}" for who, kind in stated.items() if kind and kind != found]
    return _check(
        "norm-kind",
        wrong,
        f"the modules are {found}, but {{}}: correct the entry or load the checkpoint with the "
        "architecture it was trained with",
    )


def _config_norm(model: Any, structure: Structure) -> str:
    """Kind that a config implies by the name of its epsilon; empty when it implies none."""
    if structure.norm_kind == "none":
        return ""
    config = text_config(model)
    stated = getattr(config, "norm_kind", None)
    if stated is not None:
        return {"layernorm": LAYER_NORM, "rmsnorm": RMS_NORM}.get(str(stated).lower(), "")
    rms = hasattr(config, "rms_norm_eps")
    layer = any(
        hasattr(config, name)
        for name in ("layer_norm_epsilon", "layer_norm_eps", "layernorm_epsilon")
    )
    return "" if rms == layer else RMS_NORM if rms else LAYER_NORM


def _norm_gains(model: Any, structure: Structure) -> InstrumentCheck:
    slots: dict[str, list[NormModule]] = {}
    for norm in structure.norms:
        if norm.unit_gain is not None and norm.stream:
            slots.setdefault(norm.slot, []).append(norm)
    plain = [slot for slot, norms in slots.items() if all(map(_is_plain, norms))]
    if plain and looks_untrained(model, structure):
        return InstrumentCheck(
            "norm-gains", True, float(len(plain)), 0.0, "the weights are a fresh initialisation"
        )
    return _check(
        "norm-gains",
        plain,
        "in every block the gains of these norms are exactly 1 and the biases 0 ({}), which "
        "training does not leave: the checkpoint was probably trained without them and saved "
        "identities under their names; load it with the architecture it was trained with",
    )


def _is_plain(norm: NormModule) -> bool:
    return all(
        bool(value.eq(0.0 if "bias" in name else norm.unit_gain or 0.0).all())
        for name, value in norm.module.named_parameters()
    )


def looks_untrained(model: Any, structure: Structure) -> bool:
    """Whether every matrix of the blocks is still normal with its initial standard deviation.

    Notes
    -----
    The standard deviation is compared with the config's ``initializer_range``, also divided by
    ``sqrt(2 blocks)`` as GPT-2 does for matrices that write into the residual stream.
    """
    sd = getattr(text_config(model), "initializer_range", None)
    if not sd:
        return False
    scales = (float(sd), float(sd) / (2 * len(structure.blocks)) ** 0.5)
    matrices = [p for block in structure.blocks for p in block.parameters() if p.dim() == 2]
    return bool(matrices) and all(_fresh(matrix.float(), scales) for matrix in matrices)


def _fresh(matrix: torch.Tensor, scales: tuple[float, ...]) -> bool:
    spread = matrix.std().item()
    # Four standard errors of a standard deviation and of a kurtosis, for small matrices.
    slack = max(_FRESH_SD, 4 / (2 * matrix.numel()) ** 0.5)
    if not any(abs(spread / scale - 1) <= slack for scale in scales):
        return False
    kurtosis = ((matrix - matrix.mean()) / spread).pow(4).mean().item() - 3
    return bool(abs(kurtosis) <= max(_FRESH_KURTOSIS, 4 * (24 / matrix.numel()) ** 0.5))


def _finite(model: Any) -> InstrumentCheck:
    bad = [
        name for name, value in model.named_parameters() if not bool(torch.isfinite(value).all())
    ]
    return _check(
        "weights-finite",
        bad,
        "these parameters hold NaN or infinite values ({}): download or save the checkpoint "
        "again, or load it as float32",
    )
