"""Record observables of a model on a prompt set in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from refutable.capture.packing import make_packs, make_rows, nested, within
from refutable.capture.plan import Plan, make_plan
from refutable.capture.recorder import Recordable
from refutable.errors import InstrumentError
from refutable.models.placement import input_device

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from refutable.capture.packing import Pack
    from refutable.models.encode import Encoded
    from refutable.models.sites import Sites

    Array = NDArray[np.generic]
    Made = MutableMapping[Pack, dict[str, Array]]
    """What passes gave that were made already: by pass, each observable's numbers."""

# Tokens per pass where the caller gives none. On a CPU a few hundred rows fill the matrix units,
# and masked attention grows with the square of the width: in a model of 135M parameters it is a
# tenth of the arithmetic at 285 tokens and a third at 1024.
_CPU_BUDGET = 512
_ACCELERATOR_BUDGET = 8192
# Logits of one pass hold at most this many numbers (256 MB in float32).
_MOST_LOGITS = 1 << 26


def measure(
    model: PreTrainedModel,
    sites: Sites,
    encoded: Encoded,
    observables: Sequence[Recordable],
    *,
    layout: str = "packed",
    token_budget: int | None = None,
    packs: Sequence[Pack] | None = None,
    finite: bool = True,
    made: Made | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, xr.DataArray]:
    """Record observables of a model on a prompt set.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In eval mode, on any device, in any floating-point type. Reductions are made in float32.
    sites : Sites
        Where its parts are (`refutable.models.sites.find_sites`).
    encoded : Encoded
        Token ids, ids and families of the prompts.
    observables : sequence of Observable
        Recorded observables; each prompt is run once however many there are.
    layout : {"packed", "padded", "single"}
        How prompts share forward passes. Only a layout that
        `refutable.measurement.instrument.check` found to
        equal single prompts is right.
    token_budget : int, optional
        Tokens per pass; by default 512 on a CPU, 8192 elsewhere, and never more than the model's
        context.
    packs : sequence of Pack, optional
        Some of the passes of `passes_of`: only they are run, and only their prompts come back.
    finite : bool
        Whether to refuse numbers that are not finite where a sound model gives none.
    made : mutable mapping, optional
        Passes over the same prompts that were made already, with what they gave: they are not made
        again where they hold all that is asked for. Passes that are made are added.
    say : callable, optional
        Told in one line when passes did not fit in memory and smaller ones were made.

    Returns
    -------
    dict of str to xarray.DataArray
        By observable name, with the dimensions the observable states, coordinate ``prompt`` (ids),
        ``family`` along it, and integers along ``layer``, ``head`` and ``position``.

    Raises
    ------
    InstrumentError
        If nothing is selected, a block was not captured exactly once, or a prompt gives numbers
        that are not finite.
    NotAvailableError
        If the model has no such site.
    """
    plan = make_plan(observables)
    if packs is None:
        packs = passes_of(model, encoded, plan, layout, token_budget)
    names = [item.name for item in plan.observables]
    known = [pack for pack in packs if made and made.get(pack, {}).keys() >= set(names)]
    packs = [pack for pack in packs if pack not in known]
    packs, parts = run_packs(model, sites, encoded, observables, packs=packs, say=say)
    if made is not None:
        for at, pack in enumerate(packs):
            made.setdefault(pack, {}).update({name: parts[name][at] for name in names})
        for pack in known:
            packs.append(pack)
            for name in names:
                parts[name].append(made[pack][name])
    return gathered(plan, packs, parts, encoded, dtype=_dtype(model) if finite else "")


