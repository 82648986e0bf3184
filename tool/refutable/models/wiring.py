"""How the parts of one block are wired, read from a recorded run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import nn

from refutable.models.structure import Structure
from refutable.models.trace import Call, Trace, same


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Where a site of a block is read."""

    path: str
    """Path inside the block."""
    module: nn.Module
    at: Literal["input", "output"]
    dims: tuple[str, ...] = ("batch", "position", "dim")
    writable: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Wiring:
    """The sites of one block, each a part or the reason why there is none."""

    parts: dict[str, Part | str]
    norm_kinds: dict[str, str]
    """Full path of each stream norm of the block to its place."""


def wire(structure: Structure, run: Trace, layer: int, experts: int = 0) -> Wiring:
    """Read the wiring of block `layer` from a run; `experts` is what the config states, if any.

    Notes
    -----
    Sums and equalities are tested on the recorded tensors, within `Trace.tolerance` of the
    larger one. Attention comes before the feed-forward where both are called, and beside it in
    a parallel block.
    """
    reader = _BlockReader(structure, run, layer)
    parts: dict[str, Part | str] = {}
    parts["attn_out"], parts["mlp_out"] = reader.sublayers()
    parts["resid_mid"] = reader.middle()
    parts |= reader.norm_outputs()
    parts |= reader.feed_forward()
    parts["attn.z"] = reader.heads()
    parts["router"] = reader.router(experts)
    return Wiring(parts, reader.norm_kinds)


