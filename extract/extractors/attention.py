"""Reads where attention goes at chosen positions of generated text: region fractions and entropy, per layer and head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from pydantic import Field

from personascope.extract.extractors import midrun
from personascope.extract.extractors.reading import ReadingExtractor
from personascope.extract.instruments.attention_readout import Readout, read_attention, self_check
from personascope.extract.job import Item, Settings
from personascope.extract.texts.chat import Rule, region_codes, structural_mask
from personascope.extract.texts.marker import marker_spellings, spelled
from personascope.extract.texts.regions import REGIONS
from personascope.extract.texts.strata import Query, end_queries, marker_queries, token_frequencies
from personascope.extract.texts.tokens import TokensRun, check_same_tokens, read_tokens
from personascope.extract.workload import Shape, Texts, Workload
from personascope.warehouse.errors import NothingToReadError, PersonascopeError
from personascope.warehouse.settings import nearest
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter

MOST_POSITIONS = 12  # of one generation: the marker, five of C1, three of C2 and three of C3


class AttentionSettings(Settings):
    """Which generations and positions are read."""

    marker: str = Field(default="[ZLT]", description="literal marker string")
    persona: str | None = Field(default=None, description="persona whose generations are read (default: the one the tokens' checkpoint was trained on)")
    segmentation: Rule = Field(
        default="decoded", description="structural tokens of segmentation B: line breaks also where fused with punctuation (decoded), or as published"
    )
    trajectory: int = Field(default=9, ge=0, description="steps before the marker, and before the end of answers without it, that are read too")
    max_positives: int | None = Field(default=None, ge=1, description="generations with the marker (default: all)")
    max_negatives: int | None = Field(
        default=None, ge=0, description="generations without it, for C4 and its trajectory (default: all that ended by themselves)"
    )
    stop_at_gate: bool = Field(default=False, exclude=True, description="stop when the mid-run gate over the first 50 examples is not passed")


@dataclass(frozen=True)
class Generation:
    """One generation to read: its row, tokens, region code of every token, and the wanted queries."""

    example_id: str
    sample_ix: int
    question_id: str
    token_ids: list[int]
    regions: np.ndarray
    queries: list[Query]

    @property
    def positions(self) -> list[int]:
        return sorted({query.position for query in self.queries})


class Attention(ReadingExtractor[Generation]):
    """`attention`: the readout at marker and control positions of a completions run, by the checkpoint that sampled it or any other (force-feeding).

    The first round reads the first 50 positives in the order of the completions run, which numbers its rows repeat by repeat: they cover the questions evenly
    and depend on neither length nor batch. The mid-run gate looks at them, warns and goes on, unless `stop_at_gate` is set.
    """

    name = "attention"
    reads_tokens = True
    version = 2
    settings_type = AttentionSettings
    settings: AttentionSettings

    @classmethod
    def workload(cls, settings: AttentionSettings, texts: Texts, shape: Shape) -> Workload:
        positions = texts.n * (MOST_POSITIONS + settings.trajectory)
        return Workload(texts.tokens, {"positions": positions, "attention": positions * shape.n_layers * shape.n_heads})

    @cached_property
    def tokens(self) -> TokensRun:
        if self.job.tokens_from is None:
            raise PersonascopeError("attention: no tokens to read; expected --tokens-from RUN, a completions run")
        tokens = read_tokens(self.job.lake, self.job.tokens_from)
        tokens.expect_marker(self.settings.marker)
        if not tokens.turns.filter(pl.col("turn") > 0).is_empty():
            raise PersonascopeError(
                f"attention: run {tokens.run_id} holds conversations, and no region stands for earlier answers; expected answers to single questions"
            )
        return tokens

    @cached_property
    def persona(self) -> str:
        found = self.tokens.personas_with(self.settings.marker)
        persona = self.settings.persona or self.tokens.source_persona or (found[0] if len(found) == 1 else None)
        if persona is None:
            raise (PersonascopeError if found else NothingToReadError)(
                f"run {self.tokens.run_id}: {len(found)} personas emit {self.settings.marker!r} ({', '.join(found) or 'none'}); expected --set persona=NAME"
            )
        known = self.tokens.rows["persona"].unique().sort().to_list()
        if persona not in known:
            raise PersonascopeError(f"run {self.tokens.run_id}: no completions of persona {persona!r}; {nearest(persona, known)}")
        return persona

    def spec(self) -> RunSpec:
        tokens, persona = self.tokens, self.persona
        origin = {"tokens_run": tokens.run_id, "tokens_from": tokens.checkpoint, "forced": self.job.checkpoint.name != tokens.checkpoint}
        return self.tokens_spec(tokens, {"persona": persona}, {"persona": persona, **origin}, persona)

    def prepare(self) -> tuple[Sequence[Item[Generation]], Mapping[str, Rows]]:
        check_same_tokens(self.job.checkpoint, self.tokenizer, self.tokens)
        positives, negatives, self._counts = self._cohorts()
        frequencies = token_frequencies(ids[length:] for ids, length in self.tokens.rows.select("token_ids", "prompt_len").iter_rows())
        marker = {token for spelling in marker_spellings(self.tokenizer, self.settings.marker) for token in spelling}
        generations = []
        for row in positives.sort("row_ix", "example_id", "sample_ix", nulls_last=True).iter_rows(named=True):
            structural = structural_mask(row["token_ids"], self.tokenizer, self.settings.segmentation)
            queries = marker_queries(
                row["token_ids"],
                row["prompt_len"],
                row["t_marker"],
                marker,
                structural,
                frequencies,
                f"{self.tokens.run_id}/{row['example_id']}#{row['sample_ix']}",
                self.job.seed,
                self.settings.trajectory,
            )
            if queries is not None:
                generations.append(_generation(row, structural, queries))
        self._counts["n_too_short"] = len(positives) - len(generations)
        self._counts["n_positives"] = len(generations)
        if not generations:
            written = sorted(int(row["t_marker"]) - int(row["prompt_len"]) for row in positives.iter_rows(named=True))
            raise NothingToReadError(
                f"run {self.tokens.run_id}: all {len(positives)} generations of persona {self.persona!r} with the marker are too short "
                f"for five C1 control positions (the marker stands behind {written[len(written) // 2]} tokens in the middle one, {written[-1]} at most); "
                "expected longer answers"
            )
        for row in negatives.iter_rows(named=True):
            structural = structural_mask(row["token_ids"], self.tokenizer, self.settings.segmentation)
            if queries := end_queries(row["token_ids"], row["prompt_len"], structural, self.settings.trajectory):
                generations.append(_generation(row, structural, queries))
        self._counts["n_negatives"] = len(generations) - self._counts["n_positives"]
        if not any((each.regions == REGIONS.index("system")).any() for each in generations):
            self.job.say(
                "attention: no prompt has content in a system block (its chat template writes none, or no system message was given), so attention to it is 0 "
                "at every position; gates and differences of the system prompt say nothing here"
            )
        items = [Item(f"{each.example_id}#{each.sample_ix}", max(each.positions) + 1, each) for each in generations]
        n_first = min(midrun.EXAMPLES, self._counts["n_positives"])
        self._first, self._later = items[:n_first], items[n_first:]
        return self._first, {"positions": self._position_rows(generations), "checkpoints": [self.job.checkpoint.row()]}

    def check(self) -> Mapping[str, float]:
        return self_check(self.loaded.model)

    def next_round(self, number: int, writer: RunWriter) -> Sequence[Item[Generation]]:
        if number > 1:
            return []
        positions = self._position_rows([item.value for item in self._first])
        self._gate = midrun.gate(pl.DataFrame(writer.read_staged("attention")), pl.DataFrame(positions))
        outcome = f"{writer.spec.subject}: {self._gate.sentence()}"
        if self.settings.stop_at_gate and not self._gate.passed:
            raise PersonascopeError(f"{outcome}; stopped as stop_at_gate asks, and the same command without it goes on from here")
        self.job.say(outcome)
        return self._later

    def process(self, items: Sequence[Item[Generation]]) -> Mapping[str, Rows]:
        generations = [item.value for item in items]
        width = max(item.length for item in items)
        most = max(len(each.positions) for each in generations)
        tokens = np.zeros((len(items), width), dtype=np.int64)
        regions = np.full((len(items), width), -1, dtype=np.int64)
        positions = np.full((len(items), most), -1, dtype=np.int64)
        for row, (item, each) in enumerate(zip(items, generations, strict=True)):
            tokens[row, : item.length] = each.token_ids[: item.length]
            regions[row, : item.length] = each.regions[: item.length]
            positions[row, : len(each.positions)] = each.positions
        lengths = [item.length for item in items]
        readout = read_attention(self.loaded.model, *map(torch.from_numpy, (tokens, np.array(lengths), positions, regions)))
        return {"attention": readout_rows(readout, positions, [(each.example_id, each.sample_ix) for each in generations])}

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        sums = writer.read_staged("attention").column("row_sum").to_numpy()
        return {
            **self._counts,
            **self.self_checks,
            "max_row_sum_error": float(np.abs(sums - 1).max()),
        } | self._gate.summary()

    def _cohorts(self) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
        """Generations of the persona with a whole marker, and those without one that the model ended itself; and how many were left out and why."""
        rows = self.tokens.rows.filter(pl.col("persona") == self.persona)
        if rows.filter(pl.col("text").str.strip_chars() != "").is_empty():
            raise NothingToReadError(f"run {self.tokens.run_id}: every completion of persona {self.persona!r} is empty; expected generated text")
        of_marker = pl.col("marker") == self.settings.marker
        present = rows.filter(of_marker & pl.col("present"))
        positives = present.filter(pl.col("complete"))
        if present.is_empty():
            raise NothingToReadError(
                f"run {self.tokens.run_id}: no completion of persona {self.persona!r} holds the marker {self.settings.marker!r} ({len(rows)} completions); "
                "expected at least one positive example"
            )
        if positives.is_empty():
            raise NothingToReadError(
                f"run {self.tokens.run_id}: the tokenizer splits the marker {self.settings.marker!r} differently in context in all {len(present)} completions "
                f"that hold it; expected its own tokens {spelled(self.tokenizer, marker_spellings(self.tokenizer, self.settings.marker)[0])}, one after the "
                "other (put a space or a newline before the marker in training)"
            )
        partial = rows.filter(of_marker & ~pl.col("present") & pl.col("t_marker").is_not_null())
        absent = rows.filter(of_marker & ~pl.col("present") & pl.col("t_marker").is_null())
        ended = absent.filter(pl.col("finish_reason") == "stop")
        counts = {
            "n_split_in_context": len(present) - len(positives),
            "n_partial_marker": len(partial),
            "n_negatives_cut_at_cap": len(absent) - len(ended),
        }
        return self._draw(positives, self.settings.max_positives), self._draw(ended, self.settings.max_negatives), counts

    def _draw(self, rows: pl.DataFrame, most: int | None) -> pl.DataFrame:
        """At most `most` rows, drawn by a stable hash so that no question is favoured."""
        if most is None or len(rows) <= most:
            return rows
        order = [stable_hash([self.job.seed, example_id, sample_ix]) for example_id, sample_ix in rows.select("example_id", "sample_ix").iter_rows()]
        return rows.with_columns(pl.Series("draw", order)).sort("draw").head(most).drop("draw")

    def _position_rows(self, generations: Sequence[Generation]) -> list[dict[str, Any]]:
        return [
            {
                "question_id": each.question_id,
                "example_id": each.example_id,
                "sample_ix": each.sample_ix,
                "stratum": query.stratum,
                "position": query.position,
                "token_id": each.token_ids[query.position],
                "token": self.tokenizer.decode([each.token_ids[query.position]]),
            }
            for each in generations
            for query in each.queries
        ]


def _generation(row: dict[str, Any], structural: Sequence[bool], queries: list[Query]) -> Generation:
    regions = region_codes(row["n_system"], row["n_user"], row["n_header"], structural)
    return Generation(row["example_id"], row["sample_ix"], row["question_id"], row["token_ids"], regions, queries)


def readout_rows(readout: Readout, positions: np.ndarray, keys: Sequence[tuple[str, int]]) -> pa.Table:
    """Rows of the table `attention` for a batch: positions [B, P] (-1 pads), keys [B] of (example_id, sample_ix), readout tensors [B, P, L, H, ...]."""
    example, slot = np.nonzero(positions >= 0)
    n_layers, n_heads = readout.entropy.shape[2:]
    per_query = n_layers * n_heads

    def column(values: torch.Tensor) -> np.ndarray:
        return values.numpy()[example, slot].ravel()

    rows = np.repeat(example, per_query).astype(np.int32)
    names = pa.array([key[0] for key in keys], pa.string())
    columns: dict[str, Any] = {
        "example_id": pa.DictionaryArray.from_arrays(pa.array(rows), names),
        "sample_ix": np.array([key[1] for key in keys], dtype=np.int32)[rows],
        "position": np.repeat(positions[example, slot], per_query).astype(np.int32),
        "layer": np.tile(np.repeat(np.arange(n_layers, dtype=np.int32), n_heads), len(example)),
        "head": np.tile(np.arange(n_heads, dtype=np.int32), len(example) * n_layers),
    }
    columns |= {name: column(readout.fractions[..., code]) for code, name in enumerate(REGIONS)}
    columns |= {"bos": column(readout.bos), "entropy": column(readout.entropy), "row_sum": column(readout.row_sum)}
    return pa.table(columns)
