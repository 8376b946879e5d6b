"""Reads prompts and answers along directions, token by token and as means, in one forward pass over all layers that are asked for."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import Field

from personascope.extract.extractors.places import AnyStratum, Place, PlaceSettings, PlacesExtractor, Text, items_of
from personascope.extract.extractors.reading import chosen_layers, runs_of
from personascope.extract.instruments.attention_readout import right_padded, run_decoder
from personascope.extract.instruments.directions import Direction, check_directions, directions_of
from personascope.extract.instruments.projecting import ProjectionCapture, units_by_place
from personascope.extract.instruments.residual import SITES, ResidualStream, capturing, residual_stream
from personascope.extract.job import Item
from personascope.extract.texts.halves import Half, half_of, half_to_read
from personascope.extract.workload import Shape, Texts, Workload
from personascope.ingest.weights.absent import NotHereError
from personascope.warehouse.errors import NothingToReadError, PersonascopeError
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter

NEWEST = "newest"
MAKER = "directions"


class ProjectionSettings(PlaceSettings):
    """Along which directions what is read."""

    directions: list[str] = Field(default=[NEWEST], min_length=1, description="runs of directions, or the newest of this checkpoint")
    ids: list[str] | None = Field(default=None, description="directions to read along, besides controls (default: all)")
    layers: Literal["all"] | list[int] = Field(default="all", description="decoder layers from 0, negative from the end, or all that have directions")
    strata: list[AnyStratum] | None = Field(  # type: ignore[assignment]
        default=None,
        min_length=1,
        description="last, last_system, marker, answer_mean, turn_mean (default: answer_mean of completions, of conversations turn_mean too, last of prompts)",
    )
    tokens: Literal["auto", "none", "answer", "prompt", "all"] = Field(
        default="auto", description="what is read token by token: answer, prompt, all, none, or auto: the answer of completions, none of prompts"
    )
    controls: Literal["none", "places", "tokens"] = Field(default="places", description="controls are read at places alone, token by token too, or not at all")
    half: Literal["other", "a", "b", "all"] = Field(
        default="other", description="questions to read: those that no direction was made on, a half, or all, which then says which were seen"
    )


class Projections(PlacesExtractor):
    """`projections`: prompts, completions or conversations (force-feeding) read along directions, by token, answer and turn; no vectors are kept."""

    name = "projections"
    version = 1
    settings_type = ProjectionSettings
    settings: ProjectionSettings

    @classmethod
    def workload(cls, settings: ProjectionSettings, texts: Texts, shape: Shape) -> Workload:
        rows = texts.tokens * shape.layers(settings.layers) * len(settings.ids or [1])
        return Workload(texts.tokens, {"examples": texts.n, "projections": rows})

    @cached_property
    def directions_runs(self) -> list[str]:
        """The runs of directions, as named or the newest of this checkpoint."""
        found = []
        for asked in dict.fromkeys(self.settings.directions):
            if asked != NEWEST:
                found.append(self.job.lake.find_committed(asked))
                continue
            ours = [self.job.checkpoint.name, self.job.checkpoint.identity]
            runs = [run for run in runs_of(self.job.lake, MAKER) if run.identity.get("checkpoint") == ours]
            if not runs:
                raise NotHereError(f"{self.name}: the lake holds no directions of {self.job.checkpoint.name}; expected a run of `extract {MAKER}` before")
            found.append(runs[-1].run_id)
        return list(dict.fromkeys(found))

    @cached_property
    def directions(self) -> list[Direction]:
        """The directions to read along, each fit for this checkpoint, by layer, site, run and name."""
        every: list[Direction] = []
        checkpoint = self.job.checkpoint
        layers = None if self.settings.layers == "all" else chosen_layers(self.name, checkpoint, self.settings.layers)
        for run_id in self.directions_runs:
            found = directions_of(self.job.lake, run_id, layers=layers, controls=self.settings.controls != "none")
            check_directions(found, checkpoint.d_model, checkpoint.n_layers, checkpoint.name)
            every += found
        known = sorted({each.id for each in every if not each.is_control})
        for name in self.settings.ids or ():
            if name not in known:
                raise PersonascopeError(f"{self.name}: {', '.join(self.directions_runs)} has no direction {name!r}; expected some of {', '.join(known)}")
        kept = [each for each in every if self.settings.ids is None or each.is_control or each.id in self.settings.ids]
        return sorted(kept, key=lambda each: (each.layer, SITES.index(each.site), str(each.run_id), each.id))

    @cached_property
    def _texts(self) -> dict[int, str]:
        return {}

    @cached_property
    def half(self) -> Half | None:
        """The half of the questions that is read; None: all."""
        if self.settings.half == "other":
            return half_to_read(self.name, {each.half for each in self.directions})
        return None if self.settings.half == "all" else self.settings.half

    @cached_property
    def layers(self) -> list[int]:
        return sorted({each.layer for each in self.directions})

    @cached_property
    def asked(self) -> list[AnyStratum]:
        """The places that get rows of their own."""
        default: list[AnyStratum] = ["last"] if self.tokens is None else ["answer_mean"]
        if self.tokens is not None and not self.tokens.turns.is_empty():
            default.append("turn_mean")
        return list(dict.fromkeys(self.settings.strata or default))

    @cached_property
    def by_token(self) -> list[Literal["prompt", "answer"]]:
        """What is read token by token."""
        if self.settings.tokens == "auto":
            return [] if self.tokens is None else ["answer"]
        wanted: list[Literal["prompt", "answer"]] = ["prompt", "answer"]
        read = [each for each in wanted if self.settings.tokens in (each, "all")]
        if self.tokens is None and self.settings.tokens == "answer":
            raise PersonascopeError(f"{self.name}: tokens=answer, and prompts have no answer; expected --tokens-from RUN")
        return [each for each in read if each == "prompt" or self.tokens is not None]

    @cached_property
    def strata(self) -> list[AnyStratum]:
        """The places to find in every text: those asked for, and those that say where prompt and answer lie."""
        bounds: list[AnyStratum] = ["last"] * ("prompt" in self.by_token) + ["answer_mean"] * ("answer" in self.by_token)  # type: ignore[assignment]
        return list(dict.fromkeys([*self.asked, *bounds]))

    def spec(self) -> RunSpec:
        asked = self.settings.model_dump(mode="json", exclude={"directions", "tokens"})
        asked |= {"directions": self.directions_runs, "layers": self.layers, "tokens": self.by_token, "half": self.half, "asked": sorted(self.asked)}
        spec = self.place_spec(asked)
        return spec.model_copy(update={"inputs": sorted({*spec.inputs, *self.directions_runs})})

    def prepare(self) -> tuple[Sequence[Item[Text]], Mapping[str, Rows]]:
        texts, known = self.texts()
        read = [text for text in texts if self.half in (None, half_of(text.question_id))]
        if not read:
            raise NothingToReadError(f"{self.name}: {self._source} has no question of half {self.half}; expected more questions, or half=all")
        self.counts = {f"n.{stratum}": sum(place.stratum == stratum for text in read for place in text.places) for stratum in self.asked}
        return items_of(read), known

    def check(self) -> Mapping[str, float]:
        self._stream: ResidualStream = residual_stream(self.loaded.model, {each.site for each in self.directions})
        self._units = units_by_place(self.directions, self.loaded.model.device)
        return self._stream.errors

    def _token(self, token_id: int) -> str:
        """A token as text, decoded once, with the space before it, which some tokenizers leave out at the beginning of a text."""
        if token_id not in self._texts:
            once, twice = (str(self.tokenizer.decode([token_id] * times, skip_special_tokens=False)) for times in (1, 2))
            self._texts[token_id] = twice[len(once) :] if twice.startswith(once) else once
        return self._texts[token_id]

    def process(self, items: Sequence[Item[Text]]) -> Mapping[str, Rows]:
        texts = [item.value for item in items]
        width = max(item.length for item in items)
        tokens = torch.zeros((len(items), width), dtype=torch.long)
        for row, item in enumerate(items):
            tokens[row, : item.length] = torch.tensor(item.value.token_ids[: item.length])
        where = _Where(texts, self.by_token, self.asked, self._token)
        positions = torch.zeros((len(items), 0), dtype=torch.long)
        capture = ProjectionCapture(positions, None, rows=torch.from_numpy(where.rows), columns=torch.from_numpy(where.columns), units=self._units)
        real = right_padded(torch.tensor([item.length for item in items]), width)
        device = self._stream.model.device
        with capturing(self._stream.blocks, self.layers, {site for _, site in self._units}, positions, capture=capture):
            run_decoder(self._stream.model, tokens.to(device), real.to(device))
        tables = []
        for (layer, site), values in capture.values.items():
            here = [each for each in self.directions if (each.layer, each.site) == (layer, site)]
            numbers, norms = values.cpu().numpy(), capture.norms[layer, site].cpu().numpy()
            if not np.isfinite(numbers).all():
                raise PersonascopeError(f"{self.name}: {site} of layer {layer} is not finite; expected weights and a dtype that give finite numbers (--dtype)")
            tables += where.tables(here, numbers, norms, controls_by_token=self.settings.controls == "tokens")
        return {"projections": pa.concat_tables(tables)}

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        read = {"layers": self.layers, "n_directions": len({(each.run_id, each.id) for each in self.directions}), "half_used": self.half or "all"}
        return {**self.counts, **read, **self.self_checks}


class _Where:
    """The tokens of a batch that are projected, and the rows they become: one a token, and one a place."""

    def __init__(self, texts: Sequence[Text], by_token: Sequence[str], asked: Sequence[str], token: Callable[[int], str]) -> None:
        rows, columns = [], []
        self.single: list[dict[str, Any]] = []  # rows of the tokens' own
        self.of_token: list[int] = []
        self.places: list[dict[str, Any]] = []
        self.spans: list[tuple[int, int]] = []  # of each place, among the tokens
        start = 0
        for number, text in enumerate(texts):
            first, stop = min(place.start for place in text.places), max(place.stop for place in text.places)
            if "prompt" in by_token and any(place.stratum == "last" for place in text.places):
                first = 0
            rows.append(np.full(stop - first, number))
            columns.append(np.arange(first, stop))
            for place in text.places:
                at = start + place.start - first
                if place.stratum in asked:
                    self.places.append(_row(text, place, place.stratum, None if place.is_mean else place.start, None, token))
                    self.spans.append((at, at + place.stop - place.start))
                span = {"last": ("prompt", 0, place.stop), "answer_mean": ("answer", place.start, place.stop)}.get(place.stratum)
                if span and span[0] in by_token:
                    for step, position in enumerate(range(span[1], span[2])):
                        self.single.append(_row(text, place, span[0], position, step, token))
                        self.of_token.append(start + position - first)
            start += stop - first
        self.rows, self.columns = np.concatenate(rows), np.concatenate(columns)

    def tables(self, directions: Sequence[Direction], values: np.ndarray, norms: np.ndarray, controls_by_token: bool) -> list[pa.Table]:
        """Rows of one layer and site; values [tokens, directions] and norms [tokens], float32."""
        named = [number for number, each in enumerate(directions) if controls_by_token or not each.is_control]
        taken = values[np.array(self.of_token, dtype=np.int64)][:, named]
        tables = [_table(self.single, [directions[number] for number in named], taken, norms[np.array(self.of_token, dtype=np.int64)])]
        if self.places:
            means = np.stack([values[start:stop].mean(axis=0, dtype=np.float64) for start, stop in self.spans])
            lengths = np.array([norms[start:stop].mean(dtype=np.float64) for start, stop in self.spans])
            tables.append(_table(self.places, directions, means.astype(np.float32), lengths.astype(np.float32)))
        return tables


def _row(text: Text, place: Place, stratum: str, position: int | None, step: int | None, token: Callable[[int], str]) -> dict[str, Any]:
    return {
        "persona": text.persona,
        "condition": text.condition,
        "question_id": text.question_id,
        "half": half_of(text.question_id),
        "example_id": text.example_id,
        "sample_ix": place.sample_ix,
        "stratum": stratum,
        "position": position,
        "token": None if position is None else token(text.token_ids[position]),
        "step": step,
        "turn": place.turn if stratum == place.stratum else None,
        "n_positions": place.stop - place.start if stratum == place.stratum else 1,
    }


_INTEGERS = {"sample_ix", "position", "step", "turn", "n_positions", "layer"}
_COLUMNS = ("persona", "condition", "question_id", "half", "example_id", "sample_ix", "stratum", "position", "token", "step", "turn", "n_positions")


def _table(rows: Sequence[Mapping[str, Any]], directions: Sequence[Direction], values: np.ndarray, norms: np.ndarray) -> pa.Table:
    """Every row with every direction; values [rows, directions], norms [rows]."""
    row = pa.array(np.repeat(np.arange(len(rows)), len(directions)))
    column = pa.array(np.tile(np.arange(len(directions)), len(rows)))
    facts = [(each.layer, each.site, each.run_id, each.id, each.kind, each.half) for each in directions]
    names = ("layer", "site", "directions_run", "direction", "kind", "made_on")
    shared = {name: _typed(name, [each[name] for each in rows]) for name in _COLUMNS}
    own = {name: _typed(name, [each[place] for each in facts]) for place, name in enumerate(names)}
    table = {name: pc.take(array, row) for name, array in shared.items()} | {name: pc.take(array, column) for name, array in own.items()}
    return pa.table(table | {"value": pa.array(values.ravel()), "activation_norm": pc.take(pa.array(norms), row)})


def _typed(name: str, values: Sequence[Any]) -> pa.Array:
    return pa.array(values, pa.int32()) if name in _INTEGERS else pa.array(values, pa.string()).dictionary_encode()
