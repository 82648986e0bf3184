"""Arrays that share labels with others are equal to arrays that were made out of their parts."""

from __future__ import annotations

import numpy as np
import xarray as xr

from refutable.store.alike import Templates, labels_key


def made(values: np.ndarray, prompts: list[str]) -> xr.DataArray:
    coords = {"prompt": prompts, "family": ("prompt", [p[0] for p in prompts]), "layer": [0, 1]}
    return xr.DataArray(values, coords, ("prompt", "layer"))


def filled(templates: Templates, values: np.ndarray, prompts: list[str]) -> xr.DataArray:
    array = made(values, prompts)
    return templates.filled(labels_key(array), lambda: array, values, "x", {"unit": "nats"})


def test_arrays_of_one_template_have_their_own_values_name_and_remarks() -> None:
    templates, values = Templates(), np.arange(4.0).reshape(2, 2)
    first = filled(templates, values, ["a/0", "b/0"])
    second = filled(templates, values + 7, ["a/0", "b/0"])
    for array, numbers in ((first, values), (second, values + 7)):
        xr.testing.assert_equal(array, made(numbers, ["a/0", "b/0"]))
        assert (array.name, array.attrs) == ("x", {"unit": "nats"})
    first.attrs["unit"] = "bits"
    assert second.attrs == {"unit": "nats"}
    # Sharing labels, they are subtracted as any two arrays are.
    xr.testing.assert_equal(second - first, made(np.full((2, 2), 7.0), ["a/0", "b/0"]))


def test_other_labels_other_shapes_and_objects_share_nothing() -> None:
    templates, values = Templates(), np.zeros((2, 2))
    filled(templates, values, ["a/0", "b/0"])
    assert list(filled(templates, values, ["a/0", "c/0"])["prompt"].values) == ["a/0", "c/0"]
    longer = filled(templates, np.zeros((3, 2)), ["a/0", "b/0", "c/0"])
    assert longer.shape == (3, 2)
    words = made(values, ["a/0", "b/0"]).assign_coords(note=("prompt", np.array(["x", 1], object)))
    assert labels_key(words) is None
    kept = templates.filled(None, lambda: words, values, "x", {})
    assert list(kept["note"].values) == ["x", 1]


def test_a_change_of_one_array_is_not_seen_in_another() -> None:
    templates = Templates()
    first = filled(templates, np.zeros((2, 2)), ["a/0", "b/0"])
    moved = first.assign_coords(layer=[5, 6])
    second = filled(templates, np.ones((2, 2)), ["a/0", "b/0"])
    assert list(moved["layer"].values) == [5, 6]
    assert list(second["layer"].values) == [0, 1]
    assert first.values.sum() == 0
    assert second.values.sum() == 4
