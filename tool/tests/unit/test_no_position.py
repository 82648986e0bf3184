"""The no-position training: the data, the schedule, the fast step, resuming."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from transformers import GPT2LMHeadModel
from typer.testing import CliRunner

from refutable.errors import RefutableError
from refutable.studies.no_position import train as training
from refutable.studies.no_position.model import (
    EVALUATION_SEED,
    RECIPES,
    evaluation_tokens,
    new_model,
    previous_token_loss,
    recipe_named,
    sequences,
)
from refutable.studies.no_position.step import FastStep, PlainStep

SMALL = replace(RECIPES["published"], name="small", batch=20, steps=12)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_published_schedule_warms_up_and_the_faulty_one_grows():
    published, faulty = RECIPES["published"], RECIPES["max-schedule"]
    assert [published.factor(s) for s in (0, 50, 100, 2000)] == [0.0, 0.5, 1.0, 1.0]
    assert [faulty.factor(s) for s in (0, 50, 100, 2000)] == [1.0, 1.0, 1.0, 20.0]


def test_sequences_start_with_bos_and_are_uniform_over_the_other_tokens():
    tokens = next(sequences(123, 4000))
    assert (tokens[:, 0] == 0).all()
    rest = tokens[:, 1:].flatten()
    assert (int(rest.min()), int(rest.max())) == (1, 299)
    counts = torch.bincount(rest, minlength=300)[1:].double()
    expected = len(rest) / 299
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_squared - 298) < 5 * math.sqrt(2 * 298)


def test_evaluation_stream_shares_no_sequence_with_training():
    trained = {tuple(row) for seed in (123, 124) for row in next(sequences(seed, 512)).tolist()}
    held_out = {tuple(row) for row in evaluation_tokens(512).tolist()}
    assert not trained & held_out
    assert EVALUATION_SEED not in range(123, 1123)


def test_loss_is_that_of_the_previous_token():
    tokens = torch.tensor([[0, 7, 9]])
    logits = torch.zeros(1, 3, 300)
    logits[0, 0, 5] = 100.0  # position 0 does not count
    logits[0, 1, 0] = 2.0
    logits[0, 2, 7] = 1.0
    by_hand = ((math.log(299 + math.exp(2.0)) - 2.0) + (math.log(299 + math.e) - 1.0)) / 2
    assert float(previous_token_loss(logits, tokens)) == pytest.approx(by_hand, abs=1e-5)


def test_initialisation_reproduces_the_published_loss_at_step_0():
    with torch.no_grad():
        losses = [
            float(previous_token_loss(new_model(seed)(tokens).logits, tokens))
            for seed, tokens in zip(range(5), sequences(9, 200), strict=False)
        ]
    assert sum(losses) / 5 == pytest.approx(6.0077, abs=0.03)


def test_initialisation_depends_on_the_seed_and_leaves_the_global_stream_alone():
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    first, again, other = new_model(1), new_model(1), new_model(2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_fast_step_gives_the_losses_of_the_plain_loop():
    curves = []
    for step_class in (PlainStep, FastStep):
        model = new_model(3)
        step_of = step_class(model, SMALL)
        data = sequences(126, SMALL.batch)
        curves.append([float(step_of(next(data), step)) for step in range(120)])
        assert torch.equal(model.transformer.wpe.weight, torch.zeros(50, 64))
    plain, fast = (torch.tensor(curve) for curve in curves)
    assert plain[0] - plain[-1] > 0.1  # it learned, so equality is not that of idle runs
    assert float((plain - fast).abs().max()) < 1e-4


def test_interrupted_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    whole_model, whole = training.train_no_position(5, SMALL, None, show_progress=False)

    class Interrupted(FastStep):
        def __call__(self, tokens, step):
            if step == 9:
                raise KeyboardInterrupt
            return super().__call__(tokens, step)

    monkeypatch.setattr(training, "_RESUME_EVERY", 4)
    with monkeypatch.context() as patch:
        patch.setattr(training, "FastStep", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            training.train_no_position(5, SMALL, tmp_path, show_progress=False)
    with pytest.raises(RefutableError, match="another recipe or seed"):
        training.train_no_position(6, SMALL, tmp_path, show_progress=False)
    model, run = training.train_no_position(5, SMALL, tmp_path, show_progress=False)
    assert run.losses == whole.losses
    assert torch.equal(model.lm_head.weight, whole_model.lm_head.weight)
    assert not (tmp_path / "resume.safetensors").exists()

    loaded = GPT2LMHeadModel.from_pretrained(tmp_path, local_files_only=True)
    assert training.read_run(tmp_path).losses == whole.losses
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, whole_model.state_dict()[name])


def test_unknown_recipe_and_unfinished_folder_say_what_to_do(tmp_path):
    with pytest.raises(RefutableError, match="choose one of published, fast, max-sched"):
        recipe_named("quick")
    with pytest.raises(RefutableError, match="train it with"):
        training.read_run(tmp_path)


def test_command_trains_and_reports(tmp_path, monkeypatch):
    from refutable.cli.train import train_app

    monkeypatch.setitem(RECIPES, "small", SMALL)
    out = tmp_path / "run"
    done = CliRunner().invoke(
        train_app, ["no-position", "--seed", "2", "--recipe", "small", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    run = training.read_run(out)
    assert (run.seed, run.data_seed, len(run.losses)) == (2, 125, 12)
    assert f"held-out loss {run.held_out_loss:.5f}" in done.output
    wrong = CliRunner().invoke(train_app, ["no-position", "--recipe", "no"])
    assert isinstance(wrong.exception, RefutableError)
    assert "choose one of" in str(wrong.exception)
