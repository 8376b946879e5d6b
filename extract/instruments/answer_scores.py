"""Scores of whole answers in one forward pass: how likely tokens are, where residual vectors lie along directions, and how long they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from personascope.extract.instruments.residual import Block, Change, Site, changing
from personascope.extract.weights.finite import all_finite, refuse_logits
from personascope.ingest.weights.head import giving_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NUMBERS_AT_ONCE = 2**26  # of a block of logits
Place = tuple[int, Site]


def filled(sequences: Sequence[Sequence[int]]) -> Tensor:
    """Token ids int64 [B, T], filled up on the right; causality hides the filling from every token."""
    ids = torch.zeros((len(sequences), max(map(len, sequences))), dtype=torch.long)
    for row, each in enumerate(sequences):
        ids[row, : len(each)] = torch.tensor(each)
    return ids


@torch.inference_mode()
def token_log_probs(model: PreTrainedModel, name: str, sequences: Sequence[Sequence[int]], ranges: Sequence[range]) -> list[Tensor]:
    """Log-probability (nats, float32, on the CPU) of each token of `ranges` behind those before it; ranges begin at 1 or later, and may be empty.

    Only so many sequences go through at once that their logits fit. Raises PersonascopeError, naming the checkpoint `name`, for logits that are no numbers.
    """
    found: list[Tensor] = []
    most = max(1, NUMBERS_AT_ONCE // model.config.get_text_config().vocab_size)
    start = 0
    while start < len(sequences):
        stop, count = start + 1, len(ranges[start])
        while stop < len(sequences) and count + len(ranges[stop]) <= most:
            count += len(ranges[stop])
            stop += 1
        ids = filled(sequences[start:stop]).to(model.device)
        wanted = torch.zeros(ids.shape, dtype=torch.bool)
        for row, each in enumerate(ranges[start:stop]):
            wanted[row, each.start : each.stop] = True
        sizes = [len(each) for each in ranges[start:stop]]
        if count:
            wanted = wanted.to(model.device)
            logits = _logits(model, name, ids, wanted.roll(-1, dims=1))
            own = logits.gather(1, ids[wanted][:, None])[:, 0] - logits.logsumexp(-1)
            found += own.cpu().split(sizes)
        else:
            found += [torch.zeros(0)] * len(sizes)
        start = stop
    return found


@torch.inference_mode()
def next_log_probs(
    model: PreTrainedModel, name: str, sequences: Sequence[Sequence[int]], last: Sequence[int | None], tokens: Sequence[int]
) -> list[float | None]:
    """Log-probability (nats) that any of `tokens` follows the token at index `last` of each sequence, in one pass; None where that is None."""
    ids = filled(sequences).to(model.device)
    wanted = torch.zeros(ids.shape, dtype=torch.bool)
    for row, at in enumerate(last):
        if at is not None:
            wanted[row, at] = True
    if not bool(wanted.any()):  # the pass is made all the same, for what hooks read of it
        wanted[0, 0] = True
        _logits(model, name, ids, wanted.to(model.device))
        return [None] * len(last)
    logits = _logits(model, name, ids, wanted.to(model.device))
    either = logits.log_softmax(-1)[:, list(tokens)].logsumexp(-1).tolist()
    found = iter(either)
    return [None if at is None else next(found) for at in last]


def _logits(model: PreTrainedModel, name: str, ids: Tensor, wanted: Tensor) -> Tensor:
    """Logits [n, vocab] float32 of the wanted positions."""
    with giving_head(model, wanted):
        logits: Tensor = model(input_ids=ids, use_cache=False).logits[0].float()
    if not all_finite(logits):
        raise refuse_logits(model, name)
    return logits


@dataclass
class Along:
    """Projections that a forward pass leaves: values[place] [B, K], the mean over the tokens of `counted` of the projection on each of K units."""

    counted: Tensor
    values: dict[Place, Tensor] = field(default_factory=dict)


@contextmanager
def projecting(blocks: Sequence[Block], units: Mapping[Place, np.ndarray], counted: Tensor) -> Iterator[Along]:
    """Within it one forward pass fills the means of its projections; units: [K, d] by place, counted: boolean [B, T]. What changes a place goes round it."""
    along = Along(counted)

    def reader(place: Place) -> Change:
        def read(hidden: Tensor) -> Tensor:
            chosen = counted.to(hidden.device)
            values = hidden.float() @ torch.from_numpy(units[place]).to(hidden.device, torch.float32).T
            along.values[place] = (values * chosen[..., None]).sum(1) / chosen.sum(1, keepdim=True).clamp(min=1)
            return hidden

        return read

    with changing(blocks, {place: reader(place) for place in units}):
        yield along


@dataclass(frozen=True)
class Lengths:
    """Sizes of the residual stream at one place over the tokens of ordinary answers.

    norm: their mean length; largest: the largest number in them; distance: mean over pairs of groups of the distance of their mean vectors, None with one
    group; along [K, n]: the projections of every token on K units, without those of groups that were left out; before [K, 2]: the least and the largest of
    those of the tokens before the answers.
    """

    norm: float
    largest: float
    distance: float | None
    along: np.ndarray
    before: np.ndarray


@torch.inference_mode()
def lengths(
    blocks: Sequence[Block],
    units: Mapping[Place, np.ndarray],
    batches: Sequence[Sequence[tuple[Sequence[int], range, str]]],
    forward: Callable[[Tensor], object],
    ranged: Callable[[str], bool] = lambda group: True,
) -> dict[Place, Lengths]:
    """What the residual stream is like at each place of `units` [K, d]: over batches of (tokens, which of them belong to the answer, group)."""
    norms: dict[Place, list[Tensor]] = {place: [] for place in units}
    along: dict[Place, list[Tensor]] = {place: [] for place in units}
    before: dict[Place, list[Tensor]] = {place: [] for place in units}
    largest = dict.fromkeys(units, 0.0)
    means: dict[Place, dict[str, list[Tensor]]] = {place: {} for place in units}
    for batch in batches:

        def reader(place: Place, batch: Sequence[tuple[Sequence[int], range, str]] = batch) -> Change:
            along_of = torch.from_numpy(units[place])

            def read(hidden: Tensor) -> Tensor:
                for row, (_, counted, group) in enumerate(batch):
                    own = hidden[row, counted.start : counted.stop].float()
                    norms[place].append(own.norm(dim=-1).cpu())
                    largest[place] = max(largest[place], float(own.abs().max()))
                    means[place].setdefault(group, []).append(own.mean(0).double().cpu())
                    in_front = hidden[row, : counted.start].float() @ along_of.to(own).T
                    before[place].append(torch.stack([in_front.amin(0), in_front.amax(0)]))
                    if ranged(group):
                        along[place].append((own @ along_of.to(own).T).T.cpu())
                return hidden

            return read

        with changing(blocks, {place: reader(place) for place in units}):
            forward(filled([tokens for tokens, _, _ in batch]))
    found = {}
    for place in units:
        of_groups = [torch.stack(each).mean(0) for each in means[place].values()]
        apart = [float((one - other).norm()) for number, one in enumerate(of_groups) for other in of_groups[:number]]
        found[place] = Lengths(
            float(torch.cat(norms[place]).double().mean()),
            largest[place],
            float(np.mean(apart)) if apart else None,
            torch.cat(along[place], dim=1).numpy() if along[place] else np.zeros((len(units[place]), 0), dtype=np.float32),
            torch.stack([torch.stack(before[place])[:, 0].amin(0), torch.stack(before[place])[:, 1].amax(0)], dim=1).cpu().numpy(),
        )
    return found
