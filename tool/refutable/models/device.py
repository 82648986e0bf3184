"""Where a model can be run on this machine."""

from __future__ import annotations

import torch

from refutable.errors import ModelError, one_line

_SHORT = 80


def usable_device(name: str) -> torch.device:
    """Return a torch device that holds tensors here.

    Raises
    ------
    ModelError
        If it does not: the message names the devices that do.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as problem:
        # The longer messages list what torch could have been built for, or whom to call.
        reason = one_line(problem)
        why = f" ({reason})" if len(reason) <= _SHORT else ""
        raise ModelError(
            f"device {name!r} cannot be used here{why}: choose {' or '.join(available())}"
        ) from None
    return device


def available() -> list[str]:
    """Return the kinds of device that torch can use here, the processor first."""
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices.append("cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices
