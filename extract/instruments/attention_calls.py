"""Shows a sink what every attention layer was called with, while the model runs on SDPA, and computes wanted rows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from personascope.warehouse.errors import PersonascopeError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IMPLEMENTATION = "personascope_readout"
HARMLESS = frozenset({"position_ids", "use_cache", "cache_position", "output_attentions", "output_hidden_states", "return_dict"})
_BLOCK_SCORES = 1 << 22
_KEPT_AS_KEYS = frozenset({"full_attention", "sliding_attention", "chunked_attention"})


@dataclass(frozen=True)
class LayerCall:
    """What one attention layer was called with: query [B, H, T, D] and key [B, Hkv, T, D] after rotary embedding, Hkv dividing H.

    mask is None (causal) or boolean [B, 1, T, T], true where a key may be read; scaling multiplies the dot products; softcap c turns a
    logit x into c * tanh(x / c); window is the sliding window that the layer declares (the mask already applies it).
    """

    layer: int
    query: Tensor
    key: Tensor
    mask: Tensor | None
    scaling: float
    softcap: float | None
    window: int | None


Sink = Callable[[LayerCall], None]
_sink: ContextVar[Sink] = ContextVar("personascope_readout_sink")


def family_of(model: PreTrainedModel) -> str:
    """The name by which a model is refused."""
    return f"{type(model).__name__} (family {model.config.model_type})"


def refuse_other_memories(model: PreTrainedModel, what: str) -> None:
    """Raises PersonascopeError for layers that remember earlier tokens otherwise than by keys and values, so that a step cannot be repeated from those."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if other := sorted(kinds - _KEPT_AS_KEYS):
        raise PersonascopeError(f"{family_of(model)} has layers of {', '.join(other)}, which keep no keys and values of earlier tokens, so {what}")


@contextmanager
def attention_implementation(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Run the model's attention with the implementation `name`, and put back what was there."""
    if not model._can_set_attn_implementation():
        raise PersonascopeError(f"{family_of(model)} does not route its attention through transformers' interface, so its rows cannot be read")
    subconfigs = {key: getattr(model.config, key) for key in model.config.sub_configs}
    before = {key: config._attn_implementation for key, config in {"": model.config, **subconfigs}.items() if config is not None}
    try:
        model.set_attn_implementation(name)
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def reading(model: PreTrainedModel, sink: Sink) -> Iterator[None]:
    """Within it a forward pass of the model shows `sink` the call of every attention layer; the outputs are those of SDPA.

    Raises PersonascopeError, here or from the forward pass, for a family that does not route through the interface and for an attention
    that adds to its rows what this module does not know (sinks, position biases, head masks), and for a model in training mode.
    """
    if model.training:
        raise PersonascopeError(f"{family_of(model)} is in training mode, so dropout would change its rows")
    _register()
    token = _sink.set(sink)
    try:
        with attention_implementation(model, IMPLEMENTATION):
            yield
    finally:
        _sink.reset(token)


def attention_rows(call: LayerCall, positions: Tensor) -> Tensor:
    """Softmaxed attention rows [B, H, P, T] at query positions [B, P] (a position of -1 gives a row without meaning).

    In float64, where the device has it: for a few rows it costs next to nothing, sharp heads keep full float32 accuracy (in float32 a
    logit of 100 is off by 1e-5), and neither TF32 nor autocast can touch the product. In float32 on MPS.
    """
    query, key = call.query, call.key
    batch, heads, _, width = query.shape
    kv_heads, length = key.shape[1], key.shape[2]
    wide = wide_dtype(key.device)
    index = positions.clamp(min=0)
    picked = query.gather(2, index[:, None, :, None].expand(-1, heads, -1, width)).to(wide) * call.scaling
    scores = picked.view(batch, kv_heads, -1, width) @ key.to(wide).transpose(2, 3)
    scores = _softcapped(scores.view(batch, heads, -1, length), call.softcap)
    allowed = torch.arange(length, device=key.device) <= index[:, :, None]
    if call.mask is not None:
        allowed &= call.mask[:, 0].gather(1, index[:, :, None].expand(-1, -1, length))
    return scores.masked_fill_(~allowed[:, None], -torch.inf).softmax(-1)


def wide_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which rows are computed on a device: float64, and float32 on MPS, which has no other."""
    return torch.float32 if device.type == "mps" else torch.float64


def score_blocks(call: LayerCall, dtype: torch.dtype) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Every query row in blocks of bounded size: number of the first row, scores [B, H, rows, last] over the keys up to the block's last row, in `dtype`.

    The scores are scaled and soft-capped, not masked; the third is boolean [rows, last] or [B, 1, rows, last], true where a key may be read.
    """
    batch, heads, length, width = call.query.shape
    kv_heads = call.key.shape[1]
    key = call.key.to(dtype)
    rows = max(1, _BLOCK_SCORES // (batch * heads * length))
    for first in range(0, length, rows):
        last = min(first + rows, length)
        block = call.query[:, :, first:last].to(dtype).reshape(batch, kv_heads, -1, width)
        scores = _softcapped(block @ key[:, :, :last].transpose(2, 3) * call.scaling, call.softcap).view(batch, heads, last - first, last)
        allowed = torch.ones(last - first, last, dtype=torch.bool, device=key.device).tril(first)
        yield first, scores, allowed if call.mask is None else allowed & call.mask[:, :, first:last, :last]


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **extras: Any,
) -> tuple[Tensor, None]:
    """The registered attention function: show the call to the sink, then compute what the model asked for."""
    _refuse_what_changes_rows(module, query, key, attention_mask, dropout, is_causal, extras)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = getattr(module, "layer_idx", None)
    call = LayerCall(-1 if layer is None else int(layer), query, key, attention_mask, scale, softcap, sliding_window)
    _sink.get()(call)
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if softcap is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scale, is_causal=is_causal)
    return _softcapped_attention(call, value), None


