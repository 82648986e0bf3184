"""A callback for transformers' Trainer that measures and decides claims while it trains."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr
from transformers import TrainerCallback

from refutable.api.observe import Observables
from refutable.api.opening import Prompts
from refutable.api.verify import ClaimLike
from refutable.errors import ClaimError, ModelError, RefutableError, one_line
from refutable.integrations.reading import PREFIX, Reading, take_reading

if TYPE_CHECKING:
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments


@dataclass(frozen=True, slots=True)
class Overhead:
    """What readings cost a training run."""

    readings: int
    seconds: float
    """Of all readings together."""
    share: float
    """Of the time since training began."""


class ClaimCallback(TrainerCallback):
    """Measures observables and claims every some steps, and logs them where the Trainer logs.

    It measures once before the first step: what fails there, a name or a prompt, ends the run at
    once. What fails later, such as weights that are no longer finite, is a warning and kept in
    `problems`, and training goes on. Training is not changed: its weights are those of a run
    without the callback.

    Parameters
    ----------
    trainer : transformers.Trainer
        Whose model is measured; its processing class is the tokenizer.
    prompts : as for `refutable.observe`
        The same at each reading.
    observables : as for `refutable.observe`, optional
        What to measure.
    claims : claim, id, pattern, or a sequence of them, optional
        What to decide.
    every : int
        Steps between two readings; the last step is read, too.
    arm : {"no-bos", "bos"}
        Of the observables.
    check : bool
        Whether the instrument is checked at each reading.

    Notes
    -----
    A reading costs one packed pass over the prompts, the checks of the instrument, which run
    some of them once more, and a digest of the weights; the first one of a claim also measures
    its null controls. `overhead` says what it came to, and so does the log at the end of
    training, as ``refutable/overhead_seconds`` and ``refutable/overhead_share``.

    Examples
    --------
    >>> trainer.add_callback(
    ...     ClaimCallback(trainer, prompts="five-registers", observables="log_growth", every=100)
    ... )
    """

    def __init__(
        self,
        trainer: Trainer,
        *,
        prompts: Prompts,
        observables: Observables = (),
        claims: ClaimLike | Sequence[ClaimLike] = (),
        every: int = 500,
        arm: str = "no-bos",
        check: bool = True,
    ) -> None:
        if every < 1:
            raise ClaimError(f"expected every to be a number of steps, got every={every}")
        self.trainer = trainer
        self.every = every
        self.readings: list[Reading] = []
        self.problems: list[str] = []
        self._how: dict[str, Any] = {
            "prompts": prompts,
            "observables": observables,
            "claims": claims,
            "arm": arm,
            "check": check,
        }
        self._begun = 0.0

    @property
    def overhead(self) -> Overhead:
        """What the readings cost so far."""
        seconds = sum(reading.seconds for reading in self.readings)
        passed = time.perf_counter() - self._begun if self._begun else 0.0
        return Overhead(len(self.readings), seconds, seconds / passed if passed else 0.0)

    @property
    def observations(self) -> xr.Dataset:
        """All readings of the observables, along ``step``."""
        seen = [reading for reading in self.readings if reading.observations.data_vars]
        if not seen:
            return xr.Dataset()
        steps = pd.Index([reading.step for reading in seen], name="step")
        return xr.concat(
            [reading.observations for reading in seen], steps, combine_attrs="drop_conflicts"
        )

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> None:
        """Measure once before the first step."""
        if self.trainer.is_deepspeed_enabled or self.trainer.is_fsdp_enabled:
            raise ModelError(
                "the model's weights are spread over processes and cannot be measured where they "
                "are: measure the saved checkpoints with refutable.observe"
            )
        self._begun = time.perf_counter()
        if state.is_world_process_zero:
            self._log(self._read(state.global_step), control)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> None:
        """Measure every some steps, and after the last one."""
        due = state.global_step % self.every == 0 or state.global_step == state.max_steps
        if not (due and state.is_world_process_zero):
            return
        try:
            reading = self._read(state.global_step)
        except RefutableError as problem:
            line = f"step {state.global_step}: {one_line(problem)}"
            self.problems.append(line)
            warnings.warn(f"not measured at {line}", RuntimeWarning, stacklevel=2)
            return
        self._log(reading, control)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> None:
        """Log what the readings cost."""
        if state.is_world_process_zero:
            cost = self.overhead
            self._say(
                {
                    f"{PREFIX}overhead_seconds": cost.seconds,
                    f"{PREFIX}overhead_share": cost.share,
                },
                control,
            )

    def _read(self, step: int) -> Reading:
        held = (self.trainer.model, self.trainer.processing_class)
        reading = take_reading(held, step=step, **self._how)
        self.readings.append(reading)
        return reading

    def _log(self, reading: Reading, control: TrainerControl) -> None:
        for result in reading.results or ():
            if result.verdict is None and result.reason:
                line = f"step {reading.step}: {result.claim}: {result.reason}"
                self.problems.append(line)
        self._say(reading.scalars(), control)

    def _say(self, numbers: dict[str, float], control: TrainerControl) -> None:
        # Logging takes a request to log as answered: the loss of this step is still to be logged.
        asked = control.should_log
        self.trainer.log(dict(numbers))
        control.should_log = asked
