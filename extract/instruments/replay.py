"""Runs a model from one layer on, with heads of that layer changed: what lies below, and what lies before the first token that differs, is computed once."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from personascope.extract.instruments.attention_calls import family_of, refuse_other_memories
from personascope.extract.instruments.attention_readout import run_decoder
from personascope.extract.instruments.components import Components
from personascope.warehouse.errors import PersonascopeError

_ALONG_TOKENS = ("position_embeddings", "position_ids", "cache_position")


@dataclass(frozen=True)
class HeadEdits:
    """Row i of a batch has the output of head `heads[i]` at each position multiplied by factors[i], and values[i] added to it.

    heads int64 [n], factors [n], values [n, 1 or S, D]: factor 1 and value 0 leave a row as it is.
    """

    heads: Tensor
    factors: Tensor
    values: Tensor

    def apply(self, outputs: Tensor) -> Tensor:
        """outputs [n, S, H, D], changed in place."""
        rows = torch.arange(len(outputs), device=outputs.device)
        outputs[rows, :, self.heads] = outputs[rows, :, self.heads] * self.factors[:, None, None] + self.values
        return outputs


@dataclass(frozen=True)
class Clean:
    """One unchanged forward pass over T tokens: input [1, T, d] and arguments of every layer, outputs of the heads [1, T, H * D] of every layer."""

    states: tuple[Tensor, ...]
    arguments: tuple[dict[str, Any], ...]
    heads: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        return self.states[0].shape[1]


@dataclass
class Keys:
    """Stands in for a cache: keeps the keys and values of a prefix as they are computed, then puts them before those of every continuation."""

    held: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    recording: bool = True

    def update(self, keys: Tensor, values: Tensor, layer: int, *rest: Any, **named: Any) -> tuple[Tensor, Tensor]:
        if self.recording:
            self.held[layer] = keys, values
            return keys, values
        before = self.held[layer]
        return torch.cat([before[0], keys], dim=2), torch.cat([before[1], values], dim=2)


def clean_pass(components: Components, token_ids: Sequence[int]) -> Clean:
    """Run the model once and keep what every layer was called with; raises PersonascopeError for layers that cannot be called on their own."""
    refuse_other_memories(components.model, "its heads cannot be ablated")
    states: list[Tensor] = []
    arguments: list[dict[str, Any]] = []
    heads: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        named = {**bound, **bound.pop("kwargs", {})}
        states.append(named.pop("hidden_states"))
        arguments.append(named)

    model = components.model
    handles = [block.module.register_forward_pre_hook(keep, with_kwargs=True) for block in components.stream.blocks]
    handles += [projection.register_forward_pre_hook(lambda module, args: heads.append(args[0])) for projection in components.projections]
    try:
        ids = torch.tensor(token_ids, device=model.device)[None]
        run_decoder(model, ids, torch.ones_like(ids, dtype=torch.bool))
    finally:
        for handle in handles:
            handle.remove()
    for named in arguments:
        mask = named.get("attention_mask")
        if "past_key_values" not in inspect.signature(components.stream.blocks[0].module.forward).parameters or (mask is not None and mask.ndim != 4):
            raise PersonascopeError(f"the layers of {family_of(model)} cannot be run on their own, so its heads cannot be ablated; expected one like Llama's")
    return Clean(tuple(states), tuple(arguments), tuple(heads))


def prefix_keys(components: Components, clean: Clean, layer: int, length: int, edits: HeadEdits) -> Keys:
    """Keys and values of the first `length` tokens in `layer` and above, under edits of `layer`; one row per edit."""
    keys = Keys()
    if length:
        _run(components, clean, layer, 0, length, keys, edits)
    keys.recording = False
    return keys


def last_states(components: Components, clean: Clean, layer: int, length: int, keys: Keys, edits: HeadEdits) -> Tensor:
    """Residual [n, d] behind the last layer at the last token, under edits of `layer`; keys of the first `length` tokens come from `prefix_keys`."""
    return _run(components, clean, layer, length, clean.length, keys, edits)[:, -1]


def _run(components: Components, clean: Clean, layer: int, start: int, stop: int, keys: Keys, edits: HeadEdits) -> Tensor:
    hidden = clean.states[layer][:, start:stop].expand(len(edits.heads), -1, -1)
    with _editing(components, layer, edits):
        for block in components.stream.blocks[layer:]:
            named = _part(clean.arguments[block.layer], clean.length, start, stop, hidden.device)
            if keys.recording or start:
                named["past_key_values"] = keys
            output = block.module(hidden, **named)
            hidden = output[0] if isinstance(output, tuple) else output
    return hidden


def _part(arguments: dict[str, Any], length: int, start: int, stop: int, device: torch.device) -> dict[str, Any]:
    """Arguments of a layer for tokens start..stop of `length`, which see all tokens up to their own."""
    part = dict(arguments)
    for name in _ALONG_TOKENS:
        if (value := part.get(name)) is not None:
            dimension = 1 if name == "position_embeddings" else -1
            cut = [each.narrow(dimension, start, stop - start) for each in (value if isinstance(value, tuple) else (value,))]
            part[name] = tuple(cut) if isinstance(value, tuple) else cut[0]
    mask = part.get("attention_mask")
    if mask is not None:
        part["attention_mask"] = mask[:, :, start:stop, :stop]
    elif start:
        index = torch.arange(stop, device=device)
        part["attention_mask"] = (index <= index[start:, None])[None, None]
    return part


@contextmanager
def _editing(components: Components, layer: int, edits: HeadEdits) -> Iterator[None]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (edits.apply(args[0].clone().unflatten(-1, (components.n_heads, -1))).flatten(-2), *args[1:])

    handle = components.projections[layer].register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def editing_everywhere(components: Components, layer: int, head: int, factor: float, value: Tensor) -> Iterator[None]:
    """Within it every forward pass, whatever its batch, has one head's output multiplied by factor and value [D] added, at every position."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        outputs = args[0].clone().unflatten(-1, (components.n_heads, -1))
        outputs[..., head, :] = outputs[..., head, :] * factor + value.to(outputs)
        return (outputs.flatten(-2), *args[1:])

    handle = components.projections[layer].register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
