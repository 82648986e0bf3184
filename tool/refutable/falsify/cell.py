"""One attack: what decides it, what is replayed and searched, what is told and kept."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refutable.evaluation.evaluate import seed_of
from refutable.falsify.certify import GENERATOR, sample
from refutable.falsify.counterexamples import Stored
from refutable.falsify.objective import Objective, Scored, Subject
from refutable.falsify.proposals import Domain
from refutable.falsify.search import Search, Searched, Violation
from refutable.falsify.vocabulary import Ids, Vocabulary
from refutable.models.encode import encode
from refutable.observables.registry import REGISTRY
from refutable.predictions.every import Every
from refutable.records import Counterexample, SearchReport
from refutable.stats.decide import certified
from refutable.store.store import ObservationKey
from refutable.system import wording

if TYPE_CHECKING:
    from refutable.falsify.attack import Attacker
    from refutable.measurement.state import State
    from refutable.spec.claim import Claim
    from refutable.system.typing import Json

VERSION = 5
"""Raised when a search of the same budget and seed would try other candidates."""
SHARE = 0.01
"""Share of violations that a certificate tolerates."""
_SEEDS = 16
_LONGEST = 24
_RUN_ALONE = 16
"""Draws that violate by their packed value and are run alone, the simplest first."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is attacked: a claim on one model, with the prompts of the run and their values."""

    claim: Claim
    model: str
    prompts: str
    """Name of the prompt set."""
    arm: str
    values: Any
    """What the claim's body returned on that set."""
    error: float
    """The instrument's error of one value."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What an attack comes to."""

    report: SearchReport
    counterexample: Counterexample | None = None
    margin: float = float("-inf")
    """How far the counterexample lies beyond the region."""
    bound: float = 0.0
    """What a violation had to exceed."""


