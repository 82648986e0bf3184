"""Names of tensors in a checkpoint against names in the module tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

Shape = tuple[int, ...]


def match_names(
    held: Mapping[str, Shape], wanted: Mapping[str, Shape], prefix: str = ""
) -> dict[str, str]:
    """Find under which name a checkpoint holds each parameter.

    Parameters
    ----------
    held : mapping of str to shape
        Tensors of the checkpoint.
    wanted : mapping of str to shape
        Parameters and buffers of the module tree.
    prefix : str
        What a checkpoint of a base model leaves out, e.g. ``transformer.``.

    Returns
    -------
    dict of str to str
        Name in the checkpoint by name in the module tree; what is found under none is left out.

    Notes
    -----
    Older checkpoints have other prefixes (``language_model.model.layers`` for
    ``model.language_model.layers``): a name then counts when no other tensor of that shape has as
    many last components in common, or as many components at all.
    """
    names = {}
    endings: dict[str, list[str]] = defaultdict(list)
    for name in held:
        parts = name.split(".")
        for at in range(len(parts)):
            endings[".".join(parts[at:])].append(name)
    for name, shape in wanted.items():
        exact = (name, name.removeprefix(prefix), prefix + name)
        direct = next((candidate for candidate in exact if candidate in held), None)
        other = direct or _by_ending(name, shape, held, endings)
        if other is not None:
            names[name] = other
    return names


def _by_ending(
    name: str, shape: Shape, held: Mapping[str, Shape], endings: Mapping[str, list[str]]
) -> str | None:
    parts = name.split(".")
    for at in range(1, len(parts) - 1):
        alike = [
            n
            for n in endings.get(".".join(parts[at:]), ())
            if held[n] == shape and _numbers(n.split(".")) == _numbers(parts)
        ]
        if alike:
            shared = {n: len(set(n.split(".")) & set(parts)) for n in alike}
            most = max(shared.values())
            best = [n for n, count in shared.items() if count == most]
            return best[0] if len(best) == 1 else None
    return None


def _numbers(parts: list[str]) -> list[str]:
    """Blocks, experts and the like: they must be the same."""
    return [part for part in parts if part.isdigit()]
