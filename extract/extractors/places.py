"""Chosen places of prompts and answers (last token, last token of the system block, marker, answer) and the vectors a forward pass leaves there."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import polars as pl
import torch
from pydantic import Field
from torch import Tensor

from personascope.extract.extractors.reading import ReadingExtractor, chosen_layers
from personascope.extract.instruments.attention_readout import right_padded, run_decoder
from personascope.extract.instruments.residual import ResidualStream, Site, capturing
from personascope.extract.job import Item, Settings
from personascope.extract.texts.chat import answer_end, holds_text, render
from personascope.extract.texts.conditions import check_conditions
from personascope.extract.texts.tokens import TokensRun, check_same_tokens, read_tokens
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows

Stratum = Literal["last", "last_system", "marker", "answer_mean"]
AnyStratum = Stratum | Literal["turn_mean"]
"""Places of the vectors that are kept, and the answers of a conversation, along which is read without keeping any."""
OF_ANSWER = ("marker", "answer_mean", "turn_mean")
NEEDS: dict[AnyStratum, str] = {
    "last": "a last token",
    "last_system": "a system block",
    "marker": "the whole marker",
    "answer_mean": "an answer of ordinary tokens",
    "turn_mean": "turns of a conversation",
}


class PlaceSettings(Settings):
    """Which places are read, in which layers."""

    layers: Literal["all"] | list[int] = Field(default="all", description="decoder layers from 0, negative from the end, or all")
    strata: list[Stratum] = Field(
        default=["last"], min_length=1, description="last, last_system; with --tokens-from also marker, answer_mean (without special tokens at its end)"
    )
    personas: list[str] | None = Field(default=None, description="personas to read (default: all)")
    marker: str = Field(default="[ZLT]", description="literal marker string of stratum marker")


@dataclass(frozen=True)
class Place:
    """One vector per layer and site is read here: at token `start`, or as the mean over tokens [start, stop)."""

    stratum: AnyStratum
    start: int
    stop: int
    sample_ix: int | None = None
    turn: int | None = None

    @property
    def is_mean(self) -> bool:
        return self.stratum in ("answer_mean", "turn_mean")


@dataclass(frozen=True)
class Text:
    """One sequence of tokens and the places to read in it."""

    persona: str
    condition: str | None
    category: str | None
    question_id: str
    example_id: str
    token_ids: Sequence[int]
    places: tuple[Place, ...]

    @property
    def length(self) -> int:
        """Tokens up to the last place; what follows changes nothing under causal attention."""
        return max(place.stop for place in self.places)


class PlacesExtractor(ReadingExtractor[Text]):
    """An extractor that reads vectors at places of the prompts of a set, or of a completions run (force-feeding)."""

    reads_tokens = True

    settings_type: ClassVar[type[Settings]] = PlaceSettings
    settings: PlaceSettings

    @cached_property
    def tokens(self) -> TokensRun | None:
        """The completions run, where one is given: it goes before the prompts, which a study always has."""
        if self.job.prompts is None and self.job.tokens_from is None:
            raise PersonascopeError(f"{self.name}: expected --prompts NAME or --tokens-from RUN, a completions run")
        return read_tokens(self.job.lake, self.job.tokens_from) if self.job.tokens_from else None

    @cached_property
    def layers(self) -> list[int]:
        """The wanted layers, counted from 0."""
        return chosen_layers(self.name, self.job.checkpoint, self.settings.layers)

    @cached_property
    def strata(self) -> Sequence[AnyStratum]:
        return list(dict.fromkeys(self.settings.strata))

    def place_spec(self, asked: Mapping[str, Any]) -> RunSpec:
        """The run that reads these places; `asked` are the settings in one spelling, so that the same reading is the same run however it was typed."""
        tokens = self.tokens
        of_answer = [stratum for stratum in self.strata if stratum in OF_ANSWER]
        if tokens is None and of_answer:
            raise PersonascopeError(f"{self.name}: stratum {of_answer[0]!r} lies in an answer, and prompts have none; expected --tokens-from RUN")
        if tokens is not None and "marker" in self.strata:
            tokens.expect_marker(self.settings.marker)
        identity = {"settings": {**asked, "strata": sorted(self.strata)}}
        if tokens is None:
            return self.prompts_spec(identity, {"prompt_set": self.prompts.label})
        return self.tokens_spec(tokens, identity)

    def texts(self) -> tuple[list[Text], dict[str, Rows]]:
        """Every text with its places, the rows known before any forward pass, and in `self.counts` how many places were found and missed.

        Raises PersonascopeError for a stratum that no text has, and for conditions that give the same tokens.
        """
        known: dict[str, Rows] = {"checkpoints": [self.job.checkpoint.row()]}
        if self.tokens is None:
            texts, examples = self._prompt_texts()
            known["examples"] = examples
        else:
            texts = self._answer_texts(self.tokens)
        read = [place.stratum for text in texts for place in text.places]
        self.counts = {f"n.{stratum}": read.count(stratum) for stratum in self.strata}
        self.counts |= {f"n_without.{stratum}": count for stratum, count in self._without.items() if stratum in self.strata}
        for stratum in self.strata:
            if stratum not in read:
                raise PersonascopeError(f"{self.name}: no text of {self._source} has {NEEDS[stratum]}, so stratum {stratum!r} cannot be read")
        return texts, known

    @property
    def _source(self) -> str:
        return f"prompt set {self.prompts.label}" if self.tokens is None else f"run {self.tokens.run_id}"

    def _prompt_texts(self) -> tuple[list[Text], list[dict[str, Any]]]:
        texts, examples = [], []
        self._without: dict[str, int] = {"last_system": 0}
        rendered = [(prompt, render(self.tokenizer, prompt.system_prompt, prompt.question)) for prompt in self.prompts.prompts]
        for line in check_conditions(rendered, self.tokenizer):
            self.job.say(f"{self.name}: {line}")
        for prompt, text in rendered:
            places = self._prompt_places(text.token_ids, text.n_system)
            texts.append(Text(prompt.persona, prompt.condition, prompt.category, prompt.question_id, prompt.example_id, text.token_ids, places))
            examples.append(prompt.model_dump() | text.columns())
        return texts, examples

    def _prompt_places(self, prompt_ids: Sequence[int], n_system: int) -> tuple[Place, ...]:
        """The places of a prompt: its last token, and the last token of its system block where there is one."""
        places = [Place("last", len(prompt_ids) - 1, len(prompt_ids))] if "last" in self.strata else []
        if "last_system" in self.strata:
            if holds_text(prompt_ids[:n_system], self.tokenizer):
                places.append(Place("last_system", n_system - 1, n_system))
            else:
                self._without["last_system"] += 1
        return tuple(places)

    def _answer_texts(self, tokens: TokensRun) -> list[Text]:
        """The completions, every one with the places of its answer and the first repeat of an example with those of its prompt."""
        check_same_tokens(self.job.checkpoint, self.tokenizer, tokens)
        rows = tokens.rows.with_columns(whole=(pl.col("marker") == self.settings.marker) & pl.col("present") & pl.col("complete"))
        rows = rows.sort("whole", descending=True, nulls_last=True, maintain_order=True).unique(["example_id", "sample_ix"], keep="first", maintain_order=True)
        rows = rows.filter(pl.col("persona").is_in(self._known_personas(rows))).sort("example_id", "sample_ix")
        found = self.job.lake.read(tokens.run_id, "examples", ["example_id", "condition", "category"]).to_pylist()
        asked = {row["example_id"]: (row["condition"], row["category"]) for row in found}
        self._without = dict.fromkeys(("last_system", "marker", "answer_mean"), 0)
        turns = tokens.turns.filter(pl.col("stop") > pl.col("start")).partition_by("example_id", "sample_ix", as_dict=True)
        texts: list[Text] = []
        for row in rows.iter_rows(named=True):
            ids, prompt_len = row["token_ids"], row["prompt_len"]
            first = not texts or texts[-1].example_id != row["example_id"]
            places = self._prompt_places(ids[:prompt_len], row["n_system"]) if first else ()
            end = answer_end(ids, prompt_len, self.tokenizer)
            of_answer: list[Place] = []
            if row["whole"]:
                of_answer.append(Place("marker", row["t_marker"], row["t_marker"] + 1, row["sample_ix"]))
            if end > prompt_len:
                of_answer.append(Place("answer_mean", prompt_len, end, row["sample_ix"]))
            if (found_turns := turns.get((row["example_id"], row["sample_ix"]))) is not None:
                of_turns = found_turns.select("start", "stop", "turn").sort("turn").iter_rows()
                of_answer += [Place("turn_mean", start, stop, row["sample_ix"], turn) for start, stop, turn in of_turns]
            self._without["marker"] += not row["whole"]
            self._without["answer_mean"] += end == prompt_len
            places += tuple(place for place in of_answer if place.stratum in self.strata)
            texts.append(Text(row["persona"], *asked[row["example_id"]], row["question_id"], row["example_id"], ids, places))
        return texts

    def _known_personas(self, rows: pl.DataFrame) -> list[str]:
        known = rows["persona"].unique().sort().to_list()
        for persona in self.settings.personas or ():
            if persona not in known:
                raise PersonascopeError(f"{self.name}: {self._source} has no persona {persona!r}; {nearest(persona, known)}")
        return self.settings.personas or known

    def read(
        self, items: Sequence[Item[Text]], stream: ResidualStream, layers: Sequence[int], sites: Collection[Site]
    ) -> tuple[dict[str, list[Any]], dict[tuple[int, Site], Tensor]]:
        """One forward pass over a batch: the columns that tell its places apart, and the vectors [n, d] there, float32 on the model's device."""
        texts = [item.value for item in items]
        width = max(item.length for item in items)
        single = [[place for place in text.places if not place.is_mean] for text in texts]
        tokens = torch.zeros((len(items), width), dtype=torch.long)
        positions = torch.full((len(items), max(1, *map(len, single))), -1)
        averaged = torch.zeros((len(items), width), dtype=torch.bool)
        for row, (item, text) in enumerate(zip(items, texts, strict=True)):
            tokens[row, : item.length] = torch.tensor(text.token_ids[: item.length])
            positions[row, : len(single[row])] = torch.tensor([place.start for place in single[row]], dtype=torch.long)
            for place in text.places:
                averaged[row, place.start : place.stop] |= place.is_mean
        device = stream.model.device
        real = right_padded(torch.tensor([item.length for item in items]), width)
        with capturing(stream.blocks, layers, sites, positions, averaged if bool(averaged.any()) else None) as capture:
            run_decoder(stream.model, tokens.to(device), real.to(device))
        columns, wanted = _columns(texts, single)
        vectors = {}
        for key, at in capture.at.items():
            pieces = [at.flatten(0, 1)]
            if capture.mean:
                pieces.append(capture.mean[key])
            vectors[key] = torch.cat(pieces)[wanted.to(at.device)]
        return columns, vectors


