"""GGUF files: converted once to safetensors and kept in the cache."""

from __future__ import annotations

import json
import shutil
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refutable.errors import ModelError, one_line
from refutable.models.build import quiet
from refutable.models.checkpoint import Checkpoint, read_checkpoint, read_json, refuse_pointers
from refutable.models.digests import file_sha256
from refutable.models.sources.gguf_keys import GGUFKeys
from refutable.models.spec import ModelSpec
from refutable.system import files
from refutable.system.paths import cache_dir

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from refutable.models.fidelity import LoadingReport
    from refutable.system.typing import Json

# Raised when the conversion would give other weights.
_CONVERSION = 1
# Raised when a file's metadata is honoured in another way: files of which none had to be stay.
_RULES = 2
_MARK = "refutable-conversion.json"


def locate(spec: ModelSpec) -> Checkpoint:
    """Return the converted checkpoint of a .gguf file; the first call converts it.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or of an architecture that transformers cannot read.
    """
    path = Path(spec.location)
    if not path.is_file():
        raise ModelError(f"no file {path}: give the path of an existing .gguf file")
    refuse_pointers([path])
    return convert(spec, path, file_sha256(path))


def converted(digest: str) -> Checkpoint | None:
    """Return the checkpoint that was made from the file with this SHA-256, if one was."""
    folder = _folder(digest)
    if not (folder / _MARK).is_file():
        return None
    # A file of which metadata had to be honoured is another model than it was taken for before.
    honoured = read_json(folder / _MARK).get("honoured")
    number = _CONVERSION + (_RULES if honoured else 0)
    return read_checkpoint(folder, weights_digest=f"gguf-{number}-{digest}")


def convert(spec: ModelSpec, path: Path, digest: str) -> Checkpoint:
    """Convert a .gguf file to a folder of safetensors in float32, unless that is done already.

    Parameters
    ----------
    spec : ModelSpec
        For messages.
    path : pathlib.Path
        The file.
    digest : str
        Its SHA-256, which names the result.

    Notes
    -----
    Two processes never convert at once, and a folder appears only when it is whole.
    """
    folder = _folder(digest)
    done = converted(digest) if _is_sound(path, folder) else None
    if done is not None:
        return done
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        done = converted(digest) if _is_sound(path, folder) else None
        if done is not None:
            return done
        # What a process that was killed left of the same conversion, or a folder that is not whole.
        for rest in (folder, *folder.parent.glob(f".{folder.name}.*{files.SUFFIX}")):
            shutil.rmtree(rest, ignore_errors=True)
        stamp: dict[str, Json] = {"file": path.name, "sha256": digest, "conversion": _CONVERSION}
        with files.draft(folder) as draft:
            draft.mkdir()
            honoured = _write(spec, path, draft)
            stamp |= {"honoured": honoured, "rules": _RULES}
            (draft / _MARK).write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    done = converted(digest)
    assert done is not None  # noqa: S101  (it was written just now)
    return done


def _is_sound(path: Path, folder: Path) -> bool:
    """Whether a conversion honours the file's metadata; an earlier one may have passed over it."""
    mark = folder / _MARK
    if not mark.is_file():
        return False
    stamp = read_json(mark)
    if stamp.get("rules") == _RULES:
        return True
    if stamp.get("honoured"):
        return False
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if GGUFKeys(path).apply(config):
        return False
    files.write(mark, json.dumps({**stamp, "honoured": [], "rules": _RULES}, indent=1))
    return True


def _folder(digest: str) -> Path:
    return cache_dir() / "converted" / f"{digest[:40]}-{_CONVERSION}"


def _write(spec: ModelSpec, path: Path, folder: Path) -> list[str]:
    try:
        # The bars of its reader go past transformers' own switch.
        with quiet(), redirect_stderr(StringIO()):
            model, report, honoured = _read(path)
            tokenizer = _read_tokenizer(path)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except ModelError as problem:
        raise ModelError(f"{spec.id}: {problem}") from None
    # Damaged files and unknown architectures end in many kinds of errors.
    except Exception as problem:
        raise ModelError(
            f"{spec.id}: {path.name} cannot be converted ({one_line(problem)}): it may be damaged, "
            "or of an architecture that transformers cannot read from GGUF"
        ) from None
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = sorted(map(str, report[kind]))
        if keys:
            raise ModelError(
                f"{spec.id}: converting {path.name} leaves {len(keys)} {kind.replace('_', ' ')} "
                f"({', '.join(keys[:3])}): its weights would not be those of the file, so it is "
                "refused; use the original checkpoint"
            )
    return list(honoured)


def _read(path: Path) -> tuple[PreTrainedModel, LoadingReport, tuple[str, ...]]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    honoured = GGUFKeys(path).apply(config)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        config=config,
        dtype=torch.float32,
        local_files_only=True,
        output_loading_info=True,
    )
    model, report = loaded
    # The weights are plain numbers by now; save_pretrained refuses a model that still carries
    # the quantizer it was read with.
    model.hf_quantizer = None
    for name in ("quantization_method", "is_quantized"):
        if hasattr(model, name):
            delattr(model, name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model, report, honoured


def _read_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