class _BlockReader:
    def __init__(self, structure: Structure, run: Trace, layer: int) -> None:
        self.structure = structure
        self.run = run
        self.layer = layer
        self.calls = run.inside[layer]
        self.given, self.made = run.given[layer], run.made[layer]
        self.prefix = f"{structure.blocks_path}.{layer}."
        self.attention = structure.attention_paths[layer].removeprefix(self.prefix)
        self.norm_paths = {
            norm.slot for norm in structure.norms if norm.layer == layer and norm.stream
        }
        self.norms = [call for call in self.calls if call.path in self.norm_paths]
        self.at_attention = next(
            (at for at, call in enumerate(self.calls) if call.path == self.attention), None
        )
        self.attn_out: Call | None = None
        self.mlp_out: Call | None = None
        self.norm_kinds = self._norm_kinds()

    def _equal(self, left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
        return same(left, right, self.run.tolerance)

    def _norm_kinds(self) -> dict[str, str]:
        sublayers = [
            call for call in self.calls if "." not in call.path and call.path not in self.norm_paths
        ]
        stream = any(self._equal(norm.made, self.made) for norm in self.norms)
        norm_kinds = {}
        for norm in self.norms:
            # What such a norm makes is added to the stream; what a sublayer reads is before that.
            after = any(self._equal(norm.given, call.made) for call in sublayers) and not any(
                self._equal(norm.made, call.given) for call in self._later(norm, sublayers)
            )
            place = "post" if after else "stream" if stream else "pre"
            norm_kinds[self.prefix + norm.path] = place
        return norm_kinds

    def _later(self, norm: Call, calls: list[Call]) -> list[Call]:
        ahead = self.calls[: self.calls.index(norm)]
        passes = nn.Dropout | nn.Identity
        return [c for c in calls if c not in ahead and not isinstance(c.module, passes)]

    def _place(self, call: Call) -> str:
        return self.norm_kinds[self.prefix + call.path]

    def sublayers(self) -> tuple[Part | str, Part | str]:
        """Find what attention and feed-forward add, as the first pair that adds up."""
        if self.at_attention is None:
            reason = f"block {self.layer} has no attention module"
            return reason, reason
        if "stream" in self.norm_kinds.values():
            reason = "the block normalizes the stream itself, so its sublayers do not add up"
            return reason, reason
        firsts, seconds = self._attention_ends(), self._feed_forward_ends()
        for first, second in product(firsts, seconds):
            if self._adds_up(first, second):
                self.attn_out, self.mlp_out = first, second
                self._settle_norm_kinds()
                return _output(first), _output(second)
        reason = "resid_pre + attention + feed-forward does not give resid_post in this block"
        return reason, reason

    def _settle_norm_kinds(self) -> None:
        # A norm that reads a sublayer's result is not after it when that result already holds
        # the residual stream: only what is added to the stream can be normalized after.
        ends = (self.attn_out, self.mlp_out)
        for norm in self.norms:
            path = self.prefix + norm.path
            if self.norm_kinds[path] == "post" and norm not in ends:
                self.norm_kinds[path] = "pre"

    def _adds_up(self, first: Call, second: Call) -> bool:
        assert first.made is not None  # noqa: S101  (both are filtered by shape)
        assert second.made is not None  # noqa: S101
        return self._equal(self.given + first.made + second.made, self.made)

    def _shaped(self, calls: list[Call]) -> list[Call]:
        # A module that runs twice in a block (a shared dropout) cannot stand for one sublayer.
        paths = [c.path for c in self.calls]
        return [
            c
            for c in calls
            if c.made is not None
            and c.made.shape == self.given.shape
            and paths.count(c.path) == 1
            and not isinstance(c.module, nn.Dropout | nn.Identity)
        ]

    def _attention_ends(self) -> list[Call]:
        of_attention = [c for c in self.calls if c.path == self.attention]
        made = of_attention[-1].made
        post = [c for c in self.norms if self._place(c) == "post" and self._equal(c.given, made)]
        # Some attention modules add the residual themselves: what they add is made inside.
        inside = [c for c in reversed(self.calls) if c.path.startswith(self.attention + ".")]
        return self._shaped([*post, *of_attention, *inside])

    def _feed_forward_ends(self) -> list[Call]:
        attention = (self.attention, self.attention + ".")
        others = [
            c
            for c in reversed(self.calls)
            if c.path != self.attention and not c.path.startswith(attention[1])
        ]
        outer = [c for c in others if "." not in c.path]
        post = [c for c in outer if c.path in self.norm_paths and self._place(c) == "post"]
        direct = [c for c in outer if c.path not in self.norm_paths]
        inside = [c for c in others if "." in c.path]
        return self._shaped([*post, *direct, *inside])

    def middle(self) -> Part | str:
        """Find where the stream between the sublayers is read."""
        if self.attn_out is None or self.attn_out.made is None:
            stream = [c for c in self.norms if self._place(c) == "stream"]
            if len(stream) == 2:
                return _output(stream[0])
            return "attn_out is not available in this block"
        middle = self.given + self.attn_out.made
        paths = [call.path for call in self.calls]
        for call in self.calls[self.at_attention or 0 :]:
            inside = call.path.startswith(self.attention + ".") or call.path == self.attention
            direct = not inside and "." not in call.path and paths.count(call.path) == 1
            if direct and self._equal(call.given, middle):
                # The residual connection takes the stream past this module.
                return Part(call.path, call.module, "input", writable=False)
        return "attention and feed-forward read the same stream (a parallel block)"

    def norm_outputs(self) -> dict[str, Part | str]:
        """Name the norms of the block in the order in which they run."""
        before = [c for c in self.norms if self._place(c) == "pre"]
        after = [c for c in self.norms if self._place(c) == "post"]
        parts: dict[str, Part | str] = {}
        reads = [c for c in self.calls if c.path == self.attention]
        read = [c for c in before if any(self._equal(c.made, call.given) for call in reads)]
        if read:
            one, two = read[-1:], before[before.index(read[-1]) + 1 :][:1]
        else:
            # The first norm stands before attention, unless it runs only after it.
            early = before and self.calls.index(before[0]) < (self.at_attention or 0)
            one, two = (before[:1], before[1:2]) if early else ([], before[:1])
        for name, calls in (("ln1", one), ("ln2", two)):
            parts[name] = _output(calls[0]) if calls else "the block has no such norm"
        for name, of_attention in (("ln1_post", True), ("ln2_post", False)):
            match = [c for c in after if self._is_after_attention(c) is of_attention]
            parts[name] = _output(match[0]) if match else "the block has no norm there"
        return parts

    def _is_after_attention(self, norm: Call) -> bool:
        """Whether a norm of a sublayer's result is that of attention's."""
        if self.attn_out is not None:
            return norm.path == self.attn_out.path
        inside = (self.attention, self.attention + ".")
        return any(
            self._equal(norm.given, call.made)
            for call in self.calls
            if call.path == inside[0] or call.path.startswith(inside[1])
        )

    def feed_forward(self) -> dict[str, Part | str]:
        """Find the nonlinearity of the feed-forward and the projection that follows it."""
        names = ("mlp.pre", "mlp.post")
        if self.mlp_out is None:
            return dict.fromkeys(names, "mlp_out is not available in this block")
        inside = [
            c
            for c in self.calls
            if not c.path.startswith(self.attention + ".")
            and c.path != self.attention
            and c.path not in self.norm_paths
        ]
        down = [c for c in inside if _projects(c) and c.made is not None]
        # What it makes is what the feed-forward makes, or what a norm after it reads.
        ends = [self.mlp_out.made, *(c.given for c in self.norms if self._place(c) == "post")]
        down = [
            c
            for c in self._shaped(down)
            if c.given is not None and any(self._equal(c.made, end) for end in ends)
        ]
        bends = [c for c in inside if _bends(c)]
        reason = "no single nonlinearity and projection in the feed-forward"
        if not down or len(bends) != 1 or not _alike(bends[0].made, down[-1].given):
            return dict.fromkeys(names, reason)
        dims = ("batch", "position", "neuron")
        return {
            "mlp.pre": Part(bends[0].path, bends[0].module, "input", dims),
            "mlp.post": Part(down[-1].path, down[-1].module, "input", dims),
        }

    def router(self, experts: int) -> Part | str:
        """Find the module that makes a logit an expert of each token."""
        for call in self.calls if experts > 1 else ():
            weight = getattr(call.module, "weight", None)
            if not isinstance(weight, torch.Tensor) or call.given is None:
                continue
            if tuple(weight.shape) != (experts, call.given.shape[-1]):
                continue
            logits = call.given @ weight.detach().to("cpu", torch.float32).T
            bias = getattr(call.module, "bias", None)
            if isinstance(bias, torch.Tensor) and bias.shape == (experts,):
                logits = logits + bias.detach().to("cpu", torch.float32)
            if self._equal(call.made, logits):
                dims = ("batch", "position", "expert")
                return Part(call.path, call.module, "output", dims, writable=False)
            return f"the router of block {self.layer} hands out no logits"
        return f"block {self.layer} has no router"

    def heads(self) -> Part | str:
        """Find the projection that mixes the heads: its input is what the heads made."""
        inside = [c for c in self.calls if c.path.startswith(self.attention + ".")]
        mixing = [c for c in self._shaped(inside) if _projects(c)]
        if not self.attention or not mixing:
            return f"block {self.layer} has no projection after its heads"
        last = mixing[-1]
        # What mixes the heads makes what attention gives, or what is added to the stream of it.
        whole = [c for c in self.calls if c.path == self.attention]
        given = [c.made for c in whole] + ([self.attn_out.made] if self.attn_out else [])
        after = [c.given for c in self.norms if self._place(c) == "post"]
        if not any(self._equal(last.made, made) for made in (*given, *after)):
            return f"block {self.layer} has no projection whose result is that of its attention"
        return Part(last.path, last.module, "input", ("batch", "position", "head*head_dim"))


def _alike(left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
    return left is not None and right is not None and left.shape == right.shape


def _output(call: Call) -> Part:
    return Part(call.path, call.module, "output")


def _projects(call: Call) -> bool:
    weight = getattr(call.module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.dim() == 2


def _bends(call: Call) -> bool:
    empty = next(call.module.parameters(), None) is None
    passes = isinstance(call.module, nn.Dropout | nn.Identity)
    leaf = next(call.module.children(), None) is None
    return empty and leaf and not passes and call.given is not None and call.made is not None
