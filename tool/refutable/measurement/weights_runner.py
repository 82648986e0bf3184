"""Measuring what the store lacks of a model's weights, which takes no pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from refutable.errors import NotAvailableError, NotHereError, told
from refutable.measurement.archive import (
    ObservationArchive,
    measured_on_a_model,
    recorded_only,
)
from refutable.measurement.costs import CostLedger
from refutable.measurement.needs import ControlCopy
from refutable.models.weights.reading import WeightReader
from refutable.observables.registry import REGISTRY
from refutable.system.progress import Say

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.spec import ModelSpec


_IN_MEMORY = NotHereError(
    "observables of weights read a checkpoint: save the model with save_pretrained and name "
    "its folder"
)


class WeightsRunner:
    """Measures what needs a model's checkpoint alone, and stores it at once.

    Parameters
    ----------
    archive : ObservationArchive
        What is planned, and what the store holds of it.
    say : callable
        Told in one line what long work begins.
    """

    def __init__(self, archive: ObservationArchive, say: Say) -> None:
        self.archive = archive
        self.state = archive.state
        self._say = say
        self._done = 0
        self._weights: WeightReader | None = None
        self._ledger = CostLedger(archive.settings.profile)

    def say(self, line: str) -> None:
        """Tell what begins, and how many of the passes over this model lie behind it."""
        self._say(line, done=self._done, of=1 + len(self._controls("untrained")))

    def _controls(self, kind: str) -> list[ControlCopy]:
        controls = {c for by in self.archive.groups.values() for c in by if c is not None}
        return sorted(c for c in controls if c.kind == kind)

    def _missing_on_model(self, prompts: str, arm: str, control: ControlCopy | None) -> set[str]:
        """Names to measure on a model: of the packed pass all or none, so that one pass serves."""
        wanted = measured_on_a_model(self.archive.groups[prompts, arm].get(control, ()))
        role = control.name if control else ""
        lacking = self.archive.missing(prompts, arm, role, wanted)
        if lacking & recorded_only(wanted) or (
            control is None and wanted and self.archive.notes(prompts, arm) is None
        ):
            lacking |= recorded_only(wanted)
            if self.archive.notes(prompts, arm) is not None:
                return lacking - self.archive.unavailable(prompts, arm, role, lacking)
            # Without notes an empty plan of recorded arrays still has its checks to leave.
            return lacking or wanted
        return lacking

    def _from_weights(self, name: str) -> None:
        """Measure an observable of weights alone, without building the model."""
        for (prompts, arm), by_control in self.archive.groups.items():
            for control, names in by_control.items():
                role = control.name if control else ""
                wanted = {name} & set(names)
                if not self.archive.missing(prompts, arm, role, wanted):
                    continue
                if self.state.loaded is not None:
                    self.archive.put_reason(name, prompts, arm, role, _IN_MEMORY)
                    continue
                if self._weights is None:
                    self.say(f"reading the weights of {self.state.facts.id}")
                    self._weights = _open(self.state.spec)
                subject = self._weights
                if control is not None and control.kind == "untrained":
                    subject = self._weights.untrained(control.seed)
                function = REGISTRY[name].weights
                assert function is not None  # noqa: S101  (chosen by this field)
                self._keep(name, prompts, arm, role, partial(function, subject))

    def _keep(
        self, name: str, prompts: str, arm: str, role: str, make: Callable[[], xr.DataArray]
    ) -> None:
        """Store one array, or the reason why this model has no such observable."""
        try:
            with self._ledger.of(name, prompts, arm, role):
                array = self._shared(name, make) if REGISTRY[name].of_config else make()
        except NotAvailableError as problem:
            self.archive.put_reason(name, prompts, arm, role, problem)
        except OSError:
            raise
        # One observable that fails costs the claims that ask for it, and no others.
        except Exception as problem:
            self.archive.put_failure(name, prompts, arm, role, told(problem))
        else:
            self.archive.put(name, prompts, arm, role, array)

    def _shared(self, name: str, make: Callable[[], xr.DataArray]) -> xr.DataArray:
        """Read what another model of this config has left, or make it and leave it."""
        key = replace(
            self.archive.key(REGISTRY[name], "", "", ""),
            weights=self.state.config_digest,
            tokenizer="",
        )
        array = self.archive.store.get(key)
        if array is None:
            array = make()
            self.archive.store.put(key, array)
        return array


def _open(spec: ModelSpec) -> WeightReader:
    return WeightReader.from_spec(spec)
