"""Is the model in memory the one in the checkpoint? Checks that run before any verdict."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import nn

from refutable.models.checkpoint import Checkpoint, read_json
from refutable.models.contents import content_checks
from refutable.models.folded_gains import gains_lie_behind
from refutable.models.held import HeldTensors
from refutable.models.legacy import is_buffer, judge
from refutable.models.norms import NormModule
from refutable.models.scan import scan
from refutable.models.spec import ModelSpec
from refutable.models.stated import stated_checks
from refutable.models.structure import Structure, find_structure
from refutable.records import InstrumentCheck, ModelFacts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Fresh matrices have the standard deviation and the tails of their class's rule.
_FRESH_SD = 0.03
_FRESH_KURTOSIS = 0.25
_ERRORS = 6
_FEW = 64
_IS_FRESH = "the weights are a fresh initialisation"
_IS_FOLDED = "all gains are 1, and the matrices behind the norms bear them"


class LoadingReport(TypedDict):
    """What ``from_pretrained(output_loading_info=True)`` tells of a checkpoint's keys."""

    missing_keys: Collection[str]
    unexpected_keys: Collection[str]
    mismatched_keys: Collection[tuple[str, ...]]


def fidelity_checks(
    model: PreTrainedModel,
    report: LoadingReport,
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
        ``weights-used``, ``weights-complete``, ``norm-kind``, ``norm-gains``, and those of
        `content_checks` and `stated_checks`.
    """
    structure = find_structure(model)
    stated = read_json(checkpoint.folder / "config.json")
    seen = scan(model, structure, checkpoint)
    with HeldTensors(checkpoint) as held:
        gains = _norm_gains(model, structure)
        fresh = gains.detail == _IS_FRESH
        quantized = bool(stated.get("quantization_config"))
        return (
            _used(model, report, held),
            _complete(model, report, checkpoint),
            _norm_kind(structure, spec, facts),
            gains,
            *content_checks(model, seen, held, fresh=fresh, quantized=quantized),
            *stated_checks(model, structure, stated),
        )


def _check(name: str, bad: Iterable[str], detail: str) -> InstrumentCheck:
    listed = sorted(bad)
    if not listed:
        return InstrumentCheck(name, True, 0.0, 0.0)
    more = f", and {len(listed) - 3} more" if len(listed) > 3 else ""
    shown = ", ".join(listed[:3]) + more
    return InstrumentCheck(name, False, float(len(listed)), 0.0, detail.format(shown))


def _used(model: PreTrainedModel, report: LoadingReport, held: HeldTensors) -> InstrumentCheck:
    unexpected = [key for key in report["unexpected_keys"] if key in held]
    # Some classes let buffers pass in silence; frequencies that contradict the config must not.
    silent = [n for n, shape in held.shapes.items() if is_buffer(n, shape) and n not in unexpected]
    aside, wrong = judge(model, held, [*unexpected, *silent])
    if wrong:
        name, told = next(iter(sorted(wrong.items())))
        return InstrumentCheck(
            "weights-used",
            False,
            float(len(wrong)),
            0.0,
            f"the checkpoint holds a buffer that its config contradicts ({name}: {told}): correct "
            "the config, or remove the buffer",
        )
    left = [key for key in report["unexpected_keys"] if key not in aside]
    check = _check(
        "weights-used",
        left,
        "the checkpoint holds tensors that its model class has no place for ({}): its config "
        "names another architecture than it was trained with; load it with that one",
    )
    if check.passed and aside:
        kinds = ", ".join(sorted(set(aside.values())))
        told = f"{len(aside)} old buffers hold what the class computes and are left aside ({kinds})"
        return replace(check, detail=told)
    return check


def _complete(
    model: PreTrainedModel, report: LoadingReport, checkpoint: Checkpoint
) -> InstrumentCheck:
    missing = set(report["missing_keys"])
    missing |= {str(key[0]) for key in report["mismatched_keys"]}
    missing |= _ignored(model, checkpoint)
    return _check(
        "weights-complete",
        missing,
        "these parameters are not in the checkpoint or have another shape there, and were "
        "filled with random numbers ({}): save all weights, or correct the config",
    )


def _ignored(model: PreTrainedModel, checkpoint: Checkpoint) -> set[str]:
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


def _norm_kind(structure: Structure, spec: ModelSpec, facts: ModelFacts) -> InstrumentCheck:
    # What a config calls its epsilon tells nothing: RMSNorm models have a layer_norm_epsilon.
    built = structure.norm_kind
    stated = {"the registry": spec.norm}
    stated["its modules without weights"] = facts.norm_kind
    wrong = [f"{who} states {kind}" for who, kind in stated.items() if kind and kind != built]
    return _check(
        "norm-kind",
        wrong,
        f"the modules are {built}, but {{}}: correct the entry or load the checkpoint with the "
        "architecture it was trained with",
    )


def _norm_gains(model: PreTrainedModel, structure: Structure) -> InstrumentCheck:
    slots: dict[str, list[NormModule]] = {}
    for norm in structure.norms:
        if norm.unit_gain is not None and norm.stream:
            slots.setdefault(norm.slot, []).append(norm)
    plain = [slot for slot, norms in slots.items() if all(map(_is_plain, norms))]
    if plain and looks_untrained(model, structure):
        return InstrumentCheck("norm-gains", True, float(len(plain)), 0.0, _IS_FRESH)
    if plain and gains_lie_behind(model, len(plain)):
        return InstrumentCheck("norm-gains", True, float(len(plain)), 0.0, _IS_FOLDED)
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


def looks_untrained(model: PreTrainedModel, structure: Structure) -> bool:
    """Whether the blocks still hold what their class draws for them.

    Notes
    -----
    A copy of the first and of the last block is drawn anew by the class's own rule; parameters that
    this sets must have its mean and standard deviation, to within six standard errors. So classes
    with rules of their own (hybrids, mixtures, gates) are judged by these.
    """
    own_rule = getattr(model, "_init_weights", None)
    if own_rule is None:
        return False
    return all(
        _drawn_alike(own_rule, block) for block in {*structure.blocks[:1], *structure.blocks[-1:]}
    )


@torch.no_grad()
def _drawn_alike(rule: Callable[[nn.Module], None], block: nn.Module) -> bool:
    copy = deepcopy(block).float()
    for parameter in copy.parameters():
        parameter.fill_(float("nan"))
        parameter._is_hf_initialized = False  # type: ignore[attr-defined]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _initialise(rule, copy)
    matrices = 0
    for (_, fresh), (_, loaded) in zip(
        copy.named_parameters(), block.named_parameters(), strict=True
    ):
        if bool(torch.isnan(fresh).any()) or loaded.dim() < 2 or loaded.numel() < _FEW:
            continue
        matrices += 1
        if not _alike(fresh, loaded.detach().float()):
            return False
    return matrices > 0


def _initialise(rule: Callable[[nn.Module], None], module: nn.Module) -> None:
    # Children first, as transformers does: a module's own rule overrides its parts'.
    for child in module.children():
        _initialise(rule, child)
    rule(module)


def _alike(fresh: torch.Tensor, loaded: torch.Tensor) -> bool:
    spread, wanted = loaded.std().item(), fresh.std().item()
    if wanted == 0 or spread == 0:
        return bool(torch.equal(fresh, loaded))
    # Standard errors of a standard deviation and a kurtosis, for small matrices.
    slack = max(_FRESH_SD, _ERRORS / (2 * loaded.numel()) ** 0.5)
    if abs(spread / wanted - 1) > slack:
        return False
    tails: float = max(_FRESH_KURTOSIS, _ERRORS * (24 / loaded.numel()) ** 0.5)
    return abs(_kurtosis(loaded) - _kurtosis(fresh)) <= tails


def _kurtosis(values: torch.Tensor) -> float:
    return float(((values - values.mean()) / values.std()).pow(4).mean())
