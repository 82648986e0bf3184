"""Write the committed observations: what claims over training seeds ask of every trained twin.

And what claims about the shipped models ask of untrained copies, which follow from the config.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from refutable.errors import NotAvailableError, RefutableError, one_line
from refutable.measurement.harness import open_harness
from refutable.measurement.needs import Need, not_applicable
from refutable.models.registry import all_specs
from refutable.models.sources import weights_available
from refutable.models.sources.twin import trained_twins
from refutable.models.spec import ModelSource
from refutable.observables.registry import REGISTRY
from refutable.spec.cell import DEFAULT_PROMPTS
from refutable.spec.prompts import PromptLibrary
from refutable.store.committed import SMALL, Committed, CommittedModel, CommittedWriter
from refutable.studies.catalogue import bundled_claims
from refutable.system.paths import fixtures, writable

if TYPE_CHECKING:
    import xarray as xr

    from refutable.models.spec import ModelSpec
    from refutable.spec.claim import Claim
    from refutable.store.store import ObservationKey


BITS = {"twin": 14, "thoughts": 19}
"""Binary digits behind the leading one that large arrays of a tag keep: an error of 3e-5 of each
number where claims are about means of thousands, and of 1e-6, the rounding of a pass, where some
ask for equality."""

OF_EACH_SEED = frozenset({"no-position"})
"""Tags of models whose study states the untrained model of each seed."""
BEFORE_TRAINING = frozenset(
    {
        "untrained_replaced_loss",
        "untrained_loss_without_position",
        "untrained_previous_token_attribution",
    }
)
"""What is asked of these models and takes longer to measure than to read."""


def observe_twins(
    out: Path, say: Callable[[str], None], tag: str = "twin", *, add: bool = False
) -> int:
    """Measure every twin trained here for the bundled claims over seeds, and write one file.

    Parameters
    ----------
    out : pathlib.Path
        The file, e.g. ``fixtures/twins/observations.safetensors``.
    say : callable
        Gets a line for each model.
    tag : str
        Which twins: ``twin`` (the norms) or ``thoughts``, as the registry tags them.
    add : bool
        Whether to measure those alone that the file lacks, and to keep all that it holds.

    Returns
    -------
    int
        Number of models in the file.

    Raises
    ------
    RefutableError
        When no twin of the registry was trained here, none that the file lacks where it is added
        to, when the file cannot be written, or when it holds models that were not trained here and
        would be lost.
    """
    specs, known = _trained_here(tag), Committed(out)
    if not specs:
        raise RefutableError(f"no trained twin in {trained_twins()}: run `refutable train twins`")
    # Told before hours of measuring.
    writable(out.parent)
    if add:
        specs = [spec for spec in specs if spec.id not in known.models]
        if not specs:
            raise RefutableError(f"{out} holds every twin of fixtures/models.toml in the cache")
    elif lost := sorted(set(known.models) - {spec.id for spec in specs}):
        raise RefutableError(
            f"{out} holds {len(lost)} models that were not trained here ({lost[0]}, ...): train "
            "them with `refutable train twins`, keep them with --add, or write to another file"
        )
    claims = list(bundled_claims())
    writer = CommittedWriter(bits=BITS.get(tag))
    if add:
        writer.take(known)
    controlled: set[str] = set()
    for spec in specs:
        of_model = [
            c
            for c in claims
            if spec.group in c.predicts.names or (spec.default and not c.predicts.grouped)
        ]
        say(f"{spec.id}: {len(of_model)} claims")
        _observe(spec, of_model, spec.group not in controlled, writer, say)
        controlled.add(spec.group)
    writer.write(out)
    return len(writer.models)


def observe_copies(out: Path, say: Callable[[str], None], tag: str = "twin") -> int:
    """Add what claims ask of untrained copies of the shipped models to a file of observations.

    All else that the file holds is left as it is; a copy that was measured before is read. Models
    of a study that states an untrained model for each seed leave `BEFORE_TRAINING` of it.

    Parameters
    ----------
    out : pathlib.Path
        A file that `observe_twins` wrote.
    say, tag
        As for `observe_twins`.

    Returns
    -------
    int
        Number of models in the file.

    Raises
    ------
    RefutableError
        When the file cannot be read or written.
    """
    writable(out.parent)
    writer = CommittedWriter(bits=BITS.get(tag))
    writer.take(Committed(out))
    for spec in all_specs():
        if tag in spec.tags and (spec.seed == 0 or tag in OF_EACH_SEED) and weights_available(spec):
            of_group = [
                claim
                for claim in bundled_claims()
                if claim.control is not None
                and (spec.group in claim.predicts.names if claim.predicts.grouped else spec.default)
            ]
            say(f"{spec.id}: {len(of_group)} claims with a null control")
            _observe(spec, of_group, True, writer, say, copies_alone=True)
    writer.write(out)
    return len(writer.models)


def _before_training(key: ObservationKey, value: xr.DataArray) -> bool:
    """Whether an array is of a study's own model before training, and small."""
    return key.observable in BEFORE_TRAINING and not key.role and value.size <= SMALL


def _trained_here(tag: str) -> list[ModelSpec]:
    def there(spec: ModelSpec) -> bool:
        run = trained_twins() / f"{spec.group}-{spec.seed}"
        return (run / "checkpoint" / "config.json").is_file()

    return [
        spec
        for spec in all_specs()
        if tag in spec.tags and spec.source is ModelSource.TWIN and there(spec)
    ]


def _observe(
    spec: ModelSpec,
    claims: list[Claim],
    controlled: bool,
    writer: CommittedWriter,
    say: Callable[[str], None],
    *,
    copies_alone: bool = False,
) -> None:
    """Measure one twin and put its arrays into the writer, or those of its untrained copies."""
    harness = open_harness(PromptLibrary([fixtures()]))
    # A seed that a claim leaves out is measured like the others: it may illustrate.
    needs = [
        Need(claim, spec.id, claim.prompts or DEFAULT_PROMPTS, arm, controlled)
        for claim in claims
        for arm in claim.arms
        if not_applicable(Need(claim, spec.id, "", arm), harness.facts(spec.id)) is None
    ]
    harness.plan(needs)
    for need in needs:
        try:
            harness.subject(need)
        except NotAvailableError as problem:
            # Such as a loss that this run never reached.
            say(f"{spec.id}, {need.claim.id}: {one_line(problem)}")
    if copies_alone:
        for key, value in harness.archive(spec.id).keyed():
            if value is None or isinstance(value, dict):
                continue
            if key.role.startswith("untrained-") or _before_training(key, value):
                writer.put(key, value)
        return
    state = harness.state(spec.id)
    report = state.report
    writer.models[spec.id] = CommittedModel(
        state.facts, report.weights_digest, report.tokenizer_digest, state.config_digest
    )
    # Claims about a single model are decided on shipped weights: only their null controls are
    # replayed, untrained copies that follow from the config.
    replayed = {name for n in needs if n.claim.predicts.grouped for name in n.observables}
    for key, value in harness.archive(spec.id).keyed():
        if isinstance(value, dict):
            writer.put_json(key, value)
        elif value is None or REGISTRY[key.observable].recorded_with:
            continue
        elif key.observable in replayed or key.role.startswith("untrained-"):
            writer.put(key, value)
