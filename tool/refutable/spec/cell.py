"""One cell of the verdict matrix: which model, prompts and arm a claim is evaluated on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from refutable.spec.claim import Claim

SEPARATOR = "@"
DEFAULT_PROMPTS = "battery"
"""Prompt set of claims that name none."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the verdict matrix."""

    model: str
    """Id of the model, or ``a vs b`` for a claim about several."""
    models: tuple[str, ...]
    prompts: str
    arm: str
    grouped: bool = False
    """Whether the claim is about several models at once."""

    @property
    def label(self) -> str:
        """The parametrization id, safe in node ids and file names."""
        return SEPARATOR.join(slug(part) for part in (self.model, self.prompts, self.arm))


def slug(text: str) -> str:
    """Return a name that is safe in a node id, a file name and a shell."""
    return re.sub(r"[^A-Za-z0-9._,:=-]+", "-", text).strip("-") or "unnamed"


def cells_of(
    claim: Claim,
    models: Sequence[str],
    *,
    prompts: str | None = None,
    arms: Sequence[str] = (),
    default: str = DEFAULT_PROMPTS,
) -> list[Cell]:
    """Return the cells of one claim, over models and arms.

    Parameters
    ----------
    claim : Claim
        The claim.
    models : sequence of str
        Ids of the models; of a claim about groups, those of all groups.
    prompts : str, optional
        Prompt set of the run, in place of the one that the claim names.
    default : str
        Prompt set of a claim that names none.
    arms : sequence of str
        Arms of the run; all that the claim has where none is named.
    """
    chosen = prompts or claim.prompts or default
    wanted = [arm for arm in claim.arms if not arms or arm in arms]
    if claim.predicts.grouped:
        title = claim.predicts.title
        return [Cell(title, tuple(models), chosen, arm, True) for arm in wanted]
    return [Cell(model, (model,), chosen, arm) for model in models for arm in wanted]
