"""Interleaved timing on a clock of its own, and the step that is timed."""

import math

import numpy as np
import pytest

from refutable.errors import NotAvailableError
from refutable.studies.norm_ablation.observables import step_time as speed


class Machine:
    """A clock that work moves on; work takes longer and longer, as on a machine that heats up."""

    def __init__(self, drift):
        self.now, self.drift, self.ran = 0.0, drift, []

    def work(self, name, cost):
        def run():
            self.ran.append(name)
            self.now += cost * (1 + self.drift) ** len(self.ran)

        return run


def ratios(drift, first=1.0, second=1.0, third=None, **how):
    machine = Machine(drift)
    works = [machine.work("a", first)]
    if third is not None:
        works.append(machine.work("c", third))
    against = machine.work("b", second)
    return speed.interleaved(against, works, clock=lambda: machine.now, **how), machine


def test_the_ratio_is_that_of_the_costs():
    ratio, machine = ratios(0.0, first=3.0, second=2.0, batches=2, rounds=4)
    assert ratio.shape == (1, 2, 4)
    assert ratio.ravel().tolist() == pytest.approx([math.log(1.5)] * 8)
    assert "".join(machine.ran) == "abba" * 4


def test_two_kinds_of_work_run_beside_what_they_are_timed_against():
    ratio, machine = ratios(0.0, first=3.0, second=2.0, third=1.0, batches=1, rounds=4)
    assert "".join(machine.ran) == "abccbaabccba"
    assert ratio[0].ravel().tolist() == pytest.approx([math.log(1.5)] * 4)
    assert ratio[1].ravel().tolist() == pytest.approx([math.log(0.5)] * 4)


def test_drift_of_the_machine_falls_out_of_a_batch():
    ratio, _ = ratios(0.1, first=1.2, second=1.0, third=1.0)
    assert ratio.shape == (2, speed.BATCHES, speed.ROUNDS)
    assert np.ptp(ratio[0]) > 0.1, "single rounds carry the drift"
    assert np.median(ratio[0], axis=1) == pytest.approx(math.log(1.2))
    assert np.median(ratio[1], axis=1) == pytest.approx(0.0)


def test_garbage_is_collected_again_after_an_error():
    import gc

    def broken():
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        speed.interleaved(broken, [broken])
    assert gc.isenabled()


class Subject:
    def __init__(self, model):
        self.model, self.device = model, "cpu"
        self.spec = type("Spec", (), {"id": "subject"})()


def twin():
    from refutable.models.twin_model import TwinConfig, TwinLMHeadModel

    config = TwinConfig(
        vocab_size=60, n_positions=8, n_embd=16, n_layer=2, n_head=2, norm_kind="rmsnorm",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return TwinLMHeadModel(config).eval().requires_grad_(False)


def test_siblings_differ_in_the_kind_of_norm_alone_and_leave_the_twin_as_it_is(monkeypatch):
    import torch
    from torch import nn

    made = []
    true = torch.optim.AdamW

    def watched(parameters, **how):
        parameters = list(parameters)
        made.append(sum(p.numel() for p in parameters))
        return true(parameters, **how)

    monkeypatch.setattr(torch.optim, "AdamW", watched)
    model = twin()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    values = speed.step_time_log_ratio(Subject(model), None)
    assert values.dims == ("compared", "batch", "round")
    assert np.isfinite(values.values).all()
    # Two norms a block and the final one have a bias of 16 more each where they are LayerNorms.
    assert made[1] - made[0] == 5 * 16
    assert made[2] == made[1], "the third is the second again"
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert isinstance(model.transformer.ln_f, nn.RMSNorm)


def test_a_model_that_is_no_twin_is_refused():
    from support.architectures import build

    with pytest.raises(NotAvailableError, match="is no twin"):
        speed.step_time_log_ratio(Subject(build("gpt2")), None)
