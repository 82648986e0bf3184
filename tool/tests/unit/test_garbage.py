"""The garbage collector looks seldom while a run reads, and as usual once a model is loaded."""

from __future__ import annotations

import gc

import pytest

from refutable.models.load import load
from refutable.models.registry import resolve
from refutable.system import garbage


@pytest.fixture(autouse=True)
def _usual():
    garbage.look_as_usual()
    before = gc.get_threshold()
    yield
    garbage.look_as_usual()
    assert gc.get_threshold() == before


def test_usual_pace_comes_back_however_often_it_was_slowed():
    before = gc.get_threshold()
    garbage.look_seldom()
    garbage.look_seldom()
    assert gc.get_threshold()[0] > 10 * before[0]
    garbage.look_as_usual()
    assert gc.get_threshold() == before


def test_pace_that_was_not_slowed_stays_as_the_user_set_it():
    before = gc.get_threshold()
    gc.set_threshold(123, 4, 5)
    garbage.look_as_usual()
    assert gc.get_threshold() == (123, 4, 5)
    gc.set_threshold(*before)


def test_loading_a_model_brings_the_usual_pace_back():
    before = gc.get_threshold()
    garbage.look_seldom()
    load(resolve("tiny-rmsnorm"))
    assert gc.get_threshold() == before
