"""Ordinary tests that ask for a model of the run or for its observations."""

from __future__ import annotations

import pytest
from support.projects import counting, loads

from refutable.plugin.cases import is_cell, scope_of
from refutable.plugin.process import device_of

PLAIN = """
import gc, weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import refutable

SEEN = []

@pytest.mark.parametrize("ids", [[1, 2, 3], [4, 5]])
def test_logits_are_finite(claim_model, ids):
    model, tokenizer = claim_model
    assert tokenizer is None
    assert not model.training
    # What was loaded before is let go, although the test that failed on it holds it.
    for earlier in SEEN:
        assert earlier is model or all(p.is_meta for p in earlier.parameters())
    SEEN.append(model)
    with torch.no_grad():
        assert model(torch.tensor([ids])).logits.isfinite().all()

def test_fails(claim_model):
    held = claim_model.model
    assert held is None

@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=8))
def test_norms_are_positive(observe, ids):
    assert (observe([ids], "residual_norm")["residual_norm"] > 0).all()

def test_named_prompts_and_plain_hooks_agree(claim_model, observe):
    seen = observe("mine", ["residual_norm", "n_tokens"], arm="bos")
    assert seen.attrs["checked"] is True
    assert seen.sizes["prompt"] == 30
    model, caught = claim_model.model, []
    hook = model.transformer.h[-1].register_forward_hook(
        lambda m, i, out: caught.append(out[0] if isinstance(out, tuple) else out)
    )
    try:
        with torch.no_grad():
            model(torch.tensor([[63, 1, 2, 3]]))
    finally:
        hook.remove()
    ours = observe([[1, 2, 3]], "residual_norm", arm="bos")["residual_norm"]
    assert np.isclose(float(ours[0, -1]), float(caught[0][0, -1].norm()), rtol=1e-4)
    assert refutable.observe(claim_model, [[1, 2, 3]], "residual_norm").sizes["layer"] == 3
"""


def test_each_model_is_loaded_once_and_let_go(
    project: pytest.Pytester, models: pytest.Pytester
) -> None:
    project.makepyfile(PLAIN)
    file = project.path / "loads"
    with (project.path / "conftest.py").open("a") as conftest:
        conftest.write(counting(file))
    named = [f"--claim-model={models / name}" for name in ("little", "other")]
    result = project.runpytest_inprocess(*named, "-p", "no:cacheprovider", "-W", "error")
    result.assert_outcomes(passed=8, failed=2)
    assert loads(file) == ["little", "other"]
    result.stdout.fnmatch_lines(["*test_fails[[]model=little[]]*", "*test_fails[[]model=other[]]*"])


def test_a_model_that_cannot_be_loaded_is_an_error_of_its_tests_alone(
    project: pytest.Pytester, models: pytest.Pytester
) -> None:
    project.makepyfile("def test_one(claim_model): assert claim_model.model is not None")
    (project.path / "empty").mkdir()
    result = project.runpytest_inprocess(
        f"--claim-model={project.path / 'empty'}", f"--claim-model={models / 'little'}"
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*empty*config.json*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    ("nodeid", "scope", "cell"),
    [
        ("a.py::test_a[little@mine@no-bos]", "model little", True),
        ("a.py::test_b[model=little]", "model little", False),
        ("a.py::test_b[1-x-model=little-2.5]", "model little-2.5", False),
        ("a.py::test_c[remodel=little]", "a.py::test_c[remodel=little]", False),
        ("a.py::test_d", "a.py::test_d", False),
    ],
)
def test_scopes(nodeid: str, scope: str, cell: bool) -> None:
    assert scope_of(nodeid) == scope
    assert is_cell(nodeid) is cell


@pytest.mark.parametrize(
    ("worker", "visible", "of_worker"),
    [
        ("gw0", "0,1,2,3", "0"),
        ("gw3", "0,1,2,3", "3"),
        ("gw5", "0,1,2,3", "1"),
        ("gw1", "4, 6", "6"),
        ("gw1", "GPU-aa,GPU-bb", "GPU-bb"),
        ("gw0", "", ""),
    ],
)
def test_one_device_a_worker(worker: str, visible: str, of_worker: str) -> None:
    assert device_of(worker, visible) == of_worker
