"""The form of a claim: a function of observables with a prediction attached."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from refutable.errors import ClaimError
from refutable.records import ClaimReport
from refutable.spec.applicability import Applicability as Applicability
from refutable.spec.applicability import any_model as any_model
from refutable.spec.applicability import at_least_blocks as at_least_blocks
from refutable.spec.applicability import at_least_heads as at_least_heads
from refutable.spec.applicability import named as named
from refutable.spec.applicability import normalized_by as normalized_by
from refutable.spec.applicability import not_tagged as not_tagged
from refutable.spec.applicability import positioned_by as positioned_by
from refutable.spec.applicability import reads_text as reads_text
from refutable.spec.controls import ControlSpec as ControlSpec
from refutable.spec.controls import ReplicationSpec as ReplicationSpec
from refutable.spec.controls import check_text as check_text
from refutable.spec.controls import placebo as placebo
from refutable.spec.controls import replication as replication
from refutable.spec.controls import shuffled as shuffled
from refutable.spec.controls import untrained as untrained
from refutable.spec.controls import untrained_in as untrained_in
from refutable.system.renamed import renamed

if TYPE_CHECKING:
    from refutable.predictions.base import Prediction

KINDS = ("observational", "interventional", "probing", "weights", "training")
ARMS = ("no-bos", "bos")
_ID = re.compile(r"^[a-z][a-z0-9]*\.[a-z0-9]+(-[a-z0-9]+)*$")


F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Source:
    """Where a claim was made."""

    study: str
    ref: str
    citation: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A prediction about a quantity measured on a model; made by the `claim` decorator."""

    id: str
    statement: str
    refuted_if: str
    source: Source
    predicts: Prediction
    body: Callable[..., Any]
    quantity: str
    observables: tuple[str, ...]
    also_record: tuple[str, ...]
    """Observables that are measured with it because figures show them."""
    models: Applicability
    prompts: str | None
    arms: tuple[str, ...]
    control: ControlSpec | None
    replication: ReplicationSpec | None
    kind: str
    unit: str
    sesoi: float | None
    margin: float | None
    groups: tuple[str, ...] = ()
    """Named groups that it is run with, such as ``release``."""
    default_models: tuple[str, ...] = ()
    """Models that it is tried on where a run names none, in place of the suite's."""
    no_control: str = ""
    """Why it has no null control, where none can exist or the quantity holds its own."""
    advisory: bool = False
    """Whether the gate only tells of a change."""

    def report(self) -> ClaimReport:
        """Return the claim as a plain record for the evidence."""
        return ClaimReport(
            id=self.id,
            study=self.source.study,
            ref=self.source.ref,
            kind=self.kind,
            statement=self.statement,
            refuted_if=self.refuted_if,
            quantity=self.quantity,
            predicted=self.predicts.statement,
            prediction=self.predicts.record(),
            unit=self.unit,
            sesoi=self.sesoi,
            margin=self.margin,
            applies_to=self.models.statement,
            control=self.control.statement if self.control else "",
            no_control=self.no_control,
            citation=self.source.citation,
            sampled=self.predicts.sampled,
            advisory=self.advisory,
        )


