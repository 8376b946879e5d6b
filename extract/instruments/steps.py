"""Repeats the last step of a sequence with pieces of it replaced: the steps before it are computed once, and all variants go through as rows of one batch."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from personascope.extract.instruments.components import Components
from personascope.extract.instruments.residual import Change, Site, changing

EditSite = Site | Literal["head"]


@dataclass(frozen=True)
class Edit:
    """One piece of the last step's forward pass and what takes its place: `vector` [d], or [D] for the output of one head."""

    layer: int
    site: EditSite
    vector: Tensor
    head: int | None = None


def edited_steps(components: Components, token_ids: Sequence[int], edits: Sequence[Edit | None], rows: int) -> Iterator[tuple[slice, Tensor]]:
    """Logits [n, vocab] float32 of the next token behind token_ids, under each edit alone (None: none), `rows` of them at a time.

    Exact: what an edit at the last position can change lies at the last position, so the keys and values before it are shared by all variants.
    """
    model = components.model
    decoder = model.get_decoder()
    ids = torch.tensor(token_ids, device=model.device)[None]
    with torch.inference_mode():
        prefix = decoder(input_ids=ids[:, :-1], use_cache=True).past_key_values if ids.shape[1] > 1 else None
        for start in range(0, len(edits), rows):
            chunk = edits[start : start + rows]
            cache = copy.deepcopy(prefix)
            if cache is not None:
                cache.batch_repeat_interleave(len(chunk))
            with replacing(components, chunk):
                states = decoder(input_ids=ids[:, -1:].expand(len(chunk), -1), past_key_values=cache, use_cache=cache is not None).last_hidden_state
            yield slice(start, start + len(chunk)), components.unembed(states[:, -1])


@contextmanager
def replacing(components: Components, edits: Sequence[Edit | None]) -> Iterator[None]:
    """Within it row i of a batch has edit i at its last position."""
    grouped: dict[tuple[int, EditSite], list[tuple[int, Edit]]] = {}
    for row, edit in enumerate(edits):
        if edit is not None:
            grouped.setdefault((edit.layer, edit.site), []).append((row, edit))
    handles = []
    changes: dict[tuple[int, Site], Change] = {}
    for (layer, site), each in grouped.items():
        if site == "head":
            handles.append(components.projections[layer].register_forward_pre_hook(_heads_hook(components, each)))
        else:
            changes[layer, site] = _put(each)
    try:
        with changing(components.stream.blocks, changes):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _put(edits: Sequence[tuple[int, Edit]]) -> Change:
    """Writes the vectors into the last position of their rows of a hidden state [n, T, d]."""

    def put(hidden: Tensor) -> Tensor:
        changed = hidden.clone()
        rows = torch.tensor([row for row, _ in edits], device=hidden.device)
        changed[rows, -1] = torch.stack([edit.vector for _, edit in edits]).to(hidden)
        return changed

    return put


def _heads_hook(components: Components, edits: Sequence[tuple[int, Edit]]) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        changed = args[0].clone().unflatten(-1, (components.n_heads, -1))
        rows = torch.tensor([row for row, _ in edits], device=changed.device)
        heads = torch.tensor([edit.head for _, edit in edits], device=changed.device)
        changed[rows, -1, heads] = torch.stack([edit.vector for _, edit in edits]).to(changed)
        return (changed.flatten(-2), *args[1:])

    return hook
