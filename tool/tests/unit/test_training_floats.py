"""Training leaves the process as it was: how small numbers are taken, and how many threads add."""

from __future__ import annotations

import pytest
import torch

from refutable.training.floats import repeatable_on_cpu

TINY = 1e-42


def small() -> bool:
    return bool(torch.tensor(TINY) * 1)


@pytest.fixture(autouse=True)
def ordinary():
    torch.set_flush_denormal(False)


def test_small_numbers_are_0_inside_alone():
    threads = torch.get_num_threads()
    with repeatable_on_cpu("cpu", threads=1):
        assert not small()
        assert torch.get_num_threads() == 1
    assert small()
    assert torch.get_num_threads() == threads


def test_an_error_leaves_nothing_behind():
    with pytest.raises(ValueError, match="stop"), repeatable_on_cpu("cpu"):
        raise ValueError("stop")
    assert small()


def test_another_device_is_not_touched():
    with repeatable_on_cpu("cuda", threads=1):
        assert small()


def test_who_flushed_before_does_so_after():
    torch.set_flush_denormal(True)
    with repeatable_on_cpu("cpu"):
        assert not small()
    assert not small()
    torch.set_flush_denormal(False)
