"""What hooked inference costs on a model: interleaved timings of one run, as ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from refutable.capture.measure import measure
from refutable.cli.listing import make_table
from refutable.errors import ModelError
from refutable.models.encode import encode
from refutable.models.load import load
from refutable.models.registry import defaults, resolve
from refutable.models.sites import find_sites
from refutable.observables.registry import REGISTRY
from refutable.spec.prompts import load_prompts
from refutable.system.paths import fixtures
from refutable.system.progress import progress

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel

RESIDUAL_AND_LOGITS = ("residual_norm", "mean_log_residual_norm", "next_token_entropy", "top_token")
ATTENTION = ("attention_entropy", "attention_first", "attention_previous")


def run_bench(model: str, *, pairs: int = 30, device: str = "cpu") -> Table:
    """Time hooked passes against the same packed forward without hooks.

    Parameters
    ----------
    model : str
        Anything ``--claim-model`` takes; the first default model when empty.
    pairs : int
        How often each way is run; the ways take turns, so that a busy machine slows all.
    device : str
        Torch device.

    Returns
    -------
    rich.table.Table
        Median seconds of each way and its ratio to the packed pass without hooks.
    """
    if pairs < 1:
        raise ModelError(f"expected pairs of 1 or more, got pairs={pairs}")
    spec = resolve(model) if model else defaults()[0]
    loaded = load(spec, device=device)
    ways = _ways(loaded, _prompts(loaded))
    seconds = _interleave(ways, pairs, device)
    return _table(spec.id, seconds, pairs)


def _prompts(loaded: LoadedModel) -> Encoded:
    if loaded.tokenizer is None:
        raise ModelError(f"{loaded.facts.id} has no tokenizer, which the bench's prompts need")
    prompts = load_prompts("five-registers", [fixtures() / "prompts"])
    return encode(prompts, loaded.tokenizer, loaded.facts, "no-bos")


def _ways(loaded: LoadedModel, encoded: Encoded) -> dict[str, Callable[[], object]]:
    import torch

    model, sites = loaded.model, find_sites(loaded.model)
    place = torch.device(loaded.device)
    tokens = torch.tensor([[i for ids in encoded.ids for i in ids]], device=place)
    starts = [torch.arange(len(ids)) for ids in encoded.ids]
    positions = torch.cat(starts)[None].to(place)
    last = torch.tensor([len(ids) for ids in encoded.ids], device=place).cumsum(0) - 1

    @torch.no_grad()
    def bare() -> object:
        return model(
            input_ids=tokens, position_ids=positions, use_cache=False, logits_to_keep=last
        ).logits

    def hooked(names: tuple[str, ...]) -> Callable[[], object]:
        items = [REGISTRY[name] for name in names]
        budget = tokens.shape[1]
        return lambda: measure(model, sites, encoded, items, token_budget=budget)

    @torch.no_grad()
    def loop() -> list[float]:
        norms: list[float] = []
        # One value per block read to the host, as notebooks do it.
        hooks = [
            block.register_forward_hook(
                lambda _m, _a, out: norms.append(float(_stream(out)[0, -1].norm()))
            )
            for block in sites.blocks
        ]
        try:
            for ids in encoded.ids:
                model(input_ids=torch.tensor([ids], device=place), use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return norms

    return {
        "packed, no hooks": bare,
        "packed, residual and logits": hooked(RESIDUAL_AND_LOGITS),
        "packed, with attention": hooked(RESIDUAL_AND_LOGITS + ATTENTION),
        "prompt by prompt, hook per block": loop,
    }


def _stream(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


def _interleave(
    ways: Mapping[str, Callable[[], object]], pairs: int, device: str
) -> dict[str, list[float]]:
    import torch

    def timed(run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        if device.startswith("cuda"):
            # A GPU works on after the call returns.
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for run in ways.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with progress("timing", pairs) as advance:
        for done in range(pairs):
            names = list(ways) if done % 2 else list(ways)[::-1]
            for name in names:
                seconds[name].append(timed(ways[name]))
            advance(done + 1, "")
    return seconds


def _table(model: str, seconds: Mapping[str, list[float]], pairs: int) -> Table:
    table = make_table(f"{model}, 25 prompts, {pairs} interleaved runs", "median", "ratio")
    base = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        median = statistics.median(values)
        table.add_row(name, f"{median * 1e3:,.1f} ms", f"{median / base:.2f}")
    return table
