"""Two hundred models one after another in one process: memory is flat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODELS, SETTLED = 200, 10

SCRIPT = f"""
import gc, json, shutil, sys
from dataclasses import replace
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from refutable.measurement.harness import open_harness
from refutable.measurement.needs import Need
from refutable.spec.prompts import PromptLibrary
from refutable.studies.catalogue import find_claim
from refutable.system.paths import fixtures

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

config = LlamaConfig(
    vocab_size=2048, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
    bos_token_id=1, eos_token_id=2,
)
claim = find_claim("gain.rmsnorm-training-expands")
claim = replace(claim, id="x.flat", control=replace(claim.control, seeds=1))
folder, tokenizer = Path(sys.argv[1]), fixtures() / "tiny" / "rmsnorm"
LlamaForCausalLM(config).save_pretrained(folder / "first")
for file in tokenizer.glob("tokenizer*"):
    shutil.copy(file, folder / "first")
weights = load_file(folder / "first" / "model.safetensors")
names = {{f"m{{i}}": str(folder / f"m{{i}}") for i in range({MODELS})}}
harness = open_harness(PromptLibrary([fixtures()]), models=names)
# A passage of each of two registers: that the models are many is what is tried.
prompts = str(folder / "few.toml")
sizes, means = {{}}, set()
for count, (name, path) in enumerate(names.items(), 1):
    # Each has weights that no other has, so that none is known already.
    shutil.copytree(folder / "first", path)
    scaled = {{key: tensor * (1 + count / 1000) for key, tensor in weights.items()}}
    save_file(scaled, Path(path) / "model.safetensors", metadata={{"format": "pt"}})
    need = Need(claim, name, prompts, "no-bos")
    harness.plan([need])
    means.add(float(harness.subject(need).observations["residual_norm"].mean()))
    harness.forget(name)
    shutil.rmtree(path)
    if count in ({SETTLED}, {MODELS}):
        sizes[count] = resident()
print(json.dumps([len(means), *sizes.values()]))
"""

PROMPTS = """
name = "few"
[[family]]
name = "lakes"
prompts = ["Lake Como lies in the north of Italy", "Lake Garda lies east of it"]
[[family]]
name = "loops"
prompts = ["for name in names:", "while True: read(line)"]
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_flat_over_two_hundred_models(tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text(PROMPTS)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "REFUTABLE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    different, settled, at_last = json.loads(done.stdout.splitlines()[-1])
    assert different == MODELS
    assert at_last <= 1.05 * settled