def run_packs(
    model: Any,
    sites: Sites,
    encoded: Encoded,
    observables: Sequence[Recordable],
    *,
    packs: Sequence[Pack],
    say: Callable[[str], None] | None = None,
) -> tuple[list[Pack], dict[str, list[Array]]]:
    """Run packs, in halves where one does not fit in memory; the packs that ran, and their parts.

    What follows a pack that did not fit is not tried any larger than its half. Parameters are those
    of `measure`; `join` puts the parts together.
    """
    from refutable.capture.hooks import Capture, NoRoomError

    parts: dict[str, list[Array]] = {item.name: [] for item in make_plan(observables).observables}
    waiting, ran = list(packs), []
    while waiting:
        try:
            # Recorders of a pass that was broken off keep what they saw: they are made anew.
            with Capture(model, sites, make_plan(observables)) as capture:
                while waiting:
                    for name, value in capture.run(waiting[0], encoded.ids).items():
                        parts[name].append(value.numpy())
                    ran.append(waiting.pop(0))
        except NoRoomError as problem:
            if len(waiting[0].segments) == 1:
                raise InstrumentError(
                    f"prompt {encoded.prompt_ids[waiting[0].prompts[0]]} alone is too much "
                    f"({problem}): shorten it, measure in a smaller type, or on another device"
                ) from None
            most = waiting[0].tokens // 2
            if say is not None:
                say(f"{problem}: going on with at most {most} tokens a pass")
            waiting = [part for pack in waiting for part in within(pack, most)]
    return ran, parts


def gathered(
    plan: Plan,
    packs: Sequence[Pack],
    parts: Mapping[str, list[Array]],
    encoded: Encoded,
    *,
    dtype: str,
) -> dict[str, xr.DataArray]:
    """Put together what the packs of a run gave.

    Parameters
    ----------
    plan : Plan
        What was recorded.
    packs : sequence of Pack
        Those that ran.
    parts : mapping of str to list of array
        By observable, what each pack gave.
    encoded : Encoded
        All prompts.
    dtype : str
        Type of the model's numbers, for the refusal of such as are not finite; empty to let them
        pass.
    """
    ran = [prompt for pack in packs for prompt in pack.prompts]
    order = np.argsort(ran)
    by_token = _token_order(ran, encoded)
    labels = _Labels(encoded.only(sorted(ran)) if len(ran) < len(encoded) else encoded)
    arrays = {
        item.name: labels.array(item, parts[item.name], by_token if _is_ragged(item) else order)
        for item in plan.observables
    }
    for recorder in plan.recorders if dtype else ():
        if recorder.finite:
            _refuse_infinite(arrays[recorder.name], encoded, dtype)
    return arrays


def _dtype(model: PreTrainedModel) -> str:
    return str(next(model.parameters()).dtype).removeprefix("torch.")


def _refuse_infinite(array: xr.DataArray, encoded: Encoded, dtype: str) -> None:
    """Name the first prompt whose values are not finite: no verdict may rest on the others alone.

    Raises
    ------
    InstrumentError
        With the block, and how many prompts there are.
    """
    bad = ~np.isfinite(array.values)
    if "position" in array.dims:
        lengths = {
            name: len(ids) for name, ids in zip(encoded.prompt_ids, encoded.ids, strict=True)
        }
        counts = np.array([lengths[str(name)] for name in array["prompt"].values])
        inside = np.arange(array.sizes["position"]) < counts[:, None]
        bad &= inside.reshape(inside.shape[0], *(1,) * (bad.ndim - 2), inside.shape[1])
    by_prompt = bad.reshape(bad.shape[0], -1).any(-1)
    if not by_prompt.any():
        return
    first = int(by_prompt.argmax())
    block = ""
    if "layer" in array.dims:
        at = np.moveaxis(bad[first], array.dims.index("layer") - 1, 0)
        block = f" in block {int(at.reshape(at.shape[0], -1).any(-1).argmax())}"
    raise InstrumentError(
        f"{int(by_prompt.sum())} of {len(by_prompt)} prompts give values that are not finite in "
        f"{dtype} (the first is {array['prompt'].values[first]}, {array.name}{block}): measure in "
        "float32, or leave them out"
    )


def _is_ragged(item: Recordable) -> bool:
    """Whether an observable has a row for each token, prompt after prompt, without padding."""
    return item.dims[:1] == ("token",)


def _token_order(ran: Sequence[int], encoded: Encoded) -> Array:
    """Where the rows of each token lie when prompts were run in another order than the set's."""
    prompt = np.repeat(ran, [len(encoded.ids[i]) for i in ran])
    return np.argsort(prompt, kind="stable")


def passes_of(
    model: PreTrainedModel,
    encoded: Encoded,
    plan: Plan,
    layout: str,
    token_budget: int | None = None,
) -> tuple[Pack, ...]:
    """Lay the prompts of a run out in its passes."""
    lengths = [len(ids) for ids in encoded.ids]
    budget, most = _limits(model, plan, token_budget)
    return make_packs(lengths, layout, token_budget=budget, most_prompts=most)


