"""What is read of answers while the model is steered, and how one pass of it over each answer reads that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from personascope.extract.instruments.answer_scores import Place, next_log_probs, projecting, token_log_probs
from personascope.extract.instruments.residual import ResidualStream
from personascope.extract.instruments.steering import Span, Steer, steering


@dataclass(frozen=True)
class Reading:
    """One answer to read: its tokens behind those of its prompt, where that stands, and how the model is steered (None: not at all).

    counted: which of the tokens are the answer, from 1 on; last: the one behind which the next is asked for, None for none.
    """

    tokens: tuple[int, ...]
    span: Span
    steer: Steer | None
    counted: range
    last: int | None


@dataclass(frozen=True)
class Scores:
    """Of B readings: along[place] [B, K] float32, the mean projections of the answer's tokens on K units in the steered model (0 for an empty answer);
    chances, the log-probability in it that a token of some comes next; own, those of the answer's tokens in the model as it is, empty where not asked for.
    """

    along: dict[Place, Tensor]
    chances: list[float | None]
    own: list[Tensor]


def counted_tokens(ranges: Sequence[range], length: int) -> Tensor:
    """Boolean [B, length]: the tokens of the ranges."""
    counted = torch.zeros((len(ranges), length), dtype=torch.bool)
    for row, each in enumerate(ranges):
        counted[row, each.start : each.stop] = True
    return counted


def whole_scores(
    stream: ResidualStream, name: str, readings: Sequence[Reading], units: Mapping[Place, np.ndarray], first: Sequence[int], unsteered: bool
) -> Scores:
    """Scores by a whole pass of the steered model over all readings, and one of the unsteered model where `unsteered`.

    units [K, d] by place; first: the tokens whose chance to come next is asked for. Raises PersonascopeError, naming the checkpoint `name`, for logits that are
    no numbers.
    """
    sequences, ranges = [each.tokens for each in readings], [each.counted for each in readings]
    counted = counted_tokens(ranges, max(map(len, sequences)))
    with steering(stream.blocks, [each.steer for each in readings], [each.span for each in readings]), projecting(stream.blocks, units, counted) as along:
        chances = next_log_probs(stream.model, name, sequences, [each.last for each in readings], first)
    own = token_log_probs(stream.model, name, sequences, ranges) if unsteered else [torch.zeros(0)] * len(readings)
    return Scores({place: values.float().cpu() for place, values in along.values.items()}, chances, own)
