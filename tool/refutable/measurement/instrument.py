"""Checks of the measuring instrument, made on each model before any verdict.

They answer whether what is about to be measured is what the model computes: that a packed run
equals single prompts, that hooks change nothing, that attention patterns are the model's own, that
every block is seen, and that values are finite. They also choose the layout: packed where that is
right, else right-padded, else single prompts. No architecture is known by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from refutable.capture.causality import causality
from refutable.capture.compare import BOUNDS as BOUNDS
from refutable.capture.compare import Difference, compare, relative_difference
from refutable.capture.layouts import LastLogits, Trial
from refutable.capture.measure import measure
from refutable.capture.packing import LAYOUTS, choose
from refutable.capture.plain import plain_logits, state_of
from refutable.capture.plan import needs_attention
from refutable.capture.selection import packs_to_check, plain_packs
from refutable.errors import NotAvailableError, one_line
from refutable.measurement.instrument_result import InstrumentResult
from refutable.models.structure import stated_counts
from refutable.observables.registry import REGISTRY, Observable
from refutable.observables.residual import NBlocks, ResidualNormTokens
from refutable.records import InstrumentCheck

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from refutable.capture.recorder import Recordable
    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel
    from refutable.models.sites import Sites

    Arrays = dict[str, xr.DataArray]


_KNOWN = "found on other prompts of this run, as long as these"
_LOGITS = Observable(
    name=LastLogits.name,
    description="Logits after the last token.",
    dims=("prompt", "vocab"),
    unit="logit",
    version=1,
    recorder=LastLogits,
)


def check(
    loaded: LoadedModel,
    sites: Sites,
    encoded: Encoded,
    observables: Sequence[Observable],
    *,
    bound: float | None = None,
    longest_before: int = 0,
    riding: Sequence[Recordable] = (),
) -> InstrumentResult:
    """Check the instrument on one model and choose how prompts share forward passes.

    Parameters
    ----------
    loaded : LoadedModel
        The model as it will be measured.
    sites : Sites
        Its parts.
    encoded : Encoded
        The prompts it will be measured on. Their passes are checked as the run makes them: all of
        a small set, of a larger one those that mix most, and of a large model fewer of these.
    observables : sequence of Observable
        The recorded observables that will be asked for.
    bound : float, optional
        A wider tolerance than the one in `BOUNDS` for the model's floating-point type.
    longest_before : int
        Tokens of the longest of other prompts on which the layout was found right for this very
        model in this run; 0 for none. Fewer passes of a large set are then compared, and of
        prompts that are no longer, a BOS aside, what the model alone decides is not asked again.
    riding : sequence of Recordable
        What the run's passes record besides, so that those made here need not be made again.

    Returns
    -------
    InstrumentResult
        With one `InstrumentCheck` per question; a failed one says in one line what is wrong.

    Raises
    ------
    NotAvailableError
        If the model does not have what an observable reads.
    """
    longest = max(len(ids) for ids in encoded.ids)
    known = 0 < longest <= longest_before + 1
    limits = bound, packs_to_check(loaded.model, again=longest_before > 0), known
    return _Check(loaded, sites, encoded, (observables, riding), limits).run()


class _Check:
    """One run of all checks."""

    def __init__(
        self,
        loaded: LoadedModel,
        sites: Sites,
        encoded: Encoded,
        recorded: tuple[Sequence[Observable], Sequence[Recordable]],
        limits: tuple[float | None, int, bool],
    ) -> None:
        bound, most_packs, self.known = limits
        observables, riding = recorded
        self.model: PreTrainedModel = loaded.model
        self.sites = sites
        self.dtype = str(next(self.model.parameters()).dtype).removeprefix("torch.")
        self.bound = bound or BOUNDS.get(self.dtype, BOUNDS["float32"])
        self.whole = encoded
        self.encoded = encoded.only(choose([len(ids) for ids in encoded.ids]))
        self.asked = {item.name: item for item in observables}
        self.stream = not sites.reason("blocks.0.resid_post")
        probes = [_LOGITS] if sites.unembedding is not None else []
        if self.stream:
            probes += [REGISTRY[ResidualNormTokens.name], REGISTRY[NBlocks.name]]
        if not probes:
            raise NotAvailableError(sites.reason("blocks.0.resid_post"))
        self.probes = probes
        self.attention = needs_attention([*observables, *probes])
        self.trial = Trial(
            self.model, sites, encoded, asked=list(self.asked.values()), probes=probes,
            riding=riding, bound=self.bound,
            most_packs=(most_packs, 0 if self.known else plain_packs(self.model)),
        )  # fmt: skip
        self.checks: list[InstrumentCheck] = []

    def run(self) -> InstrumentResult:
        before = state_of(self.model)
        plain = self._plain(self.encoded)
        self._memory(plain)
        reference = self._alone()
        self._blocks(reference)
        if not self._finite(reference):
            return self._result("single", reference, reference, 0.0)
        hooked = self._hooks(plain, reference)
        self._causal()
        layout, measured, reference, error = self._layout(reference)
        if self.attention:
            self._patterns(layout)
        self._clean(before)
        return self._result(layout, reference, measured, max(error, hooked))

    def _result(
        self, layout: str, reference: Arrays, measured: Arrays, error: float
    ) -> InstrumentResult:
        from refutable.capture.interface import IMPLEMENTATION

        implementation = getattr(self.model.config, "_attn_implementation", None) or "eager"
        return InstrumentResult(
            checks=tuple(self.checks),
            layout=layout,
            attention=IMPLEMENTATION if self.attention else str(implementation),
            reference={name: reference[name] for name in self.asked},
            packed={name: measured[name] for name in self.asked},
            error=error,
            made=self.trial.made if layout != "single" else {},
        )

    def _alone(self) -> Arrays:
        every = [*self.asked.values(), *self.probes]
        return measure(self.model, self.sites, self.encoded, every, layout="single", finite=False)

    def _add(
        self, name: str, passed: bool, detail: str, value: float | None = None, bound: float = 0.0
    ) -> None:
        known = value is not None and np.isfinite(value)
        limits = (value if known else None, None if value is None else bound)
        self.checks.append(InstrumentCheck(name, passed, *limits, detail))

    def _plain(self, encoded: Encoded) -> Mapping[str, NDArray[np.generic]]:
        if self.sites.unembedding is None:
            return {}
        return plain_logits(self.model, encoded, self.sites.structure.d_vocab)

    def _blocks(self, reference: Arrays) -> None:
        if not self.stream:
            return
        seen = int(reference[NBlocks.name])
        counts = stated_counts(self.model.config.get_text_config())
        stated = seen if seen in counts else counts[0]
        self._add(
            "blocks",
            seen == stated,
            f"{seen} blocks ran, the config states {stated}",
            float(seen),
            float(stated),
        )

    def _finite(self, reference: Arrays) -> bool:
        if not self.stream:
            return self._finite_logits(reference)
        norms = reference[ResidualNormTokens.name].values
        lengths = np.array([len(ids) for ids in self.encoded.ids])
        inside = np.arange(norms.shape[2]) < lengths[:, None]
        bad = (~np.isfinite(norms) & inside[:, None, :]).any(axis=(0, 2))
        detail = f"values of all {bad.size} blocks are finite"
        if bad.any():
            detail = f"block {int(bad.argmax())} gives values that are not finite in {self.dtype}"
        elif _LOGITS.name in reference:
            return self._finite_logits(reference, detail)
        self._add("finite", not bad.any(), detail)
        return not bool(bad.any())

    def _finite_logits(self, reference: Arrays, detail: str = "logits are finite") -> bool:
        logits = reference[_LOGITS.name].values
        # A model may rule a token out with -inf.
        bad = bool(np.isnan(logits).any() or np.isposinf(logits).any())
        self._add("finite", not bad, f"logits are not finite in {self.dtype}" if bad else detail)
        return not bad

    def _hooks(self, plain: Mapping[str, NDArray[np.generic]], reference: Arrays) -> float:
        if not plain:
            return 0.0
        import xarray as xr

        wanted = xr.DataArray(
            np.stack(list(plain.values())), dims=("prompt", "vocab"), coords={"prompt": [*plain]}
        )
        difference = compare(reference, {_LOGITS.name: wanted}, ranged=_LOGITS.name)
        self._add(
            "hooks change nothing",
            difference.value <= self.bound,
            f"logits with and without hooks differ by {difference.value:.1e} of their range",
            difference.value,
            self.bound,
        )
        return difference.value

    def _memory(self, plain: Mapping[str, NDArray[np.generic]]) -> None:
        """Prompts ran by rising length: after the longest they must give the same again."""
        if not plain:
            return
        if self.known:
            self._add("no memory of other prompts", True, _KNOWN)
            return
        indices = sorted({0, max(len(self.encoded) - 2, 0)})
        again = self._plain(self.encoded.only(indices))
        gaps = [
            relative_difference(value, plain[name], by_range=True)
            for name, value in again.items()
            if name in plain
        ]
        worst = max(gaps, default=0.0)
        detail = f"a prompt gives the same after a longer one, to {worst:.1e}"
        if worst > self.bound:
            detail = (
                f"logits of a prompt move by {worst:.1e} of their range after a longer prompt: the "
                "model keeps something from prompt to prompt"
            )
        self._add("no memory of other prompts", worst <= self.bound, detail, worst, self.bound)

    def _causal(self) -> None:
        if self.known:
            self._add("causal", True, _KNOWN)
            return
        trial = causality(self.model, self.sites, self.whole)
        # Alike rows of one product differ by rounding alone, which half precision makes large.
        bound = self.bound if self.dtype in ("float16", "bfloat16") else self.bound / 10
        detail = trial.told(bound)
        passed = trial.before <= bound and trial.at > 0
        self._add("causal", passed, detail, trial.before, bound)

    def _layout(self, reference: Arrays) -> tuple[str, Arrays, Arrays, float]:
        refused: list[str] = []
        for layout in LAYOUTS[:-1]:
            try:
                measured, alone, difference = self.trial.run(layout)
            # An architecture may refuse position ids or masks in any way it likes.
            except Exception as error:
                refused.append(f"{layout} refused ({one_line(error, most=160)})")
                continue
            if measured is None:
                refused.append(f"{layout}: no two prompts share a pass")
            elif difference.value <= self.bound:
                self._chosen(layout, refused, difference, measured)
                return layout, measured, alone, difference.value
            else:
                refused.append(
                    f"{layout} refused ({difference.what} off by {difference.value:.1e})"
                )
        self._chosen("single", refused, Difference(0.0), reference)
        return "single", reference, reference, 0.0

    def _chosen(
        self, layout: str, refused: list[str], difference: Difference, measured: Arrays
    ) -> None:
        compared = max(a.sizes["prompt"] for a in measured.values() if "prompt" in a.dims)
        equal = f"{layout} equals single prompts to {difference.value:.1e} ({compared} compared)"
        detail = "; ".join(
            [*refused, "prompts are run one by one" if layout == "single" else equal]
        )
        self._add("layout", True, detail, difference.value, self.bound)

    def _patterns(self, layout: str) -> None:
        from refutable.capture.patterns import compare_patterns

        comparison = compare_patterns(self.model, self.sites, self.encoded, layout)
        blocks = len(self.sites.blocks)
        self._add(
            "attention is read once per block",
            comparison.once,
            f"{comparison.calls} of {blocks} blocks by the registered function, "
            f"{blocks - comparison.calls} by a hook on the module",
        )
        self._add(
            "attention agrees with the model's own",
            comparison.difference <= self.bound,
            f"patterns differ from eager attention by {comparison.difference:.1e} at most",
            comparison.difference,
            self.bound,
        )
        kind = (
            "sum to 1" if comparison.own_excess <= self.bound else "sum to what the model's own do"
        )
        self._add(
            "attention rows",
            comparison.lowest >= 0 and comparison.excess <= self.bound,
            f"rows are {comparison.lowest:.1e} or more and {kind}, to {comparison.excess:.1e}",
            comparison.excess,
            self.bound,
        )

    def _clean(self, before: tuple[int, tuple[str, ...]]) -> None:
        after = state_of(self.model)
        left = after[0] - before[0]
        detail = f"{left} hooks remain" if left else "none remains"
        if after[1] != before[1]:
            detail = f"the attention implementation is {after[1]} and was {before[1]}"
        self._add("no hook remains", after == before, detail)
