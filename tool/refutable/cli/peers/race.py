"""Run contenders side by side: first shown to find the same, then timed in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch

from refutable.cli.peers import machine
from refutable.cli.peers.arithmetic import ByName
from refutable.cli.peers.contenders import Race, Run, contenders, everything
from refutable.cli.peers.records import Report, Timing, Workload
from refutable.errors import ModelError, one_line
from refutable.models.encode import encode
from refutable.models.load import load
from refutable.models.registry import defaults, resolve
from refutable.models.sources import locate
from refutable.spec.prompts import load_prompts
from refutable.system.paths import fixtures
from refutable.system.progress import progress

EQUAL = 1e-4
"""Largest relative difference of what contenders find."""
LOOP = "prompt by prompt, a hook a block"
INSTALL = 'not installed: pip install "refutable[peers]"'
WHAT = {
    "W1": "last-token residual norms of all blocks, next-token entropy",
    "W2": "W1 and attention summaries of all heads",
    "W3": "all that the default claims record in one pass",
}


def run_peers(model: str, *, rounds: int = 7, device: str = "cpu") -> Report:
    """Race all contenders on a model and the 25 prompts of five registers.

    Parameters
    ----------
    model : str
        Anything ``--claim-model`` takes; the first default model when empty.
    rounds : int
        How often each contender is timed; they take turns, in an order that turns round.
    device : str
        Torch device.

    Raises
    ------
    ModelError
        If the model has no tokenizer, or `rounds` is no count.
    """
    if rounds < 1:
        raise ModelError(f"expected pairs of 1 or more, got pairs={rounds}")
    spec = resolve(model) if model else defaults()[0]
    loaded = load(spec, device=device)
    if loaded.tokenizer is None:
        raise ModelError(f"{loaded.facts.id} has no tokenizer, which the bench's prompts need")
    prompts = load_prompts("five-registers", [fixtures() / "prompts"])
    encoded = encode(prompts, loaded.tokenizer, loaded.facts, "no-bos")
    folder = str(locate(spec).folder)
    race = Race(loaded.model, loaded.tokenizer, encoded, device, folder)
    tokens, count = sum(map(len, encoded.ids)), len(encoded.ids)
    makers = {
        "W1": partial(contenders, race, attention=False),
        "W2": partial(contenders, race, attention=True),
        "W3": partial(everything, race),
    }
    report = Report(
        spec.id,
        count,
        tokens,
        rounds,
        device,
        torch.get_num_threads(),
        machine.machine(),
        machine.commit(),
        machine.versions(),
    )
    if device == "cpu":
        operations, multiply = machine.multiplications(race.model, tokens, count)
        alone = min(_timed(multiply, device)[1] for _ in range(rounds + 1))
        report = replace(
            report,
            matmul=operations / alone / 1e9,
            matmul_seconds=alone,
            peak=machine.peak(),
        )
    reference = contenders(race, attention=True)[LOOP]
    assert reference is not None  # noqa: S101  (it needs nothing but torch)
    expected = reference()
    workloads = [
        Workload(name, WHAT[name], _raced(make(), expected, rounds, device, name))
        for name, make in makers.items()
    ]
    return replace(report, workloads=tuple(workloads))


def _raced(
    runs: Mapping[str, Run | None], expected: ByName, rounds: int, device: str, label: str
) -> tuple[Timing, ...]:
    timings = {name: _admitted(name, run, expected, device) for name, run in runs.items()}
    racing = [(name, run) for name, run in runs.items() if run and not timings[name].absent]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in racing}
    with progress(f"timing {label}", rounds) as advance:
        for done in range(rounds):
            for name, run in racing if done % 2 else reversed(racing):
                taken[name].append(_timed(run, device))
            advance(done + 1, "")
    for name, pairs in taken.items():
        wall, cpu = zip(*pairs, strict=True)
        timings[name] = replace(timings[name], seconds=wall, cpu=cpu)
    return tuple(timings.values())


def _admitted(name: str, run: Run | None, expected: ByName, device: str) -> Timing:
    """Let a contender race if it finds what one prompt at a time gives."""
    if run is None:
        return Timing(name, absent=INSTALL)
    try:
        values_made = run()
    # Whatever another tool raises keeps it from racing and nobody else.
    except Exception as problem:
        return Timing(name, absent=one_line(problem))
    difference = max(_difference(values, expected[key]) for key, values in values_made.items())
    if not difference <= EQUAL:
        return Timing(name, difference=difference, absent=f"differs by {difference:.1e}")
    return Timing(name, memory=machine.memory_of(run, device), difference=difference)


def _difference(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference in units of the largest number; what stands behind is not compared."""
    expected, actual = expected.cpu(), actual.cpu()
    if expected.ndim > 1:
        expected = expected[:, : actual.shape[1]]
    return float((actual - expected).abs().max() / expected.abs().max())


def _timed(run: Callable[[], object], device: str) -> tuple[float, float]:
    """Wall and processor seconds of a call."""
    started, spent = time.perf_counter(), time.process_time()
    run()
    if device.startswith("cuda"):
        # A GPU works on after the call returns.
        torch.cuda.synchronize()
    return time.perf_counter() - started, time.process_time() - spent
