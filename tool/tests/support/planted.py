"""A small decoder of our own with one fault or oddity at a time, registered with transformers."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

VOCAB = 97


class PlantedConfig(PretrainedConfig):
    model_type = "planted_decoder"

    def __init__(self, kind: str = "sound", blocks: int = 3, switch: int = 0, **more: Any) -> None:
        self.kind = kind
        self.vocab_size = VOCAB
        self.hidden_size = 32
        self.num_hidden_layers = blocks
        self.num_attention_heads = 4
        self.max_position_embeddings = 64
        self.switch_length = switch
        ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        super().__init__(**{**ends, "tie_word_embeddings": False, **more})


class PlantedAttention(nn.Module):
    def __init__(self, config: PlantedConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1)
        )
        q, k, v = parts
        weights = ((q @ k.transpose(-1, -2)) / q.shape[-1] ** 0.5 + mask).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(-2)), weights


class PlantedBlock(nn.Module):
    def __init__(self, config: PlantedConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.kind = config.kind
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = PlantedAttention(config)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, aside: Any, x: torch.Tensor, mask: torch.Tensor) -> Any:
        added, weights = self.attn(self.ln_1(x), mask)
        x = x + added
        x = x + self.mlp(self.ln_2(x))
        if self.kind == "mapping":
            return {"weights": weights, "hidden": x}
        return (weights, x) if self.kind == "second" else (x, weights)


class PlantedLM(PreTrainedModel):
    """``kind`` says what is odd; every kind computes finite logits without an error."""

    config_class = PlantedConfig
    base_model_prefix = "body"
    _tied_weights_keys: ClassVar[dict[str, str]] = {}

    def __init__(self, config: PlantedConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.wte = nn.Embedding(VOCAB, width)
        self.wpe = nn.Embedding(config.max_position_embeddings, width)
        one = PlantedBlock(config)
        reused = config.kind == "reused"
        self.h = nn.ModuleList(
            one if reused else PlantedBlock(config) for _ in range(config.num_hidden_layers)
        )
        more = 2 if config.kind == "two-lists" else 0
        self.tail = nn.ModuleList(PlantedBlock(config) for _ in range(more))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, VOCAB, bias=False)
        self.seen = 0
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.wte

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, 0.0, 0.02)

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> CausalLMOutput:
        kind = self.config.kind
        width = input_ids.shape[1]
        positions = torch.arange(width)[None] if position_ids is None else position_ids
        future = torch.full((width, width), -1e30).triu(1)
        if kind == "bidirectional":
            future = torch.zeros(width, width)
        if kind == "peeks":
            future = torch.full((width, width), -1e30).triu(2)
        if kind == "prefix":
            future[:3, :3] = 0.0
        if kind == "chunks":
            chunk = torch.arange(width) // 4
            future[chunk[:, None] == chunk[None, :]] = 0.0
        mask = future[None, None]
        if position_ids is not None and kind != "leaks-when-packed":
            pieces = (position_ids == 0).cumsum(-1)
            mask = mask.masked_fill((pieces[:, :, None] != pieces[:, None, :])[:, None], -1e30)
        x = self.wte(input_ids) + self.wpe(positions)
        if attention_mask is not None and not bool(attention_mask.all()) and kind == "pads-wrong":
            x = x + 0.2 * (1 - attention_mask[..., None].float()).mean(1, keepdim=True)
        x = self._odd_start(x, kind, width)
        mask = self._odd_mask(mask, x)
        for at, block in enumerate(self.h):
            y = block(None, x, mask)
            x = y["hidden"] if isinstance(y, dict) else y[1 if kind == "second" else 0]
            if kind == "rescaled" and at < len(self.h) - 1:
                x = x / 2
            if kind == "rescaled-last" and at == len(self.h) - 1:
                x = x * 3
            if kind == "exits-early" and at == 1:
                break
        for block in self.tail:
            x = block(None, x, mask)[0]
        x = self.ln_f(self._odd_end(x, kind, width))
        if kind == "functional-head":
            return CausalLMOutput(logits=nn.functional.linear(x, self.lm_head.weight))
        return CausalLMOutput(logits=self.lm_head(x))

    def _odd_start(self, x: torch.Tensor, kind: str, width: int) -> torch.Tensor:
        if self.config.switch_length and width > self.config.switch_length:
            # What the whole row does hangs on its longest prompt.
            x = x * 1.5
        if kind == "remembers":
            self.seen = max(self.seen, width)
            x = x * (1 + 0.02 * self.seen)
        if kind == "backwards":
            x = x.flip(1)
        if kind == "prefixed":
            x = torch.cat([x[:, :1] * 0 + 1, x], 1)
        if kind == "streams":
            x = x[:, :, None, :].expand(-1, -1, 2, -1).flatten(1, 2)
        return x

    def _odd_mask(self, mask: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[1]
        if self.config.kind == "backwards":
            return mask.flip(-1, -2)
        if size == mask.shape[-1]:
            return mask
        return torch.full((size, size), -1e30).triu(1)[None, None]

    def _odd_end(self, x: torch.Tensor, kind: str, width: int) -> torch.Tensor:
        if kind == "backwards":
            return x.flip(1)
        if kind == "prefixed":
            return x[:, 1:]
        if kind == "streams":
            return x.unflatten(1, (width, 2)).sum(2)
        return x


AutoConfig.register("planted_decoder", PlantedConfig)
AutoModelForCausalLM.register(PlantedConfig, PlantedLM)


def planted(kind: str = "sound", **changes: Any) -> Any:
    """Build a model of a kind whose weights are far from their initialisation."""
    torch.manual_seed(0)
    model = PlantedLM(PlantedConfig(kind=kind, **changes))
    source = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                noise = torch.randn(parameter.shape, generator=source)
                parameter.copy_(noise / parameter.shape[-1] ** 0.5)
            else:
                parameter += 0.05 * torch.randn(parameter.shape, generator=source)
    return model.eval().requires_grad_(False)
