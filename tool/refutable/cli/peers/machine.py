"""What a machine is, what it multiplies in a second, and how much memory a call takes."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import torch
from torch import nn

_PACKAGES = ("refutable", "torch", "transformers", "transformer-lens", "nnsight", "numpy")
_STATUS = Path("/proc/self/status")
_SQUARE = 2048


def versions() -> dict[str, str]:
    """Versions of all that has a part in a race."""
    installed = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def machine() -> str:
    """Name the processor and count the cores that may be used."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {platform.system()}"


def commit() -> str:
    """Return the commit of the checkout that this package lies in; empty outside of one."""
    with suppress(OSError, subprocess.SubprocessError):
        words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        said = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603
        return said.stdout.strip()
    return ""


def peak(tries: int = 5) -> float:
    """GFLOP of large square matrices in a second of processor time; the best of some tries."""
    left, right = torch.randn(_SQUARE, _SQUARE), torch.randn(_SQUARE, _SQUARE)
    best = 0.0
    for _ in range(tries):
        started = time.process_time()
        torch.mm(left, right)
        best = max(best, 2 * _SQUARE**3 / (time.process_time() - started) / 1e9)
    return best


def multiplications(model: nn.Module, tokens: int, rows: int) -> tuple[float, Callable[[], None]]:
    """Return the operations of a forward's matrix multiplications, and what makes them alone.

    Parameters
    ----------
    model : torch.nn.Module
        Its linear layers are run one after another.
    tokens : int
        Rows of all but the last of them.
    rows : int
        Rows of the last, the unembedding.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    counts = [tokens] * (len(layers) - 1) + [rows]
    inputs = {
        (count, layer.in_features): torch.randn(count, layer.in_features).to(layer.weight)
        for count, layer in zip(counts, layers, strict=True)
    }

    @torch.no_grad()
    def run() -> None:
        for count, layer in zip(counts, layers, strict=True):
            layer(inputs[count, layer.in_features])

    sizes = [2 * n * layer.weight.numel() for n, layer in zip(counts, layers, strict=True)]
    return float(sum(sizes)), run


def memory_of(run: Callable[[], object], device: str) -> float | None:
    """Bytes that a call takes at most above what the process held before; ``None`` if unknown."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return float(torch.cuda.max_memory_allocated() - before)
    try:
        # What was freed before goes back to the system first, or it would hide what is taken.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    held = _held("VmRSS")
    run()
    return _held("VmHWM") - held


def _held(name: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024.0 * float(line.split()[1])
    return float("nan")