def nested_passes_of(
    model: PreTrainedModel,
    lengths: Sequence[int],
    parts: Sequence[Sequence[int]],
    plan: Plan,
    layout: str,
) -> tuple[Pack, ...]:
    """Lay beginnings of prompts out in the passes of the whole prompts.

    Prompts of one length lie in rows, without any padding, unless the layout is ``single``.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal one.
    lengths : sequence of int
        Tokens of the whole prompts.
    parts : sequence of sequence of int
        For each of them the lengths of its beginnings, the longest first.
    plan : Plan
        What is recorded; neither patterns nor logits at every token.
    layout : str
        As for `measure`.
    """
    budget, most = _limits(model, plan, None)
    if layout == "single":
        return nested(make_packs(lengths, layout, token_budget=budget), parts)
    rows = 2 * _CPU_BUDGET if _on_cpu(model) else _ACCELERATOR_BUDGET
    if most is not None:
        # Each beginning has logits of its own, and there are no more of them than tokens.
        budget, rows = min(budget, most), min(rows, most)
    return nested(make_rows(lengths, width=budget, token_budget=rows, most_prompts=most), parts)


def _limits(model: PreTrainedModel, plan: Plan, token_budget: int | None) -> tuple[int, int | None]:
    config = model.config.get_text_config()
    budget = token_budget or (_CPU_BUDGET if _on_cpu(model) else _ACCELERATOR_BUDGET)
    context = getattr(config, "max_position_embeddings", None)
    if isinstance(context, int) and context > 0:
        # Some architectures keep mask tables of this size; a pack must not be wider than they are.
        budget = min(budget, context)
    most_rows = max(1, _MOST_LOGITS // int(config.vocab_size))
    if plan.logits == "all":
        budget = min(budget, most_rows)
    return budget, most_rows if plan.logits == "last" else None


def _on_cpu(model: PreTrainedModel) -> bool:
    # A model that is streamed runs on the CPU, and lies on no device while it does not.
    return input_device(model).type in ("cpu", "meta")


class _Labels:
    """Makes labelled arrays; those of one shape share their coordinates."""

    def __init__(self, encoded: Encoded) -> None:
        self._encoded = encoded
        self._made: dict[tuple[tuple[str, ...], tuple[int, ...]], xr.DataArray] = {}

    def array(self, item: Recordable, parts: list[Array], order: Array) -> xr.DataArray:
        values = join(item, parts, order)
        key = (item.dims, values.shape)
        if key not in self._made:
            self._made[key] = self._template(item.dims, values.shape)
        # Building coordinates takes a millisecond, copying an array that has them does not.
        array = self._made[key].copy(deep=False, data=values)
        array.name = item.name
        array.attrs = {"unit": item.unit}
        return array

    def _template(self, dims: tuple[str, ...], shape: tuple[int, ...]) -> xr.DataArray:
        import xarray as xr

        coords: dict[str, object] = {}
        for dim, size in zip(dims, shape, strict=True):
            if dim == "prompt":
                coords["prompt"] = np.asarray(self._encoded.prompt_ids)
                coords["family"] = ("prompt", np.asarray(self._encoded.families))
            elif dim in ("layer", "head", "position", "expert"):
                coords[dim] = np.arange(size)
        return xr.DataArray(np.empty(shape), dims=dims, coords=coords)


def join(item: Recordable, parts: list[Array], order: Array) -> Array:
    """Put together what the packs of a run gave for one observable, rows in the given order."""
    if item.per_prompt:
        ordered: Array = _join(parts)[order]
        return ordered
    if any(not np.array_equal(part, parts[0]) for part in parts):
        raise InstrumentError(f"{item.name}: a fact of the model alone differs between passes")
    return parts[0]


def _join(parts: list[Array]) -> Array:
    """Concatenate along prompts; other dimensions (positions) are filled with NaN to one size."""
    shape = np.max([part.shape[1:] for part in parts], axis=0) if parts[0].ndim > 1 else ()
    if all(part.shape[1:] == tuple(shape) for part in parts):
        return np.concatenate(parts)
    padded = []
    for part in parts:
        whole = np.full((part.shape[0], *shape), np.nan, dtype=part.dtype)
        whole[tuple(slice(size) for size in part.shape)] = part
        padded.append(whole)
    return np.concatenate(padded)
