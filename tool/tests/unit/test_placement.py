"""Models that accelerate spreads over main memory and the disk give the same numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import xarray as xr

from refutable.errors import ModelError, NotMeasurableError
from refutable.measurement.harness import Harness, open_harness
from refutable.measurement.needs import Need
from refutable.measurement.state import Settings
from refutable.models.load import load, untrained
from refutable.models.placement import input_device
from refutable.models.registry import resolve
from refutable.models.sites import find_sites
from refutable.observables.registry import REGISTRY
from refutable.spec.prompts import PromptLibrary
from refutable.store.store import Store
from refutable.studies.catalogue import find_claim
from refutable.system.paths import fixtures

TINY = fixtures() / "tiny" / "rmsnorm"
MAP = {
    "model.embed_tokens": "disk",
    "model.rotary_emb": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.layers.2": "cpu",
    "model.layers.3": "disk",
    "model.norm": "cpu",
    "lm_head": "disk",
}


def test_parts_on_disk_are_fetched_while_they_run() -> None:
    spec = resolve(str(TINY))
    plain, spread = load(spec), load(spec, device_map=MAP)
    assert input_device(spread.model) == torch.device("cpu")
    on_disk = spread.model.get_parameter("model.layers.1.mlp.up_proj.weight")
    assert on_disk.is_meta
    assert all(check.passed for check in spread.checks)
    tokens = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.equal(spread.model(tokens).logits, plain.model(tokens).logits)
    assert len(find_sites(spread.model).blocks) == 4
    # An untrained copy lies where the model does, and has the weights that it has elsewhere.
    copies = untrained(plain, 3), untrained(spread, 3)
    assert copies[1].model.get_parameter("lm_head.weight").is_meta
    with torch.no_grad():
        logits = [copy.model(tokens).logits for copy in copies]
    assert torch.equal(*logits)


def test_the_folder_of_what_is_on_disk_goes_with_the_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spread = load(resolve(str(TINY)), device_map=MAP)
    assert list(tmp_path.glob("refutable-offload-*/*"))
    del spread
    import gc

    gc.collect()
    assert not list(tmp_path.glob("refutable-offload-*"))


def test_a_map_that_leaves_a_part_out_is_one_line() -> None:
    with pytest.raises(ModelError, match="cannot be spread over devices"):
        load(resolve(str(TINY)), device_map={"model.norm": "cpu"})


def measured(folder: Path, settings: Settings, claim_id: str) -> tuple[Harness, Need]:
    claim = find_claim(claim_id)
    if claim.control is not None:
        claim = replace(claim, control=replace(claim.control, seeds=1))
    library, models = PromptLibrary([fixtures()]), {"tiny": str(TINY)}
    lab = open_harness(library, settings, models=models, store=Store(folder))
    need = Need(claim, "tiny", "five-registers", "no-bos")
    lab.plan([need])
    return lab, need


@pytest.mark.parametrize(
    "claim_id", ["gain.rmsnorm-expands", "ablation.training-focuses-attention"]
)
def test_a_run_with_little_memory_measures_the_same(tmp_path: Path, claim_id: str) -> None:
    little = Settings(device_map="auto", memory=400_000)
    roles_of = {}
    for name, settings in (("whole", Settings()), ("spread", little)):
        lab, need = measured(tmp_path / name, settings, claim_id)
        lab.subject(need)
        roles_of[name] = lab.arrays("tiny")
    assert roles_of["whole"].keys() == roles_of["spread"].keys()
    for role, arrays in roles_of["whole"].items():
        # What only illustrates others is made by an experiment, which needs the model in one place.
        for name, array in ((n, a) for n, a in arrays.items() if not REGISTRY[n].recorded_with):
            xr.testing.assert_allclose(roles_of["spread"][role][name], array, rtol=1e-5)


def test_what_needs_all_weights_in_place_says_so(tmp_path: Path) -> None:
    little = Settings(device_map="auto", memory=400_000)
    lab, need = measured(tmp_path, little, "ablation.noise-costs-loss")
    with pytest.raises(NotMeasurableError, match="--claim-device-map"):
        lab.subject(need)
