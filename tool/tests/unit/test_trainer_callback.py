"""Readings in the middle of a training run: they are true, and the run does not notice them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

import refutable
from refutable import Source, claim, mean
from refutable.errors import ClaimError
from refutable.integrations import ClaimCallback, take_reading
from refutable.system.paths import fixtures

TINY = fixtures() / "tiny" / "rmsnorm"
PROMPTS = [f"{word} went to the {place}." for word in ("He", "She", "They") for place in "abc"]
STEPS = 4


@claim(
    id="mine.stream-grows",
    statement="The last block grows the stream.",
    refuted_if="the mean log growth over families lies below 0",
    source=Source(study="mine", ref="M1"),
    predicts=mean.above(0.0),
)
def grows(log_growth: Any) -> Any:
    """Log growth of the last block."""
    return log_growth.isel(layer=-1, drop=True)


def last_norm(residual_norm: Any) -> Any:
    return residual_norm.isel(layer=-1, drop=True)


class Heard(TrainerCallback):
    """Keeps what the Trainer hands to TensorBoard and the like."""

    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.logs.append({**logs, "step": state.global_step})


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path / "cache"))


def trainer(folder: Path, **changes: Any) -> Trainer:
    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    model.config.attention_dropout = 0.3  # training draws random numbers, so a reading could too
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, model.config.vocab_size, (64, 24), generator=generator)
    data = [{"input_ids": row, "labels": row} for row in rows]
    arguments: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "per_device_train_batch_size": 2,
        "learning_rate": 0.01,
        "logging_steps": 1,
        "save_steps": 2,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 3,
    }
    return Trainer(
        model=model,
        args=TrainingArguments(**{**arguments, **changes}),
        data_collator=default_data_collator,
        train_dataset=data,  # type: ignore[arg-type]
        processing_class=AutoTokenizer.from_pretrained(TINY),
    )


def test_readings_are_those_of_the_checkpoints_and_training_is_the_same(tmp_path: Path) -> None:
    run, heard = trainer(tmp_path / "read"), Heard()
    callback = ClaimCallback(
        run, prompts=PROMPTS, observables=["residual_norm", last_norm], claims=grows, every=2
    )
    run.add_callback(callback)
    run.add_callback(heard)
    run.train()
    assert [reading.step for reading in callback.readings] == [0, 2, 4]
    assert callback.problems == []

    seen = callback.observations
    assert seen["residual_norm"].dims == ("step", "prompt", "layer")
    for step in (2, 4):
        kept = tmp_path / "read" / f"checkpoint-{step}"
        after = refutable.observe(str(kept), PROMPTS, "residual_norm")["residual_norm"]
        then = seen["residual_norm"].sel(step=step)
        assert np.allclose(then.values, after.values, rtol=1e-4)
        (decided,) = refutable.verify(grows, str(kept), prompts=PROMPTS)
        logged = next(entry for entry in heard.logs if entry.get("step") == step and _of(entry))
        assert decided.estimate is not None
        assert logged["refutable/mine.stream-grows/value"] == pytest.approx(
            decided.estimate.value, rel=1e-3
        )
        assert logged["refutable/last_norm"] == pytest.approx(
            float(after.isel(layer=-1).mean()), rel=1e-4
        )
    # Training moved the weights, so equal readings at two steps would be a reading of nothing.
    assert not np.allclose(seen["residual_norm"][1], seen["residual_norm"][2], rtol=1e-2)

    plain = trainer(tmp_path / "plain")
    plain.train()
    for read, unread in zip(run.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(read, unread)
    losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    assert losses == [entry["loss"] for entry in plain.state.log_history if "loss" in entry]
    assert len(losses) == STEPS


def _of(entry: dict[str, float]) -> bool:
    return "refutable/seconds" in entry


def test_the_log_says_what_readings_cost(tmp_path: Path) -> None:
    run = trainer(tmp_path, save_strategy="no")
    callback = ClaimCallback(run, prompts=PROMPTS, observables="log_growth", every=3)
    run.add_callback(callback)
    run.train()
    assert [reading.step for reading in callback.readings] == [0, 3, STEPS]
    told = next(e for e in run.state.log_history if "refutable/overhead_seconds" in e)
    single = [e["refutable/seconds"] for e in run.state.log_history if _of(e)]
    assert told["refutable/overhead_seconds"] == pytest.approx(sum(single))
    assert 0 < told["refutable/overhead_share"] < 1


def test_a_wrong_name_ends_the_run_and_broken_weights_are_told(tmp_path: Path) -> None:
    run = trainer(tmp_path, save_strategy="no")
    run.add_callback(ClaimCallback(run, prompts=PROMPTS, observables="residual_nrom"))
    with pytest.raises(ClaimError, match="did you mean residual_norm"):
        run.train()

    class Breaks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            with torch.no_grad():
                next(iter(kw["model"].parameters())).fill_(float("nan"))

    run = trainer(tmp_path, save_strategy="no", max_steps=1)
    callback = ClaimCallback(run, prompts=PROMPTS, observables="log_growth", every=1)
    run.add_callback(Breaks())
    run.add_callback(callback)
    with pytest.warns(RuntimeWarning, match="not measured at step 1: .*NaN"):
        run.train()
    assert len(callback.readings) == 1
    assert len(callback.problems) == 1


def test_a_plain_loop_draws_the_same_numbers_with_readings(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    held = (model.train(), AutoTokenizer.from_pretrained(TINY))

    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002, S311

    def seed() -> None:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)

    seed()
    expected = drawn()
    seed()
    reading = take_reading(held, PROMPTS, observables="log_growth", claims=grows, step=7)
    assert drawn() == expected
    assert model.training
    assert reading.step == 7
    assert reading.results is not None
    numbers = reading.scalars(prefix="")
    value = float(reading.observations["log_growth"].isel(layer=-1).mean())
    assert numbers["mine.stream-grows/value"] == pytest.approx(value)
    low, high = numbers["mine.stream-grows/low"], numbers["mine.stream-grows/high"]
    assert low < value < high
    with pytest.raises(ClaimError, match="nothing to measure"):
        take_reading(held, PROMPTS)