@renamed(says="statement", beside="also_record")
def claim(
    *,
    id: str,
    statement: str,
    refuted_if: str,
    source: Source,
    predicts: Prediction,
    models: Applicability | None = None,
    prompts: str | None = None,
    arms: tuple[str, ...] = ("no-bos",),
    control: ControlSpec | None = None,
    replication: ReplicationSpec | None = None,
    kind: str = "observational",
    unit: str = "",
    sesoi: float | None = None,
    margin: float | None = None,
    also_record: tuple[str, ...] = (),
    groups: tuple[str, ...] = (),
    default_models: tuple[str, ...] = (),
    no_control: str = "",
    advisory: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a test function a claim.

    Parameters
    ----------
    id : str
        ``<prefix>.<slug>``; stable, it keys baselines and gates.
    statement : str
        The claim in one sentence.
    refuted_if : str
        The observation that would refute it, in one sentence.
    source : Source
        Study and row (or paper) that makes the claim.
    predicts : Prediction
        The region for the quantity, e.g. ``mean.below(-0.02)``.
    models : Applicability, optional
        Which models the claim speaks about; any by default.
    prompts : str, optional
        Name of the prompt set; the run's default when left out.
    arms : tuple of {"no-bos", "bos"}
        Whether a BOS token is put first; each arm is a test of its own.
    control : ControlSpec, optional
        The null control read beside the verdict.
    replication : ReplicationSpec, optional
        The study's own procedure, for comparison.
    kind : {"observational", "interventional", "probing", "weights", "training"}
        Keeps apart what is seen, caused and merely read out.
    unit : str
        Unit of the quantity.
    sesoi : float, optional
        Smallest effect of interest, used for the control's reading.
    margin : float, optional
        Smallest difference between two releases that the gate calls a change.
    also_record : tuple of str
        Observables to measure with it although its body does not take them: figures show them.
    groups : tuple of str
        Named groups that it belongs to: ``refutable verify --claims GROUP`` runs them.
    default_models : tuple of str
        Models of the registry that it is tried on where a run names none: for claims about a kind
        of model that the suite's default models are not.
    no_control : str, optional
        Why no null control stands beside it, in one phrase: none can exist, or the quantity holds
        its own. The report shows it.
    advisory : bool
        Whether the gate between two releases tells of a change and lets it pass: for a quantity of
        which nobody knows how much it may move.

    Returns
    -------
    callable
        A decorator; the function keeps its name and gains a ``__claim__`` attribute.

    Raises
    ------
    ClaimError
        If a field is empty or malformed.
    """
    check_text(id=id, statement=statement, refuted_if=refuted_if)
    if not _ID.match(id):
        raise ClaimError(f"expected id like 'gain.layernorm-dampens', got id={id!r}")
    if kind not in KINDS:
        raise ClaimError(f"expected kind to be one of {KINDS}, got kind={kind!r} in claim {id}")
    if control is not None and no_control:
        raise ClaimError(f"claim {id} has a control, and no_control says that it has none")
    unknown = [arm for arm in arms if arm not in ARMS]
    if unknown or not arms:
        raise ClaimError(f"expected arms from {ARMS}, got arms={arms!r} in claim {id}")

    def decorate(function: F) -> F:
        doc = (inspect.getdoc(function) or "").strip()
        if not doc:
            raise ClaimError(f"claim {id} has no docstring: say in one line what is measured")
        function.__claim__ = Claim(  # type: ignore[attr-defined]
            id=id,
            statement=statement,
            refuted_if=refuted_if,
            source=source,
            predicts=predicts,
            body=function,
            quantity=" ".join(doc.split("\n\n")[0].split()),
            observables=tuple(inspect.signature(function).parameters),
            also_record=tuple(also_record),
            models=models or any_model(),
            prompts=prompts,
            arms=tuple(arms),
            control=control,
            replication=replication,
            kind=kind,
            unit=unit,
            sesoi=sesoi,
            margin=margin,
            groups=tuple(groups),
            default_models=tuple(default_models),
            no_control=no_control,
            advisory=advisory,
        )
        return function

    return decorate


def restated(
    function: FunctionType,
    *,
    suffix: str,
    when: str,
    figures: bool = True,
    names: tuple[str, ...] = (),
) -> FunctionType:
    """State the claim of a function about a second set of models, with the same body and region.

    Parameters
    ----------
    function : callable
        A claim about groups of models.
    suffix : str
        Ends the new id, the names of the groups unless they are given, and the name of the
        function: bind the result to the old name with ``_suffix``.
    when : str
        Ends the sentence of the claim.
    figures : bool
        Whether to measure what illustrates the claim on these models, too.
    names : tuple of str
        Groups of the second set, in the order of the first.

    Returns
    -------
    callable
        A function of its own with the same code.

    Raises
    ------
    ClaimError
        If the function is no claim about groups of models, or about another number of them.
    """
    old: Claim | None = getattr(function, "__claim__", None)
    if old is None or not old.predicts.grouped:
        raise ClaimError(f"{function.__name__} is no claim about groups of models")
    made = FunctionType(
        function.__code__, function.__globals__, f"{function.__name__}_{suffix}",
        function.__defaults__, function.__closure__,
    )  # fmt: skip
    made.__doc__, made.__module__ = function.__doc__, function.__module__
    groups = names or tuple(f"{name}-{suffix}" for name in old.predicts.names)
    if len(groups) != len(old.predicts.names):
        raise ClaimError(f"{old.id} is about {len(old.predicts.names)} groups, got names={names!r}")
    made.__claim__ = replace(  # type: ignore[attr-defined]
        old,
        id=f"{old.id}-{suffix}",
        statement=f"{old.statement.removesuffix('.')}, {when}.",
        predicts=replace(old.predicts, names=groups),  # type: ignore[call-arg]
        body=made,
        also_record=old.also_record if figures else (),
    )
    return made


class ClaimRegistry:
    """The claims of a run by id; frozen after collection."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._frozen = False

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._claims[key] for key in sorted(self._claims))

    def __len__(self) -> int:
        return len(self._claims)

    def add(self, new: Claim) -> None:
        """Register a claim; two functions must not share an id."""
        old = self._claims.get(new.id)
        if old is not None and _where(old) != _where(new):
            raise ClaimError(
                f"claim id {new.id!r} is used by {_where(old)} and {_where(new)}: rename"
            )
        if old is None and self._frozen:
            raise ClaimError(
                f"claim {new.id!r} arrived after collection: define it in a test module"
            )
        self._claims[new.id] = new

    def freeze(self, known: Iterable[str] = ()) -> None:
        """Refuse further claims; with `known` observables given, check each claim's arguments."""
        names = set(known)
        for item in self._claims.values():
            asked = (
                *item.observables,
                *item.also_record,
                *(item.control.observables if item.control else ()),
            )
            for argument in asked:
                if names and argument not in names:
                    raise ClaimError(f"claim {item.id} asks for {argument!r}, not an observable")
        self._frozen = True


def _where(item: Claim) -> str:
    file = getattr(getattr(item.body, "__code__", None), "co_filename", "?")
    return f"{file}:{item.body.__name__}"
