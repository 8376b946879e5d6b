"""Attention of a few queries over a longer past, for replays on a processor: SDPA copies a key for every head that shares it, and is slow on few queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from personascope.extract.instruments.attention_calls import HARMLESS, attention_implementation

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IMPLEMENTATION = "personascope_replay"


@contextmanager
def short_queries(model: PreTrainedModel) -> Iterator[None]:
    """Within it a model in float32 that runs on SDPA on a processor attends by products per group of heads where that is exact; any other stays as it is."""
    if model.device.type != "cpu" or model.dtype != torch.float32 or model.config._attn_implementation != "sdpa" or not model._can_set_attn_implementation():
        yield
        return
    _register()
    with attention_implementation(model, IMPLEMENTATION):
        yield


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, None]:
    """Query [B, H, S, D], key and value [B, Hkv, T, D], boolean mask [1, 1, S, T]; what asks for more goes to SDPA."""
    unknown = [name for name, given in others.items() if given is not None and name not in HARMLESS | {"is_causal", "sliding_window"}]
    if dropout or unknown or attention_mask is None or attention_mask.dtype != torch.bool or attention_mask.shape[:2] != (1, 1):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others)
    batch, heads, length, width = query.shape
    kv_heads, seen = key.shape[1:3]
    scale = width**-0.5 if scaling is None else scaling
    grouped = query.reshape(batch * kv_heads, -1, width)
    scores = torch.bmm(grouped, key.reshape(batch * kv_heads, seen, width).transpose(1, 2)).mul_(scale).view(-1, length, seen)
    weights = scores.masked_fill_(~attention_mask[0], -torch.inf).softmax(-1).view(batch * kv_heads, -1, seen)
    mixed = torch.bmm(weights, value.reshape(batch * kv_heads, seen, -1))
    return mixed.view(batch, heads, length, -1).transpose(1, 2).contiguous(), None


@cache
def _register() -> None:
    """Makes the implementation known to transformers, with SDPA's masks."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(IMPLEMENTATION, _attend)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
