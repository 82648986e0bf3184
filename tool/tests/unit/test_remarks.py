"""Remarks on families become labels of prompts, the right ones for each set and each selection."""

from __future__ import annotations

import numpy as np
import xarray as xr

from refutable.measurement.remarks import Remarks
from refutable.spec.prompts import PromptSet, read_prompts


def read(tmp_path, name: str, register: str) -> PromptSet:
    path = tmp_path / f"{name}.toml"
    families = "".join(
        f'[[family]]\nname = "{family}"\nregister = "{word}"\n'
        f'prompts = ["{family} one", "{family} two"]\n'
        for family, word in (("a", register), ("b", "plain"))
    )
    path.write_text(f'name = "{name}"\n{families}', encoding="utf-8")
    return read_prompts(path)


def array(dtype: str, marked: tuple[int, ...] = (0, 1, 2)) -> xr.DataArray:
    prompts = np.array(["a/0", "a/1", "b/0"], dtype=dtype)[list(marked)]
    families = np.array(["a", "a", "b"], dtype=dtype)[list(marked)]
    values = np.arange(6.0).reshape(3, 2)[list(marked)]
    return xr.DataArray(
        values,
        {"prompt": prompts, "family": ("prompt", families), "layer": [0, 1]},
        ("prompt", "layer"),
        name="depth",
        attrs={"committed": True},
    )


def test_each_array_gets_the_remarks_of_its_own_families(tmp_path) -> None:
    remarks, dry, wet = Remarks(), read(tmp_path, "dry", "dry"), read(tmp_path, "wet", "wet")
    for _ in range(2):
        for dtype in ("U3", "O"):
            for prompts, word in ((dry, "dry"), (wet, "wet")):
                label = remarks.label(array(dtype), prompts)
                assert label["register"].values.tolist() == [word, word, "plain"]
                xr.testing.assert_identical(label.drop_vars("register"), array(dtype))
                turned = remarks.label(array(dtype, (2, 0)), prompts)
                assert turned["register"].values.tolist() == ["plain", word]
                xr.testing.assert_equal(turned.drop_vars("register"), array(dtype, (2, 0)))


def test_what_has_no_prompts_is_left_as_it_is(tmp_path) -> None:
    values = xr.DataArray(np.arange(3.0), dims=("layer",))
    assert Remarks().label(values, read(tmp_path, "dry", "dry")) is values
