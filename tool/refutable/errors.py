"""The exceptions of refutable; each message is one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterable


class RefutableError(Exception):
    """Root of all errors that refutable raises on purpose."""


class ClaimError(RefutableError):
    """A claim is badly formed or asks for something that is not an observable."""


class PromptError(RefutableError):
    """A prompt set cannot be read, is empty, repeats itself, or does not fit the model."""


class ModelError(RefutableError):
    """A model cannot be found, fetched, read or used."""


class InstrumentError(RefutableError):
    """A check of the measuring instrument failed: nothing measured on this model counts."""


class NotAvailableError(RefutableError):
    """The model does not have the asked-for site or quantity; carries the reason."""


class NotHereError(NotAvailableError):
    """What is lacking could be brought here, such as a package: the reason is not remembered."""


class NotMeasurableError(NotAvailableError):
    """One observable does not exist for a model; claims that ask for it do not apply to it."""


class DivergedError(RefutableError):
    """A training run whose loss is no finite number any more."""


class EvidenceError(RefutableError):
    """An evidence file is unreadable, truncated or of another schema."""


def one_line(problem: BaseException, *, most: int = 300) -> str:
    """Say in one line what was raised.

    Parameters
    ----------
    problem : BaseException
        What was raised.
    most : int
        Characters of a foreign message to show; messages of this package are never cut.

    Returns
    -------
    str
        The message alone of an error of this package; of the operating system its reason and the
        file; of anything else the kind of exception before what it says, if it says anything.
    """
    said = " ".join(str(problem).split())
    if isinstance(problem, RefutableError):
        return said
    if isinstance(problem, OSError) and problem.strerror:
        place = f" ({problem.filename})" if problem.filename else ""
        said = f"{' '.join(problem.strerror.split())}{place}"
    else:
        kind = type(problem).__name__
        said = f"{kind}: {said}" if said else kind
    return said if len(said) <= most else f"{said[: most - 3]}..."


def near(name: str, known: Iterable[str], *, most: int = 4) -> str:
    """Suggest what may have been meant.

    Parameters
    ----------
    name : str
        What was asked for; of a pattern such as ``gain.*`` the part before the dot is compared.
    known : iterable of str
        The names that exist.
    most : int
        How many suggestions to give at most.

    Returns
    -------
    str
        ``"did you mean a, b?"``, or ``"known: a, b, ..."`` when nothing is close.
    """
    import difflib

    names = sorted(set(known))
    wild = bool(set(name) & set("*?["))
    head = name.partition(".")[0].rstrip("*?[")
    heads = sorted({known.partition(".")[0] for known in names})
    if wild and head in heads:
        names = [known for known in names if known.partition(".")[0] == head]
    elif wild:
        # Of a pattern the part before the dot is what was meant to select.
        alike = difflib.get_close_matches(head, heads, n=most, cutoff=0.5)
        if alike:
            return f"did you mean {', '.join(f'{one}.*' for one in alike)}?"
    close = difflib.get_close_matches(name, names, n=most, cutoff=0.5)
    if close:
        return f"did you mean {', '.join(close)}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"known: {shown}" if names else "none are known"


def told(problem: Exception) -> str:
    """Say in one line what was raised, and where; of a library's error the place is its caller."""
    import traceback
    from pathlib import Path

    frames = traceback.extract_tb(problem.__traceback__)
    of_project = [f for f in frames if "site-packages" not in f.filename] or list(frames)
    place = f" ({Path(of_project[-1].filename).name}, line {of_project[-1].lineno})"
    return f"{one_line(problem)}{place}"
