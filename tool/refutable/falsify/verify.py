"""The last word on a counterexample: the prompt alone, unpacked, in float32."""

from __future__ import annotations

from dataclasses import replace

from refutable.falsify.objective import Objective, Scored, Subject
from refutable.falsify.vocabulary import Ids


class Verifier:
    """Runs prompts alone in float32; a model in half precision is loaded once more for it.

    Parameters
    ----------
    objective : Objective
        The claim on the model as it is searched.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._single: Objective | None = None
        self.forwards = 0

    def __call__(self, ids: Ids) -> Scored:
        """Return what the claim's body gives for a prompt that is run alone."""
        if self._single is None:
            self._single = self._in_float32()
        self.forwards += 1
        return self._single([ids], layout="single")[0]

    def _in_float32(self) -> Objective:
        subject = self._objective.subject
        if subject.loaded.dtype == "float32":
            return self._objective
        from refutable.models.load import load
        from refutable.models.sites import find_sites

        loaded = load(subject.loaded.spec, device=subject.loaded.device, dtype="float32")
        whole: Subject = replace(subject, loaded=loaded, sites=find_sites(loaded.model))
        return Objective(self._objective.claim, whole)