class CellAttack:
    """One attack."""

    def __init__(self, attacker: Attacker, target: Target, state: State) -> None:
        self.by = attacker
        self.target = target
        self.state = state
        self.universal = target.claim.predicts.kind == "every"
        self.bound = float("inf")
        if isinstance(target.claim.predicts, Every):
            self.bound = target.claim.predicts.bound(target.error)
        self.seed = seed_of(target.claim.id, target.model)
        self.stored = attacker.kept.of(target.claim.id) if self.universal else []
        self.search_id = self._digest()[:16]

    def attack(self) -> Attack:
        """Return what was found before under the same circumstances, or search."""
        store = self.by.harness.sources.store
        # What refutes stands whatever is found elsewhere; a claim that nothing has refuted yet is
        # searched again where another model's counterexample gives a new prompt to try.
        keys = [self._key(others=False), self._key(others=True)]
        for key in keys:
            known = store.get_json(key)
            if known is not None and not self._edited(known):
                return self._restored(known)
        self.by.harness.say(
            f"searching for a counterexample to {self.target.claim.id} on {self.target.model}"
        )
        with self.by.threads(self.state.facts.parameters):
            attack, raw = self._search()
        for key in keys if attack.counterexample is not None else keys[1:]:
            store.put_json(key, raw)
        return attack

    def _edited(self, known: dict[str, Any]) -> bool:
        """Whether what this search left in its file is no longer what it found."""
        shown = _counterexample(known["counterexample"])
        here = (self.target.claim.id, self.state.report.weights_digest, self.target.arm)
        of_this_search = [
            one for one in self.stored if one.key == here and one.search == self.search_id
        ]
        return any(shown is None or self._fed(one.ids) != shown.ids for one in of_this_search)

    # -- what a search depends on ----------------------------------------------------------------

    def _digest(self) -> str:
        """Digest of all that decides which candidates are tried and how they are judged."""
        claim, report = self.target.claim, self.state.report
        names = REGISTRY.recorded(claim.observables, drawn=False) | set(claim.observables)
        content = {
            "version": VERSION,
            "claim": claim.id,
            "source": _source(claim),
            "region": [claim.predicts.region.low, claim.predicts.region.high, self.bound],
            "observables": sorted([n, REGISTRY[n].version] for n in names),
            "weights": report.weights_digest,
            "tokenizer": report.tokenizer_digest,
            "layout": report.layout,
            "budget": self.by.budget.shown,
            "certify": self.by.certify,
            "seed": self.seed,
            "arm": self.target.arm,
            "prompts": self.by.harness.sources.prompts(self.target.prompts).content_hash,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _key(self, *, others: bool) -> ObservationKey:
        """Key of this search; what it found itself is no part of it, so that a rerun reads it."""
        report, settings = self.state.report, self.by.harness.sources.settings
        before = [
            asdict(one)
            for one in self.stored
            if one.search != self.search_id and (others or one.weights == report.weights_digest)
        ]
        return ObservationKey(
            weights=report.weights_digest,
            tokenizer=report.tokenizer_digest,
            prompts=self.by.harness.sources.prompts(self.target.prompts).content_hash,
            arm=self.target.arm,
            observable=f"search of {self.target.claim.id}",
            version=VERSION,
            dtype=settings.dtype,
            device=settings.device.split(":")[0],
            extra=self._digest() + hashlib.sha256(json.dumps(before).encode()).hexdigest(),
        )

    # -- the search ------------------------------------------------------------------------------

    def _search(self) -> tuple[Attack, dict[str, Json]]:
        facts = self.state.facts
        bos = facts.bos if self.target.arm == "bos" else None
        subject, words = self.by.subject(self.target.model, bos)
        longest = min(_LONGEST, facts.context - (bos is not None))
        domain = Domain(words, 1, longest)
        objective = Objective(self.target.claim, subject)
        search = Search(objective, domain, bound=self.bound, seed=self.seed, keep=self._keep(words))
        replayed = self._replay(search)
        if replayed is not None:
            return self._finish(search.result, words, replayed)
        search.run(self._seeds(subject), self.by.budget)
        attack = self._finish(search.result, words, None)
        if self.by.certify and self.universal and attack[0].counterexample is None:
            attack = self._certified(attack, objective, words, search)
        return attack

    def _replay(self, search: Search) -> Stored | None:
        """Run what is stored for these weights; what holds no longer is dropped with a note."""
        for one in self.stored:
            if one.key != (self.target.claim.id, self.state.report.weights_digest, self.target.arm):
                continue
            replayed = search.replay(one.ids)
            if replayed is None:
                gone = self.by.kept.drop(one)
                where = "dropped" if gone else "it comes with the suite: remove it there"
                search.result.dropped.append(
                    f"{one.claim} on {self.target.model}: the stored counterexample "
                    f"{one.text!r} violates no longer; {where}"
                )
                continue
            search.result.worst = replayed
            violation = Violation(replayed, one.how, one.tokens_before, one.complete)
            search.result.violation = violation
            if not one.complete and not self.by.budget.nothing:
                search.shrink(replayed, one.how, one.tokens_before, self.by.budget)
            return one
        return None

    def _seeds(self, subject: Subject) -> list[Ids]:
        """Token ids of the prompts nearest to a violation, and of what violated other weights."""
        other = [
            one.ids
            for one in self.stored
            if one.tokenizer == self.state.report.tokenizer_digest
            and max(one.ids) < self.state.facts.d_vocab
        ]
        prompts = self.by.harness.sources.prompts(self.target.prompts)
        encoded = encode(prompts, subject.loaded.tokenizer, self.state.facts, "no-bos")
        ids = dict(zip(encoded.prompt_ids, encoded.ids, strict=True))
        ordered = [ids[name] for name in self._worst_first() if name in ids]
        return [*other, *ordered[:_SEEDS]]

    def _worst_first(self) -> list[str]:
        values = self.target.values
        table = np.asarray(values.transpose("prompt", ...).values, dtype=float)
        margins = Every(self.target.claim.predicts.region).violations(
            table.reshape(table.shape[0], -1)
        )
        worst = np.where(np.isfinite(margins), margins, -np.inf).max(axis=1)
        names = [str(name) for name in values["prompt"].values]
        return [names[i] for i in np.argsort(-worst, kind="stable")]

    def _certified(
        self,
        attack: tuple[Attack, dict[str, Json]],
        objective: Objective,
        words: Vocabulary,
        search: Search,
    ) -> tuple[Attack, dict[str, Json]]:
        seed = seed_of(f"certify {self.target.claim.id}", self.target.model)
        drawn = sample(objective, words, self.by.certify, bound=self.bound, seed=seed)
        region = self.target.claim.predicts.region
        decision = certified(len(drawn.violations), drawn.draws, share=SHARE, region=region)
        said = f"{decision.reason}; drawn by {GENERATOR}"
        simplest = sorted(drawn.violations, key=lambda one: words.size_of(one.ids))
        # A packed value refutes nothing: what violates must do so alone.
        alone = (search.replay(one.ids) for one in simplest[:_RUN_ALONE])
        first = next((one for one in alone if one is not None), None)
        if first is not None:
            search.shrink(first, f"drawn by {GENERATOR}", len(first.ids), self.by.budget)
            attack = self._finish(search.result, words, None)
        elif drawn.violations:
            said = (
                f"no bound: {len(drawn.violations)} of {drawn.draws} draws violate by their packed "
                f"value, and none of the {len(simplest[:_RUN_ALONE])} run alone does"
            )
        with_report = replace(attack[0], report=replace(attack[0].report, certificate=said))
        return with_report, _plain(with_report)

    # -- what is told and kept -------------------------------------------------------------------

    def _keep(self, words: Vocabulary) -> Any:
        def keep(violation: Violation) -> None:
            if self.universal:
                self.by.kept.put(self._stored(violation, words))

        return keep

    def _stored(self, violation: Violation, words: Vocabulary) -> Stored:
        report = self.state.report
        return Stored(
            claim=self.target.claim.id,
            model=self.target.model,
            weights=report.weights_digest,
            tokenizer=report.tokenizer_digest,
            arm=self.target.arm,
            ids=violation.scored.ids,
            text=words.text(violation.scored.ids),
            value=violation.scored.value,
            region=wording.region(self.target.claim.predicts.region),
            how=violation.how,
            tokens_before=violation.tokens_before,
            complete=violation.complete,
            search=self.search_id,
        )

    def _finish(
        self, searched: Searched, words: Vocabulary, replayed: Stored | None
    ) -> tuple[Attack, dict[str, Json]]:
        worst = None if searched.worst is None else self._record(searched.worst, words)
        report = SearchReport(
            budget=self.by.budget.shown,
            seed=self.seed,
            candidates=searched.candidates,
            how=searched.how,
            shrinking=searched.shrinking,
            scored=searched.scored,
            undefined=searched.undefined,
            worst=worst,
            notes=tuple(searched.notes),
            dropped=tuple(searched.dropped),
        )
        attack = Attack(report, bound=min(self.bound, 1e300))
        if searched.violation is not None and self.universal:
            violation = searched.violation
            origin = "observed" if violation.how == "seed" else "searched"
            record = replace(
                self._record(violation.scored, words),
                origin=origin if replayed is None else "replayed",
                how=violation.how,
                tokens_before=violation.tokens_before,
                minimal=violation.complete,
                verified=True,
            )
            attack = replace(attack, counterexample=record, margin=violation.scored.margin)
        return attack, _plain(attack)

    def _record(self, one: Scored, words: Vocabulary) -> Counterexample:
        ids, tokens = self._fed(one.ids), len(one.ids)
        return Counterexample(
            words.text(one.ids), one.value, ids=ids, tokens=tokens, origin="searched"
        )

    def _fed(self, ids: Ids) -> Ids:
        """Return token ids as the model reads them, BOS put first where the arm has one."""
        first = self.state.facts.bos if self.target.arm == "bos" else None
        return ids if first is None else (first, *ids)

    def _restored(self, known: dict[str, Any]) -> Attack:
        """Read back what an equal search found."""
        report = dict(known["report"])
        worst = _counterexample(report.pop("worst"))
        notes, dropped = tuple(report.pop("notes")), tuple(report.pop("dropped"))
        return Attack(
            SearchReport(**report, worst=worst, notes=notes, dropped=dropped),
            _counterexample(known["counterexample"]),
            float(known["margin"]),
            float(known["bound"]),
        )


def _counterexample(raw: dict[str, Any] | None) -> Counterexample | None:
    return None if raw is None else Counterexample(**{**raw, "ids": tuple(raw["ids"])})


def _plain(attack: Attack) -> dict[str, Any]:
    """Return an attack as JSON holds it."""
    return {**asdict(attack), "margin": max(attack.margin, -1e300)}


def _source(claim: Claim) -> str:
    """Digest of the file that holds a claim: its body may call others of its module."""
    path = inspect.getsourcefile(claim.body)
    try:
        return hashlib.sha256(Path(path or "").read_bytes()).hexdigest()
    except OSError:
        return claim.body.__code__.co_code.hex()
