"""Runs a model from one layer on, with heads of that layer changed: what lies below, and what lies before the first token that differs, is computed once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from personascope.extract.instruments.attention_calls import refuse_other_memories
from personascope.extract.instruments.attention_readout import run_decoder
from personascope.extract.instruments.components import Components
from personascope.extract.instruments.layer_calls import Keys, call_layer, recording_calls, refuse_uncallable
from personascope.extract.instruments.residual import capturing
from personascope.extract.instruments.short_queries import short_queries


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
    """One unchanged forward pass over T tokens: input [1, T, d] and arguments of every layer, outputs of the heads [1, T, H * D] of every layer.

    final [1, d]: what leaves the last layer at the last token.
    """

    states: tuple[Tensor, ...]
    arguments: tuple[dict[str, Any], ...]
    heads: tuple[Tensor, ...]
    final: Tensor

    @property
    def length(self) -> int:
        return self.states[0].shape[1]


def clean_pass(components: Components, token_ids: Sequence[int]) -> Clean:
    """Run the model once and keep what every layer was called with; raises PersonascopeError for layers that cannot be called on their own."""
    refuse_other_memories(components.model, "its heads cannot be ablated")
    heads: list[Tensor] = []
    left: list[Tensor] = []

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        left.append((output[0] if isinstance(output, tuple) else output)[:, -1])

    model, blocks = components.model, components.stream.blocks
    handles = [blocks[-1].module.register_forward_hook(leave)]
    handles += [projection.register_forward_pre_hook(lambda module, args: heads.append(args[0])) for projection in components.projections]
    try:
        ids = torch.tensor(token_ids, device=model.device)[None]
        with recording_calls(blocks) as calls:
            run_decoder(model, ids, torch.ones_like(ids, dtype=torch.bool))
    finally:
        for handle in handles:
            handle.remove()
    refuse_uncallable(model, blocks, calls, "its heads cannot be ablated")
    return Clean(tuple(calls.states), tuple(calls.arguments), tuple(heads), left[0])


def clean_passes(components: Components, sequences: Sequence[Sequence[int]], length: int) -> list[Clean]:
    """`clean_pass` of several sequences that begin with the same `length` tokens, which are run once: of each number of tokens only the first is run whole."""
    found: dict[int, Clean] = {}
    by_tokens: dict[int, list[int]] = {}
    for number, sequence in enumerate(sequences):
        by_tokens.setdefault(len(sequence), []).append(number)
    for numbers in by_tokens.values():
        first, *others = numbers
        found[first] = clean_pass(components, sequences[first])
        if not others:
            continue
        keys = Keys()
        if length:
            _above(components, found[first], -1, 0, length, keys, found[first].states[0][:, :length])
        keys.recording = False
        rest = _behind(components, found[first], torch.tensor([sequences[number] for number in others]), length, keys)
        found |= dict(zip(others, rest, strict=True))
    return [found[number] for number in range(len(sequences))]


def _behind(components: Components, like: Clean, tokens: Tensor, length: int, keys: Keys) -> list[Clean]:
    """The clean passes of tokens [n, T], whose first `length` are those of `like` with these keys."""
    positions = torch.arange(tokens.shape[1]).expand(len(tokens), -1)
    ids = tokens.to(components.model.device)
    with capturing(components.stream.blocks, [0], ["resid_pre"], positions) as capture:
        run_decoder(components.model, ids, torch.ones_like(ids, dtype=torch.bool))
    states: list[Tensor] = []
    heads: list[Tensor] = []
    handles = [block.module.register_forward_pre_hook(lambda module, args: states.append(args[0])) for block in components.stream.blocks]
    handles += [projection.register_forward_pre_hook(lambda module, args: heads.append(args[0])) for projection in components.projections]
    try:
        entering = capture.at[0, "resid_pre"][:, length:].to(like.states[0].dtype)
        final = _above(components, like, -1, length, like.length, keys, entering, whole=True)[:, -1]
    finally:
        for handle in handles:
            handle.remove()

    def joined(before: Sequence[Tensor], behind: Sequence[Tensor], row: int) -> tuple[Tensor, ...]:
        return tuple(torch.cat([one[:, :length], other[row : row + 1]], dim=1) for one, other in zip(before, behind, strict=True))

    return [Clean(joined(like.states, states, row), like.arguments, joined(like.heads, heads, row), final[row : row + 1]) for row in range(len(tokens))]


def prefix_keys(components: Components, clean: Clean, layer: int, length: int, edits: HeadEdits) -> Keys:
    """Keys and values of the first `length` tokens above `layer`, under edits of `layer`; one row per edit."""
    keys = Keys()
    if length and layer + 1 < components.n_layers:
        _above(components, clean, layer, 0, length, keys, _changed(components, clean, layer, 0, length, edits))
    keys.recording = False
    return keys


def last_states(components: Components, cleans: Sequence[Clean], layer: int, length: int, keys: Keys, edits: Sequence[HeadEdits]) -> Tensor:
    """Residual [m, n, d] behind the last layer at the last token of m prompts of one length, under the n edits of `layer` of each.

    The prompts begin with the same `length` tokens, whose keys under the same edits come from `prefix_keys`.
    """
    first = cleans[0]
    hidden = torch.cat([_changed(components, clean, layer, length, first.length, own) for clean, own in zip(cleans, edits, strict=True)])
    return _above(components, first, layer, length, first.length, keys, hidden)[:, -1].unflatten(0, (len(cleans), -1))


def _changed(components: Components, clean: Clean, layer: int, start: int, stop: int, edits: HeadEdits) -> Tensor:
    """What leaves `layer` [n, S, d] at tokens start..stop under its edits.

    The layer is called on the one row that is no different below; the edited outputs of its heads, known from the clean pass, take the place of what it
    computes, so that only what follows them is done for every edit.
    """
    outputs = clean.heads[layer][:, start:stop].expand(len(edits.heads), -1, -1)
    edited = edits.apply(outputs.clone().unflatten(-1, (components.n_heads, -1))).flatten(-2)
    block = components.stream.blocks[layer]
    with _hooked(components.projections[layer], lambda args: (edited, *args[1:])), _only_last(components, layer, after_heads=False):
        return call_layer(block, clean.arguments[layer], clean.length, start, stop, clean.states[layer][:, start:stop], None, seen_from=start)


def _above(components: Components, clean: Clean, layer: int, start: int, stop: int, keys: Keys, hidden: Tensor, whole: bool = False) -> Tensor:
    """The layers above `layer` on hidden [rows, S, d] at tokens start..stop; of the last layer only the last token is what the model gives, unless `whole`."""
    with short_queries(components.model):
        for block in components.stream.blocks[layer + 1 :]:
            with nullcontext() if whole else _only_last(components, block.layer):
                hidden = call_layer(block, clean.arguments[block.layer], clean.length, start, stop, hidden, keys)
    return hidden


@contextmanager
def _only_last(components: Components, layer: int, after_heads: bool = True) -> Iterator[None]:
    """In the last layer, what follows the attention is done for the last token alone: nothing reads the others, which take its output in the sum."""
    if layer + 1 < components.n_layers:
        yield
        return
    branch = components.stream.blocks[layer].branches["mlp_out"]
    with ExitStack() as stack:
        for module in (branch, components.projections[layer]) if after_heads else (branch,):
            stack.enter_context(_hooked(module, lambda args: (args[0][:, -1:], *args[1:])))
        yield


@contextmanager
def _hooked(module: nn.Module, change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Iterator[None]:
    """Within it the module is called with changed arguments."""
    handle = module.register_forward_pre_hook(lambda module, args: change(args))
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
