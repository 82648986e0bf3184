"""Adding a variant as docs/twins.md says: trained by its norms, measured, joined to the rest."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from refutable.cli import app as cli
from refutable.store.committed import Committed
from refutable.system.paths import fixtures
from refutable.training import twins
from refutable.training.data import TwinData
from refutable.training.tokenizer import shipped_tokenizer

ADDED = "twin-dyt-both-trained-0"
STEPS = 101


def excerpt() -> TwinData:
    """The public-domain excerpt in place of the whole text, which takes a network."""
    text = (fixtures() / "twins" / "heldout.txt").read_text()
    ids = np.array(shipped_tokenizer()(text, add_special_tokens=False, verbose=False)["input_ids"])
    middle = len(ids) // 2
    return TwinData(ids[:middle], ids[middle:], "excerpt")


@pytest.mark.slow
def test_a_variant_is_trained_by_its_norms_and_joins_what_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(twins, "load_data", excerpt)
    # A small file of other models, which are to stay as they are.
    out = tmp_path / "observations.safetensors"
    shutil.copy(fixtures() / "noposition" / "observations.safetensors", out)
    before = Committed(out)
    kept = dict(before.arrays())

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["refutable", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out + captured.err

    train = "train twins --recipe trained --norm-kind dyt --seed 0"
    code, said = run(*train.split(), f"--steps={STEPS}")
    assert code == 0, said
    assert "held-out loss" in said
    code, said = run("observe-twins", str(out), "--add")
    assert code == 0, said
    assert {line.partition(":")[0] for line in said.splitlines()} == {ADDED, str(out)}
    after = Committed(out)
    assert set(after.models) == {*before.models, ADDED}
    now = dict(after.arrays())
    for identity, array in kept.items():
        xr.testing.assert_identical(array, now[identity])
    of_it = {array.dims: array for identity, array in now.items() if identity not in kept}
    path = of_it["step", "quantity", "text"]
    assert list(path["step"].values) == [STEPS]
    assert float(path["tokens"][0]) == STEPS * 1024
    assert 5 < float(path.sel(quantity="loss").mean()) < np.log(1024)
    code, said = run("observe-twins", str(out), "--add")
    assert code == 2
    assert "holds every twin" in said
    code, said = run("observe-twins", str(out), "--add", "--copies")
    assert code == 2
    assert "got both" in said