def items_of(texts: Sequence[Text]) -> list[Item[Text]]:
    """The texts that have a place to read, as units of work."""
    items = []
    for text in texts:
        if text.places:
            samples = sorted({place.sample_ix for place in text.places if place.sample_ix is not None})
            items.append(Item(text.example_id + "".join(f"#{sample_ix}" for sample_ix in samples), text.length, text))
    return items


def input_hash(text: Text, place: Place) -> str:
    """Hash of the tokens the vector of a place is computed from."""
    return stable_hash([place.start if place.is_mean else 0, list(map(int, text.token_ids[: place.stop]))])


def _columns(texts: Sequence[Text], single: Sequence[Sequence[Place]]) -> tuple[dict[str, list[Any]], torch.Tensor]:
    """Columns that every layer and site share, and the row of each place among the captured vectors: all positions, then the means."""
    most = max(1, *map(len, single))
    rows: list[dict[str, Any]] = []
    wanted = []
    for number, text in enumerate(texts):
        for place in text.places:
            wanted.append(len(texts) * most + number if place.is_mean else number * most + single[number].index(place))
            rows.append(
                {
                    "persona": text.persona,
                    "condition": text.condition,
                    "category": text.category,
                    "question_id": text.question_id,
                    "example_id": text.example_id,
                    "sample_ix": place.sample_ix,
                    "stratum": place.stratum,
                    "position": None if place.is_mean else place.start,
                    "n_positions": place.stop - place.start,
                    "input_hash": input_hash(text, place),
                }
            )
    return {name: [row[name] for row in rows] for name in rows[0]}, torch.tensor(wanted)
