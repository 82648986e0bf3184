"""What is known of an observable: a record, and where its array comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import xarray as xr

    from refutable.capture.recorder import Recorder
    from refutable.models.spec import ModelSpec
    from refutable.models.weights.reading import WeightReader

Source = Literal["observables", "sites", "recorder", "model", "weights"]
"""What an observable is made from: others, sites of one pass (by a function or by a class), the
model itself, or its tensors."""


@dataclass(frozen=True, slots=True)
class Observable:
    """One labelled array that a claim can ask for."""

    name: str
    description: str
    """One line: what is measured."""
    dims: tuple[str, ...]
    """Dimension names; ``prompt`` comes first where there is one."""
    unit: str
    version: int
    """Raised whenever the numbers would change; part of the store's key."""
    needs: tuple[str, ...] = ()
    """Names of the observables that a derived one is computed from."""
    function: Callable[..., xr.DataArray] | None = None
    recorder: Callable[[], Recorder] | None = None
    """Factory of the recorder of a recorded observable."""
    per_prompt: bool = True
    """False for facts of the model alone (counts, weights)."""
    weights: Callable[[WeightReader], xr.DataArray] | None = None
    """Function of a weight reader, for observables that need no forward pass."""
    experiment: Callable[..., xr.DataArray] | None = None
    """Function of a loaded model and the encoded prompts (``None`` when not `per_prompt`), for
    what one recorded pass cannot give: interventions, gradients, probes, training logs."""

    of_training: bool = False
    """Whether it needs the checkpoints of training, or the model before it, which are not shipped:
    a committed value then stands for it."""
    long: bool = False
    """Whether it takes longer than all else that is asked of a model, such as a training run: a
    worker starts with it."""
    recorded_with: str = ""
    """Name of an observable that this one illustrates: it is recorded whenever that one is."""

    of_config: bool = False
    """Follows from the config alone, such as untrained copies: models of one config share it."""
    in_store_only: bool = False
    """Whether it stays out of a run's observations: large, and of use to claims alone."""
    economical: bool = False
    """Whether less is read of a large model (`refutable.models.large`)."""
    last_states: bool = False
    """Whether an experiment reads `refutable.capture.last_states`, recorded by the pass before."""
    by_prompt: bool = False
    """Whether what an experiment gives for a prompt follows from its token ids and the model alone,
    so that a search may ask it about any prompt."""
    compared_with: Callable[[], Iterable[ModelSpec]] | None = None
    """Gives the specs of other models that the numbers depend on; part of the store's key."""
    error: float = 0.0
    """Stated error of each value, beyond what is measured of recorded ones."""
    code: str = ""
    """Digest of the text of a user's function: what an older one left is not read."""

    @property
    def turn(self) -> tuple[bool, str]:
        """When an experiment is made: who reads the pass's states first, those of a file in turn.

        Later ones may move weights; what one of a file found of the model serves the next.
        """
        return not self.last_states, getattr(self.experiment, "__module__", "")

    @property
    def derived(self) -> bool:
        """Whether this is a pure function of other observables."""
        return self.function is not None
