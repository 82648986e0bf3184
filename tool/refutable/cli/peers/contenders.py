"""The contenders: the same numbers of the same prompts, by different ways of getting at them.

Each is set up as its own documentation shows it, in the form that is fastest for this: prompts
batched with padding on the left and logits of the last token alone where that gives right numbers,
on the right where it does not. Packing prompts end to end is this engine's; the same packed forward
without any hooks is the floor.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from refutable.capture.measure import measure
from refutable.cli.peers.arithmetic import ByName, entropy_of, last_norms, padded, summaries
from refutable.measurement.available import lacking
from refutable.models.encode import Encoded
from refutable.models.sites import Sites, find_sites
from refutable.observables.registry import REGISTRY
from refutable.studies.catalogue import bundled_claims

W1 = ("residual_norm", "next_token_entropy")
ATTENTION = ("attention_entropy", "attention_first", "attention_previous")
BARE = "bare packed forward"
ENGINE = "this engine"
Run = Callable[[], ByName]


@dataclass(frozen=True, slots=True)
class Race:
    """What contenders are given."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    encoded: Encoded
    device: str
    folder: str
    """Of the model."""

    def copied(self, attention: str = "") -> PreTrainedModel:
        """A model of its own modules and the same weights; hooks of one contender stay with it."""
        shared = {id(p): p for p in self.model.parameters()}
        other: PreTrainedModel = copy.deepcopy(self.model, shared)
        if attention:
            other.set_attn_implementation(attention)
        return other


def everything(race: Race) -> dict[str, Run | None]:
    """Return the contenders of W3: all that default claims record in a pass."""
    sites = find_sites(race.model)
    asked = {name for claim in bundled_claims() for name in claim.observables}
    items = [REGISTRY[name] for name in sorted(REGISTRY.recorded(asked))]
    items = [item for item in items if item.recorder is not None and not lacking(item, sites)]

    def run() -> ByName:
        measured = measure(race.model, sites, race.encoded, items)
        return {"next_token_entropy": torch.from_numpy(measured["next_token_entropy"].values)}

    return {BARE: bare(race), f"{ENGINE}, {len(items)} observables": run}


def contenders(race: Race, *, attention: bool) -> dict[str, Run | None]:
    """Return the contenders of a workload by name; ``None`` for one that is not installed.

    Parameters
    ----------
    race : Race
        Model and prompts.
    attention : bool
        Whether summaries of the attention of all heads are asked for (W2) beside the last token's
        residual norms of all blocks and the entropy of the next token (W1).
    """
    lens = nnsight = None
    if find_spec("transformer_lens") is not None:
        lens = transformer_lens(race, attention=attention)
    if find_spec("nnsight") is not None:
        nnsight = traced(race, attention=attention)
    what = "output_attentions" if attention else "output_hidden_states"
    return {
        BARE: bare(race),
        ENGINE: engine(race, attention=attention),
        "prompt by prompt, a hook a block": loop(race, attention=attention),
        what: outputs(race, attention=attention),
        "TransformerLens run_with_cache": lens,
        "nnsight trace": nnsight,
    }


def bare(race: Race) -> Run:
    """All prompts end to end in one forward, logits at their last tokens, nothing else read."""
    place, ids = torch.device(race.device), race.encoded.ids
    tokens = torch.tensor([[i for row_ids in ids for i in row_ids]], device=place)
    positions = torch.cat([torch.arange(len(row_ids)) for row_ids in ids])[None].to(place)
    last = torch.tensor([len(row_ids) for row_ids in ids], device=place).cumsum(0) - 1
    inputs = {"input_ids": tokens, "position_ids": positions, "logits_to_keep": last}

    @torch.no_grad()
    def run() -> ByName:
        logits = race.model(**inputs, use_cache=False).logits[0]
        return {"next_token_entropy": entropy_of(logits)}

    return run


def engine(race: Race, *, attention: bool) -> Run:
    """The one pass that claims are measured with."""
    items = [REGISTRY[name] for name in (W1 + ATTENTION if attention else W1)]
    sites = find_sites(race.model)

    def run() -> ByName:
        measured = measure(race.model, sites, race.encoded, items)
        return {name: torch.from_numpy(array.values) for name, array in measured.items()}

    return run


