"""Checkpoints of the Hugging Face hub, through the hub's own cache."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from refutable.errors import ModelError
from refutable.models.checkpoint import TOKENIZER_FILES, Checkpoint, read_checkpoint
from refutable.models.spec import ModelSpec

_FILES = (
    "config.json",
    *TOKENIZER_FILES,
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
)
_TIMEOUT = 2.0
_PATIENCE = 4.0

T = TypeVar("T")


def locate(spec: ModelSpec) -> Checkpoint:
    """Return a hub model's checkpoint, downloaded when it is not in the hub's cache.

    Notes
    -----
    HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE hold as everywhere. A cached model is used
    without asking the hub. Otherwise one request with a time-out of 2 s tells whether the hub
    can be reached, before torch is imported.

    Raises
    ------
    ModelError
        If it is neither cached nor reachable, unknown, gated, or without safetensors.
    """
    folder = cached(spec)
    if folder is not None:
        try:
            return read_checkpoint(folder, safe_only=True)
        except ModelError:
            # A download that stopped half-way: the hub's client goes on with it.
            if _offline():
                raise
    preflight(spec)
    return read_checkpoint(_download(spec), safe_only=True)


def _cached_revisions(spec: ModelSpec) -> str:
    """Say which revisions of a model lie in the hub's cache; empty when none does."""
    folder = _repository(spec)
    refs = sorted(p.name for p in (folder / "refs").glob("*") if p.is_file())
    commits = sorted(p.name[:12] for p in (folder / "snapshots").glob("*") if p.is_dir())
    return ", ".join([*refs, *commits])


def _repository(spec: ModelSpec) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=spec.location, repo_type="model")
    return Path(constants.HF_HUB_CACHE) / name


def cached(spec: ModelSpec) -> Path | None:
    """Return the snapshot folder in the hub's cache, if a config lies there."""
    from huggingface_hub import try_to_load_from_cache

    config = _ask(
        spec,
        lambda: try_to_load_from_cache(
            spec.location, "config.json", revision=_commit(spec) or spec.revision or None
        ),
    )
    return Path(config).parent if isinstance(config, str) else None


def _commit(spec: ModelSpec) -> str:
    """The commit that a branch or tag of the cache names; its file may end in a newline.

    Tools other than the hub's client write one, and its client then finds nothing.
    """
    name = spec.revision or "main"
    ref = _repository(spec) / "refs" / name
    if ".." in Path(name).parts or not ref.is_file():
        return ""
    commit = ref.read_text(encoding="utf-8").strip()
    return commit if (_repository(spec) / "snapshots" / commit).is_dir() else ""


def preflight(spec: ModelSpec) -> None:
    """Ask the hub once whether the model can be had.

    Raises
    ------
    ModelError
        Within 5 s if it cannot.
    """
    if _offline():
        name = spec.location + (f" at revision {spec.revision}" if spec.revision else "")
        others = _cached_revisions(spec)
        have = f" (of this model there are {others})" if others else ""
        raise ModelError(
            f"{name} is not in the hub's cache{have} and HF_HUB_OFFLINE is set: unset it, or fetch "
            "the model where there is a network and copy the cache"
        )
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(spec.location, "config.json", revision=spec.revision or None)
    _ask(
        spec,
        lambda: _within(
            _PATIENCE, lambda: get_hf_file_metadata(url, token=_token(), timeout=_TIMEOUT)
        ),
    )


def size(spec: ModelSpec) -> int:
    """Bytes that a download would take, as the hub states them; 0 when it does not."""
    import fnmatch

    from huggingface_hub import HfApi

    info = _ask(
        spec,
        lambda: HfApi().model_info(
            spec.location, revision=spec.revision or None, files_metadata=True, timeout=_TIMEOUT * 5
        ),
    )
    return sum(
        file.size or 0
        for file in info.siblings or ()
        if any(fnmatch.fnmatch(file.rfilename, pattern) for pattern in _FILES)
    )


def _download(spec: ModelSpec) -> Path:
    from huggingface_hub import snapshot_download

    folder = _ask(
        spec,
        lambda: snapshot_download(
            spec.location, revision=spec.revision or None, allow_patterns=list(_FILES)
        ),
        "the download stopped",
    )
    return Path(folder)


def _ask(
    spec: ModelSpec, request: Callable[[], T], failing: str = "the hub cannot be reached"
) -> T:
    """Do a request to the hub; every failure becomes one line, an unforeseen one says `failing`."""
    from huggingface_hub import errors

    name = spec.location + (f" at revision {spec.revision}" if spec.revision else "")
    try:
        return request()
    except errors.HFValidationError:
        raise ModelError(f"{name!r} is no hub id: expected org/name") from None
    except errors.GatedRepoError:
        raise ModelError(f"{name} is gated: request access on the hub, then set HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"the hub has no {name}: give a branch, tag or commit") from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"the hub has no model {name}, or it is private: check the id, or set HF_TOKEN"
        ) from None
    except errors.EntryNotFoundError:
        raise ModelError(
            f"{name} on the hub has no config.json: it is no transformers model"
        ) from None
    # Connections fail in ways that differ between platforms and client versions.
    except Exception as problem:
        refused = _refusal(name, problem)
        raise ModelError(
            refused
            or f"{name} is not in the hub's cache and {failing} ({type(problem).__name__}): check "
            "the network and the disk, or copy the model into the cache"
        ) from None


def _refusal(name: str, problem: Exception) -> str:
    """Say what a hub answered that was reached and refused; empty for anything else.

    Other answers may come from what stands between, such as a proxy.
    """
    status = getattr(getattr(problem, "response", None), "status_code", 0)
    if status == 429:
        return (
            f"{name} is not in the hub's cache and the hub asks to wait (429, too many requests): "
            "try again later, or set HF_TOKEN, which is allowed more"
        )
    if status in (401, 403):
        return f"the hub refuses {name} ({status}): set HF_TOKEN to one that may read it"
    return ""


def _within(seconds: float, request: Callable[[], T]) -> T:
    """Bound a request in time: looking a name up is not covered by the client's time-out."""
    result: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(request())
        except BaseException as problem:  # handed to the caller's thread below
            failure.append(problem)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not result:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return result[0]


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()
