"""Models so large that what illustrates or controls is measured on less text.

A copy that no one trained differs little from text to text, and there are up to nineteen of them:
the copies of any model that is not shipped read less. The evidence on the shipped ones is committed
as it was measured, on all of the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refutable.models.spec import ModelSource

if TYPE_CHECKING:
    from refutable.models.load import LoadedModel
    from refutable.models.spec import ModelSpec
    from refutable.records import ModelFacts

LARGE = 20_000_000
"""Parameters above which experiments read less, and null controls read some of the prompts."""
ECONOMY = 3
"""Version of what is read less of large models; raise it when that changes."""
ECONOMIES = {"noisy_loss": 4, "probe_accuracy": 4, "sharpness": 4}
"""The same of single observables, where it was raised for them alone."""
COPIES = 1
"""Version of what is read less of the copies of smaller models; raise it when that changes."""
UNTRAINED = "untrained-"
"""How the role of a copy, and the digest of its weights, begin."""


def is_large(facts: ModelFacts) -> bool:
    """Whether a model counts as large; one of unknown size does not."""
    return getattr(facts, "parameters", 0) > LARGE


def copies_read_less(spec: ModelSpec, facts: ModelFacts) -> bool:
    """Whether null controls of a model read less than the model itself."""
    return is_large(facts) or spec.source is not ModelSource.TWIN


def reads_as_a_copy(loaded: LoadedModel) -> bool:
    """Whether a model is an untrained copy that reads less than what it is a copy of."""
    copy = str(loaded.weights_digest).startswith(UNTRAINED)
    return copy and copies_read_less(loaded.spec, loaded.facts)
