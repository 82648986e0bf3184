"""The store under any interleaving of what is done to it, by two users of one folder."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from refutable.store.store import ObservationKey, Store

KEY = ObservationKey(
    "w" * 64, "t" * 64, "p" * 64, "no-bos", "x", 1, "float32", "cpu", torch="", transformers=""
)
WEIGHTS = ("a" * 64, "b" * 64)
keys = st.builds(
    lambda weights, arm, name, version: replace(
        KEY, weights=weights, arm=arm, observable=name, version=version
    ),
    st.sampled_from(WEIGHTS),
    st.sampled_from(["bos", "no-bos"]),
    st.sampled_from(["residual_norm", "top_token"]),
    st.integers(1, 2),
)
arrays = st.lists(
    st.floats(width=32) | st.sampled_from([np.nan, np.inf, -0.0]), min_size=1, max_size=6
).map(
    lambda values: xr.DataArray(
        np.array(values, np.float32),
        dims="prompt",
        coords={"prompt": [f"p{i}" for i in range(len(values))]},
    )
)
facts = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=3)
users = st.integers(0, 1)


class StoreMachine(RuleBasedStateMachine):
    """What a plain dictionary says, the store says, whoever of the two asks."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.users = [Store(self.folder), Store(self.folder)]
        self.arrays: dict[ObservationKey, xr.DataArray] = {}
        self.facts: dict[ObservationKey, dict[str, Any]] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(user=users, key=keys, array=arrays)
    def put(self, user: int, key: ObservationKey, array: xr.DataArray) -> None:
        self.users[user].put(key, array)
        self.arrays[key] = array

    @rule(user=users, key=keys, value=facts)
    def put_facts(self, user: int, key: ObservationKey, value: dict[str, Any]) -> None:
        self.users[user].put_json(key, value)
        self.facts[key] = value

    @rule(user=users, key=keys)
    def get(self, user: int, key: ObservationKey) -> None:
        measured, wanted = self.users[user].get(key), self.arrays.get(key)
        assert (measured is None) == (wanted is None)
        if measured is not None and wanted is not None:
            xr.testing.assert_identical(measured, wanted)
            assert measured.dtype == wanted.dtype

    @rule(user=users, key=keys)
    def get_facts(self, user: int, key: ObservationKey) -> None:
        assert self.users[user].get_json(key) == self.facts.get(key)

    @rule(user=users, key=keys)
    def damage(self, user: int, key: ObservationKey) -> None:
        """A file that was cut short is told and taken for a missing one."""
        path = self.users[user].path(key)
        if key in self.arrays:
            path.write_bytes(path.read_bytes()[:20])
            assert self.users[user].get(key) is None
            told = [note for note in self.users[user].notes if "is damaged" in note]
            assert any(key.observable in note for note in told)  # the same words are said once
            del self.arrays[key]

    @rule(user=users, weights=st.sampled_from(WEIGHTS))
    def clear(self, user: int, weights: str) -> None:
        self.users[user].clear(weights=weights)
        self.arrays = {k: v for k, v in self.arrays.items() if k.weights != weights}
        self.facts = {k: v for k, v in self.facts.items() if k.weights != weights}

    @invariant()
    def whole_files_alone(self) -> None:
        """Nothing half-written lies about."""
        assert not [p for p in self.folder.rglob("*") if p.is_file() and ".tmp" in p.name]


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
