"""Calls decoder layers one by one as their model does: what it hands them is recorded once, and keys of a prefix are kept for all that follows it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from personascope.extract.instruments.attention_calls import family_of
from personascope.extract.instruments.residual import Block
from personascope.warehouse.errors import PersonascopeError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ALONG_TOKENS = ("position_embeddings", "position_ids", "cache_position")


@dataclass
class Keys:
    """Stands in for a cache: keeps the keys and values of a prefix as they are computed, then puts them before those of every continuation."""

    held: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    recording: bool = True

    def update(self, keys: Tensor, values: Tensor, layer: int, *rest: Any, **named: Any) -> tuple[Tensor, Tensor]:
        if self.recording:
            self.held[layer] = keys, values
            return keys, values
        copies = len(keys) // len(self.held[layer][0])  # one for each of several prompts
        before, behind = (each.expand(copies, *each.shape).flatten(0, 1) for each in self.held[layer])
        return torch.cat([before, keys], dim=2), torch.cat([behind, values], dim=2)


@dataclass(frozen=True)
class Calls:
    """What layers were called with, in their order: states [B, T, d], and the other arguments by name."""

    states: list[Tensor] = field(default_factory=list)
    arguments: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def recording_calls(blocks: Sequence[Block]) -> Iterator[Calls]:
    """Within it one forward pass of the model leaves what it calls its layers with."""
    calls = Calls()

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        named = {**bound, **bound.pop("kwargs", {})}
        calls.states.append(named.pop("hidden_states"))
        calls.arguments.append(named)

    handles = [block.module.register_forward_pre_hook(keep, with_kwargs=True) for block in blocks]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def refuse_uncallable(model: PreTrainedModel, blocks: Sequence[Block], calls: Calls, so: str) -> None:
    """Raises PersonascopeError, saying what follows (`so`), for layers that cannot be called one by one."""
    for named in calls.arguments:
        mask = named.get("attention_mask")
        if "past_key_values" not in inspect.signature(blocks[0].module.forward).parameters or (mask is not None and mask.ndim != 4):
            raise PersonascopeError(f"the layers of {family_of(model)} cannot be run on their own, so {so}; expected one like Llama's")


def call_layer(block: Block, arguments: dict[str, Any], length: int, start: int, stop: int, hidden: Tensor, keys: Keys | None, seen_from: int = 0) -> Tensor:
    """What leaves a layer [rows, S, d] that is called on `hidden` at tokens start..stop, behind the tokens whose keys are held.

    arguments: those the model called it with on `length` tokens; tokens before `seen_from` are not seen.
    """
    named = part_of(arguments, length, start, stop, seen_from, hidden.device)
    if keys is not None and (keys.recording or start):
        named["past_key_values"] = keys
    output = block.module(hidden, **named)
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


def part_of(arguments: dict[str, Any], length: int, start: int, stop: int, seen_from: int, device: torch.device) -> dict[str, Any]:
    """Arguments of a layer for tokens start..stop of `length`, which see the tokens from `seen_from` up to their own."""
    part = dict(arguments)
    for name in _ALONG_TOKENS:
        if (value := part.get(name)) is not None:
            dimension = 1 if name == "position_embeddings" else -1
            cut = [each.narrow(dimension, start, stop - start) for each in (value if isinstance(value, tuple) else (value,))]
            part[name] = tuple(cut) if isinstance(value, tuple) else cut[0]
    mask = part.get("attention_mask")
    if mask is not None:
        part["attention_mask"] = mask[:, :, start:stop, seen_from:stop]
    elif start > seen_from:
        index = torch.arange(seen_from, stop, device=device)
        part["attention_mask"] = (index <= index[start - seen_from :, None])[None, None]
    return part
