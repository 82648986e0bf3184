"""The store gives back what was put in, survives damage, and never shows a part of a file."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from refutable.store.store import ObservationKey, Store, library_versions

KEY = ObservationKey(
    weights="w" * 64,
    tokenizer="t" * 64,
    prompts="p" * 64,
    arm="no-bos",
    observable="residual_norm",
    version=1,
    dtype="float32",
    device="cpu",
)


def norms(fill: float = 0.5) -> xr.DataArray:
    return xr.DataArray(
        np.array([[fill, np.nan, 2.25], [3.0, -np.inf, 1e-30]], dtype=np.float32),
        dims=("prompt", "layer"),
        coords={
            "prompt": ["cliché/0", "b/1"],
            "family": ("prompt", ["cliché", "b"]),
            "layer": [0, 1, 2],
        },
        name="residual_norm",
        attrs={"unit": "norm"},
    )


def test_numbers_come_back_with_their_labels(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.get(KEY) is None
    store.put(KEY, norms())
    back = store.get(KEY)
    xr.testing.assert_identical(back, norms())
    assert back.dtype == np.float32
    assert store.notes == []


@pytest.mark.parametrize(
    "array",
    [
        xr.DataArray(np.array(["Paris", "", "日本"]), dims="prompt", name="top"),
        xr.DataArray(np.array([["a", "bc"], ["ü", "x"]], dtype=object), dims=("prompt", "k")),
        xr.DataArray(np.array(12), name="n_blocks"),
        xr.DataArray(np.array([1, -7], dtype=np.int64), dims="prompt"),
        xr.DataArray(np.array([True, False]), dims="prompt"),
        xr.DataArray(np.zeros((0, 3)), dims=("prompt", "layer")),
    ],
    ids=["strings", "objects", "scalar", "integers", "booleans", "empty"],
)
def test_every_kind_of_array_comes_back(tmp_path: Path, array: xr.DataArray) -> None:
    store = Store(tmp_path)
    store.put(KEY, array)
    back = store.get(KEY)
    assert back.shape == array.shape
    assert back.dims == array.dims
    assert back.values.tolist() == array.values.tolist()


@pytest.mark.parametrize("field", sorted(ObservationKey.__dataclass_fields__))
def test_every_field_of_the_key_counts(tmp_path: Path, field: str) -> None:
    store = Store(tmp_path)
    store.put(KEY, norms())
    store.put_json(KEY, {"layout": "packed"})
    old = getattr(KEY, field)
    other = replace(KEY, **{field: old + 1 if isinstance(old, int) else f"{old}x"})
    assert store.get(other) is None
    assert store.get_json(other) is None


def test_json_comes_back_and_counts_and_damage_is_a_miss(tmp_path: Path) -> None:
    store = Store(tmp_path)
    value = {"layout": "packed", "checks": [{"name": "finite", "value": 1e-7, "passed": True}]}
    store.put_json(KEY, value)
    assert store.get_json(KEY) == value
    assert store.size().files == 1
    path = store.path(KEY, "json")
    path.write_text(path.read_text()[:-9])
    assert store.get_json(KEY) is None
    assert len(store.notes) == 1
    assert store.clear(arm="no-bos").files == 0
    assert store.clear().files == 1


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "other key"])
def test_a_damaged_file_is_a_miss_with_a_note(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    store.put(KEY, norms())
    path = store.path(KEY)
    whole = path.read_bytes()
    other = replace(KEY, arm="bos")
    store.put(other, norms(9.0))
    content = {
        "cut": whole[:-5],
        "garbage": b"\xff" * 64,
        "empty": b"",
        "other key": store.path(other).read_bytes(),
    }[damage]
    path.write_bytes(content)
    assert store.get(KEY) is None
    assert len(store.notes) == 1
    assert "residual_norm" in store.notes[0]
    assert "\n" not in store.notes[0]
    store.put(KEY, norms())
    xr.testing.assert_identical(store.get(KEY), norms())


def test_a_failed_write_leaves_the_old_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.put(KEY, norms())

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        store.put(KEY, norms(7.0))
    xr.testing.assert_identical(store.get(KEY), norms())
    assert [p.name for p in store.path(KEY).parent.iterdir()] == [store.path(KEY).name]


def test_two_writers_and_a_reader_never_see_a_torn_file(tmp_path: Path) -> None:
    big = [xr.DataArray(np.full(50_000, float(i)), dims="prompt") for i in range(2)]
    store = Store(tmp_path)
    store.put(KEY, big[0])

    def write(array: xr.DataArray) -> None:
        for _ in range(40):
            Store(tmp_path).put(KEY, array)

    writers = [threading.Thread(target=write, args=(array,)) for array in big]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        values = np.unique(store.get(KEY).values)
        assert values.size == 1
        seen.add(float(values[0]))
    for writer in writers:
        writer.join()
    assert store.notes == []
    assert seen <= {0.0, 1.0}


def test_size_and_clear(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.size().files == 0
    other = replace(KEY, weights="v" * 64)
    store.put(KEY, norms())
    store.put(replace(KEY, arm="bos"), norms())
    store.put(other, norms())
    usage = store.size()
    assert usage.files == 3
    assert usage.bytes == sum(p.stat().st_size for p in tmp_path.rglob("*.safetensors"))
    assert store.clear(weights=KEY.weights).files == 2
    assert store.get(KEY) is None
    assert store.get(other) is not None
    assert store.clear().files == 1
    assert store.size().files == 0
    with pytest.raises(TypeError, match="colour"):
        store.clear(colour="red")


def test_a_lock_keeps_another_process_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    code = (
        "import sys; from refutable.store.store import Store\n"
        "with Store(sys.argv[1]).locked('gpt2/five registers'): print('in', flush=True)\n"
    )
    with store.locked("gpt2/five registers"):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=2.0)
    out, _ = child.communicate(timeout=60)
    assert out == "in\n"


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    Store(tmp_path).put(KEY, norms())
    code = (
        "import sys\n"
        "from refutable.store.store import ObservationKey, Store, library_versions\n"
        f"key = {KEY!r}\n"
        f"array = Store({str(tmp_path)!r}).get(key)\n"
        "assert library_versions()[0], 'torch has a version'\n"
        "print(float(array[0, 0]), {'torch', 'transformers'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0.5 set()\n"


def test_versions_are_those_of_the_installed_libraries() -> None:
    import torch
    import transformers

    assert library_versions() == (str(torch.__version__), transformers.__version__)
    assert (KEY.torch, KEY.transformers) == library_versions()
