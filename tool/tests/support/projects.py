"""Projects of their own for the plugin's tests: prompts, claims, small models, evidence."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from refutable.report.freshness import VOLATILE

FAMILIES = 10

GROWS = """
import numpy as np
from refutable import Source, claim, contrast, every, mean, normalized_by, untrained

def growth(norm):
    return np.log(norm.isel(layer=-1, drop=True) / norm.isel(layer=-2, drop=True))
"""

CLAIM = '''
@claim(
    id="gain.{slug}",
    statement="The last block grows the stream ({slug}).",
    refuted_if="the mean log gain lies below 0",
    source=Source(study="mine", ref="{slug}"),
    predicts={predicts},
    prompts="mine",
    {more}
)
def test_{name}({observable}):
    """Log gain of the last block."""
    {body}
'''


def prompt_file(families: int = FAMILIES, each: int = 3, *, name: str = "mine") -> str:
    """Return a prompt set of token ids below 64; no two prompts are the same."""
    lines = [f'name = "{name}"']
    for f in range(families):
        ids = [[(7 * f + 3 * p + k * (p + 2)) % 61 + 1 for k in range(3 + p)] for p in range(each)]
        register = "low" if f < families / 2 else "high"
        lines += ["[[family]]", f'name = "f{f}"', f'register = "{register}"', f"input_ids = {ids}"]
    return "\n".join(lines) + "\n"


def claim_source(
    name: str = "grows",
    *,
    predicts: str = "mean.above(0.0)",
    more: str = "",
    observable: str = "residual_norm",
    body: str = "return growth(residual_norm)",
    slug: str | None = None,
) -> str:
    """Return the source of one claim; `GROWS` goes before the first."""
    return CLAIM.format(
        name=name,
        slug=slug or name.replace("_", "-"),
        predicts=predicts,
        more=more,
        observable=observable,
        body=body,
    )


def module(*claims: str) -> str:
    """Return the source of a test module with these claims."""
    return GROWS + "".join(claims)


def write_gpt2(
    folder: Path, *, seed: int = 0, scale: float = 1.0, layers: int = 3, **changes: Any
) -> Path:
    """Save a small GPT-2 whose random weights look trained: none is at its initial value.

    `scale` multiplies what the last block writes: 0 makes its log gain exactly 0.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    fields = {
        "vocab_size": 64,
        "n_positions": 64,
        "n_embd": 32,
        "n_layer": layers,
        "n_head": 2,
        "initializer_range": 0.2,
        "bos_token_id": 63,
        "eos_token_id": 63,
    }
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(GPT2Config(**{**fields, **changes}))
        for parameter in model.parameters():
            parameter.mul_(1.3).add_(0.05 * torch.randn_like(parameter))
        last = model.transformer.h[-1]
        for layer in (last.attn.c_proj, last.mlp.c_proj):
            layer.weight.mul_(scale)
            layer.bias.mul_(scale)
    model.save_pretrained(folder)
    return folder


def write_scaling_twin(folder: Path, factor: float, *, bare: bool = False) -> Path:
    """Save a twin without norms in its blocks; the last block multiplies the stream by `factor`.

    Attention writes nothing, the MLP is linear with W2 W1 = (factor - 1) I: for a power of two
    rounding has no part in the ratio. A `bare` one has no final norm either.
    """
    import torch

    from refutable.models.twin_model import TwinConfig, TwinLMHeadModel, initialise

    config_class, model_class = _bare_classes() if bare else (TwinConfig, TwinLMHeadModel)
    width = 32
    model = model_class(
        config_class(
            vocab_size=64,
            n_positions=64,
            n_embd=width,
            n_inner=width,
            n_layer=3,
            n_head=2,
            activation_function="linear",
            norm_place="none",
            initializer_range=0.2,
            bos_token_id=63,
            eos_token_id=63,
        )
    )
    initialise(model, 0)
    with torch.no_grad():
        if not bare:
            model.transformer.ln_f.weight.mul_(1.25)
        last = model.transformer.h[-1]
        last.attn.c_proj.weight.zero_()
        last.mlp.c_fc.weight.copy_(torch.eye(width))
        last.mlp.c_proj.weight.copy_((factor - 1) * torch.eye(width))
    model.save_pretrained(folder)
    return folder


@cache
def _bare_classes() -> tuple[Any, Any]:
    """Return config and class of a twin without a final norm, known to the Auto classes."""
    from torch import nn
    from transformers import AutoConfig, AutoModelForCausalLM

    from refutable.models.twin_model import TwinConfig, TwinLMHeadModel

    class BareConfig(TwinConfig):
        model_type = "bare-twin"

    class BareModel(TwinLMHeadModel):
        config_class = BareConfig

        def __init__(self, config: BareConfig) -> None:
            super().__init__(config)
            self.transformer.ln_f = nn.Identity()

    AutoConfig.register("bare-twin", BareConfig)
    AutoModelForCausalLM.register(BareConfig, BareModel)
    return BareConfig, BareModel


def change_tensors(folder: Path, **changes: Any) -> Path:
    """Rewrite tensors of a checkpoint; ``None`` drops one. Names are written with ``__``."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, change in changes.items():
        key = name.replace("__", ".")
        if change is None:
            del tensors[key]
        else:
            tensors[key] = change(tensors.get(key))
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def change_config(folder: Path, **changes: Any) -> Path:
    """Rewrite fields of a checkpoint's config."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def evidence(project: pytest.Pytester, out: str = "reports/latest") -> dict[str, Any]:
    """Read what the last run left; of a part of an earlier one in ``reports/part``."""
    content: dict[str, Any] = json.loads((project.path / out / "evidence.json").read_text())
    return content


def verdicts(
    project: pytest.Pytester, out: str = "reports/latest"
) -> dict[tuple[str, str], str | None]:
    """Verdict by (claim, model) of the last run."""
    return {(r["claim"], r["model"]): r["verdict"] for r in evidence(project, out)["results"]}


def settled(measured: dict[str, Any]) -> dict[str, Any]:
    """Return evidence without its volatile fields."""
    kept: dict[str, Any] = json.loads(json.dumps(measured))
    for name in VOLATILE["environment"]:
        del kept["environment"][name]
    for part in ("models", "results"):
        for record in kept[part]:
            for name in VOLATILE[part]:
                del record[name]
    return kept


COUNTING = """
import time
from refutable.models import load as module

REAL = module.load

def load(spec, **how):
    with open({file!r}, "a") as file:
        file.write(spec.id + "\\n")
    stall = Path({file!r}).with_name("stall-" + spec.id)
    if stall.exists():
        stall.rename(stall.with_name("stalled"))
        time.sleep(600)
    return REAL(spec, **how)

module.load = load

def pytest_unconfigure():
    module.load = REAL
"""


def counting(file: Path) -> str:
    """Return conftest source that notes every loaded model in a file.

    A file ``stall-MODEL`` beside it makes the next load of that model hang.
    """
    return COUNTING.format(file=str(file))


def loads(file: Path) -> list[str]:
    """Names of the models loaded since the file was made."""
    return file.read_text().split() if file.exists() else []
