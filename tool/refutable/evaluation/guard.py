"""What a claim's body raises is an error of the claim, told in one line."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from refutable.errors import ClaimError, RefutableError, one_line
from refutable.spec.cell import Cell
from refutable.spec.claim import Claim
from refutable.spec.claim_files import place_of

T = TypeVar("T")


def guarded(claim: Claim, cell: Cell, work: Callable[[], T]) -> T:
    """Run a claim's body, or what rests on it.

    Raises
    ------
    RefutableError
        Naming the claim, the model, what was raised and on which line.
    """
    try:
        return work()
    except RefutableError as problem:
        if claim.id in str(problem):
            raise
        # What is wrong with a claim is mended where it is written.
        place = f" ({place_of(claim)})" if isinstance(problem, ClaimError) else ""
        raise type(problem)(f"{claim.id} on {cell.model}: {problem}{place}") from problem
    except Exception as problem:
        what = f"{one_line(problem)}{_place(problem, claim)}"
        raise RefutableError(f"the body of {claim.id} failed on {cell.model}: {what}") from problem


def _place(problem: BaseException, claim: Claim) -> str:
    code = claim.body.__code__
    for frame in traceback.extract_tb(problem.__traceback__):
        if frame.filename == code.co_filename:
            return f" ({place_of(claim, frame.lineno)})"
    return ""
