"""The hooks behind `refutable.capture.intervene`: one forward pass with edits at named sites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from refutable.capture.interface import Attend, attending, eager_attention
from refutable.capture.tensors import after, before
from refutable.errors import NotAvailableError, RefutableError
from refutable.models.placement import input_device
from refutable.models.sites import Site, Sites

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

Edit = Callable[[torch.Tensor], torch.Tensor]

_ATTENTION = ("q", "k", "v", "rot_q", "rot_k", "scores", "pattern")


def reason_against(sites: Sites, name: str) -> str:
    """Why a model does not have a site; empty when it does."""
    reason = sites.reason(_module_site(name))
    if not reason and name.endswith("resid_mid"):
        block = name.removesuffix("resid_mid")
        return sites.reason(f"{block}resid_pre") or sites.reason(f"{block}attn_out")
    if not reason and _in_attention(name) and not sites[name].writable:
        return "this model's attention does not go through transformers' attention interface"
    return reason


@torch.no_grad()
def run_edited(
    model: PreTrainedModel, sites: Sites, tokens: torch.Tensor, edits: Mapping[str, Edit]
) -> torch.Tensor:
    """Return the logits of one pass, (batch, position, vocabulary), with every edit in place.

    Raises
    ------
    NotAvailableError
        When the model does not have a site.
    RefutableError
        When the tokens are not of shape (batch, position).
    """
    if tokens.ndim != 2:
        raise RefutableError(
            f"expected tokens of shape (batch, position), got {tuple(tokens.shape)}: give equally "
            "long sequences"
        )
    for name in edits:
        reason = reason_against(sites, name)
        if reason:
            raise NotAvailableError(f"site {name!r} is not available: {reason}")
    inner = {name: edit for name, edit in edits.items() if _in_attention(name)}
    with ExitStack() as stack:
        # resid_mid reads the stream before the block and what attention adds: after their edits.
        for name in sorted(edits, key=lambda name: name.endswith("resid_mid")):
            if name not in inner:
                _hook(stack, sites, name, edits[name])
        if inner:
            stack.enter_context(attending(model, _edited_attention(sites, inner)))
        device = input_device(model)
        logits: torch.Tensor = model(input_ids=tokens.to(device), use_cache=False).logits
    return logits


def block_outputs(
    model: PreTrainedModel, sites: Sites, tokens: torch.Tensor
) -> list[object] | None:
    """Return what each block hands on, so that later passes can start behind it.

    Returns
    -------
    list or None
        ``None`` where `starts_behind` does not hold.
    """
    if not starts_behind(model, sites, tokens[:2]):
        return None
    return outputs_of(model, sites, tokens)[0]


def starts_behind(model: PreTrainedModel, sites: Sites, tokens: torch.Tensor) -> bool:
    """Whether a pass that starts behind any block gives the very same logits.

    It does not where later blocks read more than the stream.
    """
    outputs, logits = outputs_of(model, sites, tokens)
    for layers in range(1, len(sites.blocks) + 1):
        with starting_behind(sites, outputs, layers):
            if not torch.equal(run_edited(model, sites, tokens, {}), logits):
                return False
    return True


def outputs_of(
    model: PreTrainedModel, sites: Sites, tokens: torch.Tensor
) -> tuple[list[object], torch.Tensor]:
    """Return what each block hands on in one pass, and the logits."""
    outputs: list[object] = []
    with ExitStack() as stack:
        for block in sites.blocks:
            hook = block.register_forward_hook(lambda _, __, output: outputs.append(output))
            stack.callback(hook.remove)
        logits = run_edited(model, sites, tokens, {})
    return outputs, logits


@contextmanager
def starting_behind(sites: Sites, outputs: Sequence[object], layers: int) -> Iterator[None]:
    """Let the first so many blocks hand on what is known instead of computing it."""
    with ExitStack() as stack:
        for block, known in zip(sites.blocks[:layers], outputs, strict=False):
            instance_forward = block.__dict__.get("forward")
            block.forward = partial(_hand_on, known)
            stack.callback(_put_back, block, instance_forward)
        yield


def _hand_on(known: object, *_: object, **__: object) -> object:
    # A copy: some models add to the stream in place.
    if isinstance(known, torch.Tensor):
        return known.clone()
    if not isinstance(known, tuple | list):
        raise NotAvailableError(f"a block hands on {type(known).__name__}, which is not known here")
    return type(known)(item.clone() if isinstance(item, torch.Tensor) else item for item in known)


def _put_back(block: nn.Module, instance_forward: Callable[..., object] | None) -> None:
    if instance_forward is None:
        del block.forward
    else:
        block.forward = instance_forward


def _in_attention(name: str) -> bool:
    return ".attn." in name and name.rsplit(".", 1)[-1] in _ATTENTION


def _module_site(name: str) -> str:
    """Return the name under which a module holds a site: norms are one module, not two sites."""
    return name.removesuffix(".normalized").removesuffix(".scale")


def _edited_attention(sites: Sites, edits: Mapping[str, Edit]) -> Attend:
    """Return an attention function that is the model's own but for the edits."""
    layers = {id(module): layer for layer, module in enumerate(sites.attentions)}

    def attend(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        prefix = f"blocks.{layers.get(id(module))}.attn."
        of_block = {n.removeprefix(prefix): e for n, e in edits.items() if n.startswith(prefix)}
        for name, edit in of_block.items():
            kind = name.removeprefix("rot_")
            # The interface has heads before positions, the sites positions before heads.
            if kind == "q":
                query = edit(query.transpose(1, 2)).transpose(1, 2)
            elif kind == "k":
                key = edit(key.transpose(1, 2)).transpose(1, 2)
            elif kind == "v":
                value = edit(value.transpose(1, 2)).transpose(1, 2)
        if "scores" in of_block:
            mask = _mask_for_scores(of_block["scores"], query, key, mask, kwargs)
        out, pattern = eager_attention(module)(module, query, key, value, mask, **kwargs)
        if "pattern" in of_block:
            pattern = of_block["pattern"](pattern)
            out = torch.matmul(pattern, _repeat_heads(value, pattern.shape[1])).transpose(1, 2)
        return out.contiguous(), pattern

    return attend


def _mask_for_scores(
    edit: Edit,
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    kwargs: Mapping[str, float | None],
) -> torch.Tensor:
    """Return the additive mask that makes the model's own arithmetic use the edited scores."""
    raw = torch.matmul(query, _repeat_heads(key, query.shape[1]).transpose(-1, -2))
    scaling = kwargs.get("scaling")
    raw = raw * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    cap = kwargs.get("softcap")
    if cap is not None:
        raw = torch.tanh(raw / cap) * cap
    lowest = torch.finfo(raw.dtype).min
    if mask is None:
        future = torch.ones(raw.shape[-2:], dtype=torch.bool, device=raw.device).triu(1)
        mask = torch.zeros_like(raw).masked_fill(future, lowest)
    shown = (raw + mask).masked_fill(mask <= lowest, float("-inf"))
    wanted = edit(shown)
    return torch.where(torch.isneginf(wanted), lowest, wanted - raw)


def _repeat_heads(states: torch.Tensor, heads: int) -> torch.Tensor:
    """Give each query head its key or value head (grouped-query attention)."""
    return states.repeat_interleave(heads // states.shape[1], dim=1)


def _hook(stack: ExitStack, sites: Sites, name: str, edit: Edit) -> None:
    """Install the hook for a site that some module holds; the stack removes it."""
    site = sites[_module_site(name)]
    if name.endswith(".scale"):
        hook = _scale_hook(sites, site.module, edit)
        stack.callback(site.module.register_forward_hook(hook, with_kwargs=True).remove)
    elif name.endswith("resid_mid"):
        _hook_resid_mid(stack, sites, name, edit)
    else:
        _hook_tensor(stack, site, edit)


def _hook_tensor(stack: ExitStack, site: Site, edit: Edit) -> None:
    """Edit what a module takes or gives, where the site says that it lies."""
    if site.dims[:1] == ("position",):
        edit = _turned(edit)
    if site.before:
        hook = before(edit, site.entry)
        stack.callback(site.module.register_forward_pre_hook(hook, with_kwargs=True).remove)
    else:
        stack.callback(site.module.register_forward_hook(after(edit, site.entry)).remove)


def _turned(edit: Edit) -> Edit:
    """Show an edit (batch, position, ...) of what a model keeps as (position, batch, ...)."""
    return lambda value: edit(value.transpose(0, 1)).transpose(0, 1)


def _hook_resid_mid(stack: ExitStack, sites: Sites, name: str, edit: Edit) -> None:
    """Edit the stream between the sublayers through what attention adds to it.

    No module makes that stream, and the residual connection takes it past the norm that reads it.
    """
    block = name.removesuffix("resid_mid")
    stream: list[torch.Tensor] = []

    def remember(value: torch.Tensor) -> torch.Tensor:
        stream[:] = [value]
        return value

    def edit_sum(added: torch.Tensor) -> torch.Tensor:
        return edit(stream[0] + added) - stream[0]

    _hook_tensor(stack, sites[f"{block}resid_pre"], remember)
    _hook_tensor(stack, sites[f"{block}attn_out"], edit_sum)


def _scale_hook(sites: Sites, module: nn.Module, edit: Edit) -> Callable[..., torch.Tensor]:
    """Return a hook that divides a norm's output by another scale than its own."""
    kind = next(norm.kind for norm in sites.norms if norm.module is module)
    epsilon = float(getattr(module, "eps", getattr(module, "variance_epsilon", 0.0)) or 0.0)
    bias = getattr(module, "bias", None)
    shift = bias if isinstance(bias, torch.Tensor) else 0.0

    def hook(
        _: nn.Module,
        args: tuple[torch.Tensor, ...],
        kwargs: dict[str, torch.Tensor],
        output: torch.Tensor,
    ) -> torch.Tensor:
        stream = (args[0] if args else next(iter(kwargs.values()))).float()
        if kind == "LayerNorm":
            square = stream.var(dim=-1, unbiased=False, keepdim=True)
        else:
            square = stream.pow(2).mean(dim=-1, keepdim=True)
        scale = (square + epsilon).sqrt()
        factor = (scale / edit(scale)).to(output.dtype)
        divided: torch.Tensor = (output - shift) * factor + shift
        return divided

    return hook
