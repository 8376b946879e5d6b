"""Reads answers under many ways to steer at once: tokens before the first one that is steered, and layers below, go through the model once for all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personascope.extract.instruments.answer_scores import NUMBERS_AT_ONCE, Place, filled, projecting
from personascope.extract.instruments.attention_calls import refuse_other_memories
from personascope.extract.instruments.attention_readout import run_decoder
from personascope.extract.instruments.layer_calls import Keys, call_layer, recording_calls, refuse_uncallable
from personascope.extract.instruments.residual import ResidualStream, capturing
from personascope.extract.instruments.short_queries import short_queries
from personascope.extract.instruments.steered_answers import Reading, Scores, counted_tokens, whole_scores
from personascope.extract.instruments.steering import Push, Span, Steer, Where, steering
from personascope.extract.weights.finite import all_finite, refuse_logits
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_seed

SHARED = 3  # readings from which on the tokens that they begin with are worth a pass of their own
LENGTHS_KEPT = 64  # numbers of tokens for which it is known what layers are called with
ROUND_OFFS = {torch.float32: 512, torch.bfloat16: 8, torch.float16: 32}  # of the dtype, by which the check lets numbers differ, of the largest of them


@dataclass(frozen=True)
class _Bundle:
    """Readings that begin with the same tokens. What follows them is `suffixes`, each once with the tokens counted of it; reading i has suffix of[i]."""

    readings: list[Reading]
    numbers: list[int]  # their places in the batch
    prefix: tuple[int, ...]
    suffixes: list[tuple[tuple[int, ...], range]]
    of: list[int]

    @property
    def start(self) -> int:
        return len(self.prefix)

    @property
    def length(self) -> int:
        return self.start + max(len(tokens) for tokens, _ in self.suffixes)

    def counted(self, suffixes: Sequence[int]) -> Tensor:
        """Boolean [n, S]: the counted tokens of some suffixes."""
        ranges = [self.suffixes[each][1] for each in suffixes]
        return counted_tokens([range(each.start - self.start, each.stop - self.start) for each in ranges], self.length - self.start)


@dataclass(frozen=True)
class _Trunk:
    """The unsteered pass over the suffixes of a bundle: what enters layers [U, S, d], by layer (behind the last: what leaves it), and projections [U, K]."""

    states: dict[int, Tensor]
    along: dict[Place, Tensor]


class Branching:
    """`whole_scores` of readings, but for the order of sums; `error` is by how much a probe differs, of its largest numbers."""

    def __init__(self, stream: ResidualStream) -> None:
        """Raises PersonascopeError for a model whose layers cannot be called one by one, or with which the probe comes out otherwise."""
        self._stream, self._model, self._blocks = stream, stream.model, stream.blocks
        refuse_other_memories(self._model, "answers cannot be read in branches")
        self._softcap = getattr(self._model.config.get_text_config(), "final_logit_softcapping", None)
        self._arguments = lru_cache(LENGTHS_KEPT)(self._recorded)
        self.error = self._check()

    @torch.inference_mode()
    def scores(self, name: str, readings: Sequence[Reading], where: Where, units: Mapping[Place, np.ndarray], first: Sequence[int], unsteered: bool) -> Scores:
        """As `whole_scores`; `where`: the tokens that any reading is steered at."""
        along = {place: torch.zeros(len(readings), len(each)) for place, each in units.items()}
        found = Scores(along, [None] * len(readings), [torch.zeros(0)] * len(readings))
        for bundle in _bundles(readings, where):
            with short_queries(self._model):
                self._read(name, bundle, units, first, unsteered, found)
        return found

    def _read(self, name: str, bundle: _Bundle, units: Mapping[Place, np.ndarray], first: Sequence[int], unsteered: bool, found: Scores) -> None:
        """Fills in the scores of a bundle's readings."""
        n_layers = len(self._blocks)
        branches: dict[int, list[int]] = defaultdict(list)
        for row, reading in enumerate(bundle.readings):
            pushes = [push.layer for push in (reading.steer.pushes if reading.steer else ()) if not push.changes_nothing]
            branches[min(pushes, default=n_layers)].append(row)
        keys = self._keys(bundle)
        trunk = self._trunk(bundle, keys, units, set(branches), n_layers if unsteered else max(branches))
        if unsteered:
            for number, own in zip(bundle.numbers, self._own(name, bundle, trunk.states[n_layers]), strict=True):
                found.own[number] = own
        for layer, rows in branches.items():
            readings = [bundle.readings[row] for row in rows]
            suffixes, numbers = ([each[row] for row in rows] for each in (bundle.of, bundle.numbers))
            above = {place: each for place, each in units.items() if place[0] >= layer}
            spans = [_moved(each.span, bundle.start) for each in readings]
            with (
                steering(self._blocks, [each.steer for each in readings], spans),
                projecting(self._blocks, above, bundle.counted(suffixes)) as along,
            ):
                left = self._through(bundle, trunk.states[layer][suffixes], keys, layer, n_layers)
            for place in units:
                found.along[place][numbers] = along.values[place].float().cpu() if place in above else trunk.along[place][suffixes]
            asked = [(row, each.last - bundle.start) for row, each in enumerate(readings) if each.last is not None]
            if asked:
                at, columns = zip(*asked, strict=True)
                either = self._logits(name, left[list(at), list(columns)]).log_softmax(-1)[:, list(first)].logsumexp(-1)
                for row, chance in zip(at, either.tolist(), strict=True):
                    found.chances[numbers[row]] = chance

    def _keys(self, bundle: _Bundle) -> Keys | None:
        """The keys and values of the prefix in every layer."""
        if not bundle.prefix:
            return None
        keys = Keys()
        hidden = self._entering([bundle.prefix])
        for block, arguments in zip(self._blocks, self._arguments(bundle.length), strict=True):
            hidden = call_layer(block, arguments, bundle.length, 0, bundle.start, hidden, keys)
        keys.recording = False
        return keys

    def _trunk(self, bundle: _Bundle, keys: Keys | None, units: Mapping[Place, np.ndarray], wanted: set[int], stop: int) -> _Trunk:
        hidden = self._entering([(*bundle.prefix, *tokens) for tokens, _ in bundle.suffixes])[:, bundle.start :]
        below = {place: each for place, each in units.items() if place[0] < stop}
        states, at = {}, 0
        with projecting(self._blocks, below, bundle.counted(range(len(bundle.suffixes)))) as along:
            for layer in sorted(wanted | {stop}):
                hidden = self._through(bundle, hidden, keys, at, layer)
                states[layer], at = hidden, layer
        return _Trunk(states, {place: values.float().cpu() for place, values in along.values.items()})

    def _through(self, bundle: _Bundle, hidden: Tensor, keys: Keys | None, first: int, stop: int) -> Tensor:
        """What leaves layer `stop` - 1 for what enters layer `first`: [rows, S, d]."""
        for block, arguments in zip(self._blocks[first:stop], self._arguments(bundle.length)[first:stop], strict=True):
            hidden = call_layer(block, arguments, bundle.length, bundle.start, bundle.length, hidden, keys)
        return hidden

    def _entering(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """What enters the first layer [n, T, d]; as the model computes it, since it may depend on positions."""
        ids = filled(sequences).to(self._model.device)
        with capturing(self._blocks, [0], ["resid_pre"], torch.arange(ids.shape[1]).expand(len(ids), -1)) as capture:
            run_decoder(self._model, ids, torch.ones_like(ids, dtype=torch.bool))
        return capture.at[0, "resid_pre"].to(self._model.dtype)

    def _recorded(self, length: int) -> tuple[dict[str, Any], ...]:
        """The arguments of every layer for so many tokens."""
        ids = torch.ones((1, length), dtype=torch.long, device=self._model.device)
        with recording_calls(self._blocks) as calls:
            run_decoder(self._model, ids, torch.ones_like(ids, dtype=torch.bool))
        refuse_uncallable(self._model, self._blocks, calls, "answers cannot be read in branches")
        return tuple(calls.arguments)

    def _own(self, name: str, bundle: _Bundle, left: Tensor) -> Iterator[Tensor]:
        """Of every reading the log-probabilities of its answer's tokens, nats, from what leaves the last layer [U, S, d]."""
        rows, columns, tokens = [], [], []
        for row, (suffix, counted) in enumerate(bundle.suffixes):
            for token in counted:
                rows.append(row)
                columns.append(token - 1 - bundle.start)
                tokens.append(suffix[token - bundle.start])
        found, most = [torch.zeros(0)], max(1, NUMBERS_AT_ONCE // self._model.config.get_text_config().vocab_size)
        for start in range(0, len(rows), most):
            part = slice(start, start + most)
            logits = self._logits(name, left[rows[part], columns[part]])
            own = logits.gather(1, torch.tensor(tokens[part], device=logits.device)[:, None])[:, 0] - logits.logsumexp(-1)
            found.append(own.cpu())
        of_suffix = torch.cat(found).split([len(counted) for _, counted in bundle.suffixes])
        return (of_suffix[suffix] for suffix in bundle.of)

    def _logits(self, name: str, left: Tensor) -> Tensor:
        """Logits [n, vocab] float32 of what leaves the last layer [n, d]."""
        logits: Tensor = self._model.get_output_embeddings()(self._stream.final(left)).float()
        if self._softcap is not None:
            logits = torch.tanh(logits / self._softcap) * self._softcap
        if not all_finite(logits):
            raise refuse_logits(self._model, name)
        return logits

    def _check(self) -> float:
        """The largest difference between a probe in branches and in whole passes, relative to the largest number of its kind."""
        config = self._model.config.get_text_config()
        generator = np.random.default_rng(stable_seed("branching self-check"))
        tokens = generator.integers(config.vocab_size, size=20).tolist()
        units = generator.normal(size=(2, config.hidden_size)).astype(np.float32)
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        middle = len(self._blocks) // 2
        places: dict[Place, np.ndarray] = {(middle, "resid_post"): units, (len(self._blocks) - 1, "resid_post"): units}
        size = float(self._entering([tokens]).float().norm(dim=-1).mean())
        steers = [None, *(Steer((Push(middle, "resid_post", unit, alpha=size, share=0.5),), "answer") for unit in units), None]
        readings = []
        for end, steer in zip((20, 20, 17, 12), steers, strict=True):
            answer = tokens[9:end] if end == len(tokens) else tokens[end - 1 : 8 : -1]
            readings.append(Reading((*tokens[:9], *answer), Span(0, 9), steer, range(9, end), end - 1))
        asked = "the probe", readings
        some = list(range(3))
        ours, expected = self.scores(*asked, "answer", places, some, True), whole_scores(self._stream, *asked, places, some, True)
        pairs = [*((ours.along[place], expected.along[place]) for place in places), (torch.cat(ours.own), torch.cat(expected.own))]
        pairs.append((torch.tensor(ours.chances), torch.tensor(expected.chances)))
        error = max(float(((one - other).abs().max() / other.abs().max()).nan_to_num(nan=torch.inf)) for one, other in pairs)
        limit = ROUND_OFFS[self._model.dtype] * torch.finfo(self._model.dtype).eps
        if not error <= limit:
            raise PersonascopeError(f"answers that {type(self._model).__name__} reads in branches are off by {error:.1e}, expected at most {limit:.1e}")
        return error


def _bundles(readings: Sequence[Reading], where: Where) -> Iterator[_Bundle]:
    """Those that begin with the same tokens up to the first that is steered, where they are some; all others together, behind none."""
    shared: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, reading in enumerate(readings):
        first = min(max(0, reading.span.columns(where)[0]), len(reading.tokens) - 1)
        shared[reading.tokens[:first]].append(number)
    alone = [number for numbers in shared.values() if len(numbers) < SHARED for number in numbers]
    for prefix, numbers in [*((each, numbers) for each, numbers in shared.items() if len(numbers) >= SHARED), ((), alone)]:
        if numbers:
            own = [readings[number] for number in numbers]
            suffixes = [(each.tokens[len(prefix) :], each.counted) for each in own]
            places = {suffix: place for place, suffix in enumerate(dict.fromkeys(suffixes))}
            yield _Bundle(own, numbers, prefix, list(places), [places[suffix] for suffix in suffixes])


def _moved(span: Span, by: int) -> Span:
    """The span where `by` tokens before it are left out."""
    return Span(span.start - by, span.stop - by, None if span.last_system is None else span.last_system - by)
