"""Where a model's parts lie: on one device, or spread over several by accelerate.

A spread model runs as ever: accelerate moves what a part gets to where the part lies, and fetches
parts that lie in main memory or on disk while they run. What is read of a pass is brought to the
device that the inputs go to.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from refutable.errors import ModelError, one_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

DeviceMap: TypeAlias = str | Mapping[str, str | int]
"""Empty for one device, ``auto``, or accelerate's map of modules to devices."""
_SLOW = ("cpu", "disk")


def input_device(model: torch.nn.Module) -> torch.device:
    """Return the device that a model's inputs go to, and what is read of a pass."""
    placed: Mapping[str, str | int] | None = getattr(model, "hf_device_map", None)
    if not placed:
        return next(model.parameters()).device
    import torch

    fast = [device for device in placed.values() if str(device) not in _SLOW]
    return torch.device(fast[0] if fast else "cpu")


def spread(
    model: PreTrainedModel, device: torch.device, device_map: DeviceMap, memory: int = 0
) -> PreTrainedModel:
    """Spread a model over devices.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Whole in main memory.
    device : torch.device
        Its kind says what may be used: ``cpu`` main memory and the disk, ``cuda`` all GPUs, and
        main memory and the disk where they do not suffice.
    device_map : str or mapping
        ``auto``, or modules and where they go.
    memory : int
        Bytes of main memory that may be used; 0 for all that is free.

    Raises
    ------
    ModelError
        If it cannot be spread so.
    """
    from accelerate import dispatch_model  # type: ignore[import-untyped]

    folder = tempfile.mkdtemp(prefix="refutable-offload-")
    try:
        chosen = _chosen(model, device, memory) if isinstance(device_map, str) else dict(device_map)
        placed: PreTrainedModel = dispatch_model(model, chosen, offload_dir=folder)
    except (ValueError, RuntimeError, KeyError, OSError) as problem:
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelError(
            f"the model cannot be spread over devices ({one_line(problem)}): leave "
            "--claim-device-map out, or give more room with --claim-memory"
        ) from None
    # A model on one device alone is not marked by accelerate.
    vars(placed)["hf_device_map"] = chosen
    weakref.finalize(placed, shutil.rmtree, folder, ignore_errors=True)
    return placed


def _chosen(model: PreTrainedModel, device: torch.device, memory: int) -> dict[str, str | int]:
    from accelerate import infer_auto_device_map
    from accelerate.utils import (  # type: ignore[import-untyped]
        get_balanced_memory,
        get_max_memory,
    )

    whole = list(model._no_split_modules or ())
    room = get_max_memory()
    if memory:
        room["cpu"] = memory
    if device.type == "cpu":
        room = {"cpu": room["cpu"]}
    else:
        room = get_balanced_memory(model, max_memory=room, no_split_module_classes=whole)
    chosen: dict[str, str | int] = infer_auto_device_map(
        model, max_memory=room, no_split_module_classes=whole
    )
    return chosen
