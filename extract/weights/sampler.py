"""Draws the next token of every row of a batch from a stream of its own, at a cost that hardly grows with the vocabulary."""

from collections.abc import Sequence

import numpy as np
import torch

PREFIX = 2048  # most likely tokens that are put in order; the rest seldom matters
_BELOW_ONE = 1 - 2**-24  # the largest float32 below one


class SeededSampler:
    """Draws each row's next token from its own stream of uniform numbers, so that a sample does not depend on its neighbours in the batch.

    A logits processor of transformers: the token drawn by inverse transform from softmax(logits / temperature), cut to the smallest set with mass `top_p`,
    is given the score infinity, in place, as `generate` hands over a copy. Tokens are passed from the most likely one on; behind the first PREFIX, where all
    are allowed, in the order of the vocabulary, so that no row is sorted whole.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float, max_new_tokens: int, prompt_width: int, device: torch.device) -> None:
        streams = [torch.rand(max_new_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
        self.uniform = torch.stack(streams).to(device, torch.float32).clamp(max=_BELOW_ONE)
        self.temperature, self.top_p, self.prompt_width = temperature, top_p, prompt_width

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        step = input_ids.shape[1] - self.prompt_width
        logits = scores.float() if self.temperature == 1 else scores.float() / self.temperature
        chosen = draw(torch.softmax(logits, dim=-1), self.uniform[:, step : step + 1], self.top_p)
        return scores.scatter_(-1, chosen, float("inf"))  # type: ignore[return-value]


def draw(probabilities: torch.Tensor, uniform: torch.Tensor, top_p: float, prefix: int = PREFIX) -> torch.Tensor:
    """Tokens [n, 1] drawn from the rows of probabilities [n, V] float32 by uniform numbers [n, 1] in [0, 1); a row's token depends on that row alone.

    Under `top_p` < 1 a row comes from its smallest set of most likely tokens with that mass, equal ones in the order of the vocabulary; how many are sorted
    decides the cost, never the token.
    """
    if prefix >= probabilities.shape[-1]:
        return _within(*_descending(probabilities), uniform, top_p)
    values, order = _most_likely(probabilities, prefix)
    if top_p == 1:
        return _within_or_behind(probabilities, values, order, uniform)
    chosen = _within(values, order, uniform, top_p)
    # The last of the prefix may have equals outside, so a set that reaches it is looked for among all tokens.
    reaching = (values.cumsum(-1) - values < top_p) & (values == values[:, -1:])
    if (rows := reaching.any(-1).nonzero()[:, 0]).numel():
        chosen[rows] = _within(*_descending(probabilities[rows]), uniform[rows], top_p)
    return chosen


def _within(values: torch.Tensor, order: torch.Tensor, uniform: torch.Tensor, top_p: float) -> torch.Tensor:
    """Inverse transform over tokens in the order given, [n, k] with their probabilities, cut to the first ones with mass `top_p`."""
    mass = values.cumsum(-1)
    kept = mass - values < top_p
    threshold = uniform * (values * kept).sum(-1, keepdim=True)
    return order.gather(-1, _rank(mass, threshold, kept & (values > 0)))


def _rank(mass: torch.Tensor, threshold: torch.Tensor, possible: torch.Tensor) -> torch.Tensor:
    """Place of the token in whose share of the mass the threshold lies; the last possible one where rounding leaves the whole mass below it."""
    return (mass <= threshold).sum(-1, keepdim=True).clamp(max=possible.sum(-1, keepdim=True) - 1)


def _within_or_behind(probabilities: torch.Tensor, values: torch.Tensor, order: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Inverse transform over the prefix, then over all other tokens in the order of the vocabulary."""
    mass = values.cumsum(-1)
    chosen = order.gather(-1, _rank(mass, uniform, values > 0))
    rows = (mass[:, -1] <= uniform[:, 0]).nonzero()[:, 0]
    if rows.numel():
        rest = probabilities[rows].scatter(-1, order[rows], 0.0).cumsum(-1)
        behind = mass[rows, -1:]
        share = (uniform[rows] - behind) / (1 - behind).clamp(min=torch.finfo(torch.float32).tiny)
        found = torch.searchsorted(rest, share.clamp(max=_BELOW_ONE) * rest[:, -1:], right=True).clamp(max=rest.shape[-1] - 1)
        chosen[rows] = torch.where(rest[:, -1:] > 0, found, chosen[rows])
    return chosen


def _most_likely(probabilities: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` most likely tokens of each row as `_descending` orders them, which `topk` alone does not promise among equals."""
    top = torch.topk(probabilities, count, dim=-1)
    by_token = top.indices.sort(dim=-1)
    values = top.values.gather(-1, by_token.indices).sort(dim=-1, descending=True, stable=True)
    return values.values, by_token.values.gather(-1, values.indices)


def _descending(probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row from the largest probability to the smallest, equal ones in the order of their tokens, and the tokens: both [rows, vocabulary].

    Numpy sorts numbers several times as fast as torch sorts them with their places, so on a processor both become one number: the bits of a float that is not
    negative are ordered as it is.
    """
    if probabilities.device.type != "cpu":
        ordered = torch.sort(probabilities, dim=-1, descending=True, stable=True)
        return ordered.values, ordered.indices
    places = torch.arange(probabilities.shape[-1])
    keys = (probabilities.view(torch.int32).to(torch.int64) << 32) | (len(places) - 1 - places)
    keys = torch.from_numpy(np.sort(keys.numpy(), axis=-1)).flip(-1)
    return (keys >> 32).to(torch.int32).view(torch.float32), len(places) - 1 - (keys & 0xFFFFFFFF)
