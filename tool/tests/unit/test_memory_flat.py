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
names = {{f"m{{i}}": str(folder / f"m{{i}}") for i in range({MODELS})}}
harness = open_harness(PromptLibrary([fixtures()]), models=names)
found = []
for place, (name, path) in enumerate(names.items()):
    torch.manual_seed(place)
    LlamaForCausalLM(config).save_pretrained(path)
    for file in tokenizer.glob("tokenizer*"):
        shutil.copy(file, path)
    need = Need(claim, name, "five-registers", "no-bos")
    harness.plan([need])
    harness.subject(need)
    harness.forget(name)
    shutil.rmtree(path)
    found.append(resident())
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_flat_over_two_hundred_models(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "REFUTABLE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout.splitlines()[-1])
    assert len(content) == MODELS
    settled = content[SETTLED - 1]
    assert content[-1] <= 1.05 * settled, content[SETTLED - 1 :: 19]