def _refuse_what_changes_rows(
    module: torch.nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, dropout: float, is_causal: bool | None, extras: dict[str, Any]
) -> None:
    reasons = [f"it passes {name}" for name, value in extras.items() if value is not None and name not in HARMLESS]
    if dropout:
        reasons.append("it applies dropout")
    if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        reasons.append("it is not causal")
    if query.shape[2] != key.shape[2]:
        reasons.append(f"it has {query.shape[2]} queries for {key.shape[2]} keys")
    if mask is not None and (mask.dtype != torch.bool or mask.shape[1] != 1):
        reasons.append(f"its mask is {mask.dtype} of shape {tuple(mask.shape)}, expected a boolean [B, 1, T, T]")
    if reasons:
        raise PersonascopeError(f"the attention of {type(module).__name__} cannot be read row by row: {'; '.join(reasons)}")


def _softcapped(scores: Tensor, softcap: float | None) -> Tensor:
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap


def _softcapped_attention(call: LayerCall, value: Tensor) -> Tensor:
    """Attention output [B, T, H, Dv] with soft-capped logits, which SDPA cannot do, in blocks of query rows; dtypes as in eager attention."""
    batch, heads, length, _ = call.query.shape
    kv_heads = call.key.shape[1]
    output = torch.empty(batch, length, heads, value.shape[-1], dtype=value.dtype, device=value.device)
    for first, scores, allowed in score_blocks(call, call.query.dtype):
        last = scores.shape[-1]
        # the lowest finite number, not -inf: a padding query may see no key at all, and its output must stay finite
        weights = scores.masked_fill_(~allowed, torch.finfo(scores.dtype).min).softmax(-1, dtype=torch.float32).to(value.dtype)
        mixed = weights.view(batch, kv_heads, -1, last) @ value[:, :, :last]
        output[:, first:last] = mixed.view(batch, heads, last - first, -1).transpose(1, 2)
    return output


@cache
def _register() -> None:
    """Makes the implementation known to transformers, with SDPA's masks: without them padding and sliding windows would be ignored."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(IMPLEMENTATION, _attend)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