def loop(race: Race, *, attention: bool) -> Run:
    """One prompt at a time, with a hook on each block that hands a number to the host."""
    model = race.copied("eager" if attention else "")
    sites: Sites = find_sites(model)

    def alone(ids: tuple[int, ...]) -> ByName:
        norms: list[float] = []

        def hook(_module: object, _inputs: object, output: torch.Tensor) -> None:
            stream = output[0] if isinstance(output, tuple) else output
            norms.append(float(stream[0, -1].norm()))

        hooks = [block.register_forward_hook(hook) for block in sites.blocks]
        try:
            tokens = torch.tensor([ids], device=race.device)
            out = model(input_ids=tokens, use_cache=False, output_attentions=attention)
        finally:
            for one in hooks:
                one.remove()
        values = {"residual_norm": torch.tensor([norms])}
        values["next_token_entropy"] = entropy_of(out.logits[:, -1])
        if attention:
            values |= summaries(out.attentions, padded([ids], race.device, left=False))
        return values

    @torch.no_grad()
    def run() -> ByName:
        each = [alone(ids) for ids in race.encoded.ids]
        return {name: torch.cat([values[name] for values in each]) for name in each[0]}

    return run


def outputs(race: Race, *, attention: bool) -> Run:
    """What transformers hands out itself; the last block's output comes normed, so not as such."""
    model = race.copied("eager" if attention else "")
    batch = padded(race.encoded.ids, race.device, left=True)
    asked = {"output_hidden_states": True, "output_attentions": attention, "use_cache": False}

    @torch.no_grad()
    def run() -> ByName:
        out = model(**batch.inputs, **asked, logits_to_keep=1)
        values = {"residual_norm": last_norms(out.hidden_states[1:-1], batch)}
        values["next_token_entropy"] = entropy_of(out.logits[:, -1])
        return values | (summaries(out.attentions, batch) if attention else {})

    return run


def transformer_lens(race: Race, *, attention: bool) -> Run:
    """`TransformerBridge.run_with_cache` with the names of what is wanted."""
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(
        race.folder,
        hf_model=race.copied(),
        tokenizer=race.tokenizer,
        device=race.device,
        dtype=race.model.dtype,
    )
    # With padding on the left its positions are off.
    batch = padded(race.encoded.ids, race.device, left=False)
    blocks = range(bridge.cfg.n_layers)
    streams = [f"blocks.{i}.hook_resid_post" for i in blocks]
    patterns = [f"blocks.{i}.attn.hook_pattern" for i in blocks] if attention else []

    @torch.no_grad()
    def run() -> ByName:
        logits, cache = bridge.run_with_cache(
            batch.ids, names_filter=streams + patterns, attention_mask=batch.mask
        )
        rows = torch.arange(len(batch.length), device=batch.ids.device)
        values = {"residual_norm": last_norms([cache[name] for name in streams], batch)}
        values["next_token_entropy"] = entropy_of(logits[rows, batch.last])
        return values | (summaries([cache[n] for n in patterns], batch) if attention else {})

    return run


def traced(race: Race, *, attention: bool) -> Run:
    """`nnsight`: a trace around the forward that saves what is wanted of each block."""
    import nnsight

    model = race.copied("eager" if attention else "")
    wrapped = nnsight.NNsight(model)
    batch = padded(race.encoded.ids, race.device, left=True)
    path = find_sites(race.model).structure.blocks_path
    inputs = batch.inputs | {"use_cache": False, "logits_to_keep": 1}

    @torch.no_grad()
    def run() -> ByName:
        blocks = wrapped.get(path)
        with wrapped.trace(**inputs):
            streams, patterns = nnsight.save([]), nnsight.save([])
            for block in blocks:
                if attention:
                    patterns.append(block.self_attn.output[1])
                streams.append(block.output[:, -1:])
            logits = wrapped.output.logits.save()
        norms = [stream[:, 0].float().norm(dim=-1) for stream in streams]
        values = {
            "residual_norm": torch.stack(norms, 1),
            "next_token_entropy": entropy_of(logits[:, -1]),
        }
        return values | (summaries(patterns, batch) if attention else {})

    return run
