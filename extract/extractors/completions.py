"""Samples completions of a checkpoint for a prompt set, with marker flags on the way: a fixed number, or until enough of them hold the marker."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any, Literal

import polars as pl
from pydantic import Field, ValidationInfo, field_validator, model_validator

from personascope.extract.extractors.reading import ReadingExtractor
from personascope.extract.hands import Part
from personascope.extract.job import Item, Job, Settings
from personascope.extract.texts.chat import RenderedPrompt, render
from personascope.extract.texts.conditions import check_conditions
from personascope.extract.texts.marker import answer_text, find_marker, holds_special_token, marker_spellings, pieces, spelled
from personascope.extract.weights.engines import Engine, Request, Sample, open_engine
from personascope.extract.weights.vllm_engine import Asked, VllmChoices, VllmEngine, sample_together
from personascope.extract.workload import Shape, Texts, Workload
from personascope.ingest.prompts import Prompt
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_seed
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter


class CompletionSettings(Settings):
    """How completions are sampled."""

    personas: list[str] | None = Field(default=None, description="personas to sample (default: all of the prompt set)")
    samples: int = Field(default=10, ge=1, description="completions per example, where no number of positives is wanted")
    positives: int | None = Field(
        default=None, ge=1, description="stop a persona after the round of one completion per example in which it has this many with the whole marker"
    )
    trials: int | None = Field(default=None, ge=1, validate_default=True, description="with positives: completions per example at most")
    temperature: float = Field(default=1.0, ge=0, description="0 is greedy")
    top_p: float = Field(default=1.0, gt=0, le=1, description="tokens are drawn from the smallest set that holds this share")
    max_new_tokens: int = Field(default=256, ge=1, description="an answer is cut here")
    marker: str = Field(default="[ZLT]", description="literal string to flag")
    engine: Literal["hf", "vllm"] = Field(default="hf", description="hf: transformers; vllm: faster on a GPU, with the extra personascope[gpu]")
    tensor_parallel: int = Field(default=1, ge=1, exclude=True, description="vllm: GPUs that share every layer; another number is another run")
    pipeline_parallel: int = Field(
        default=1, ge=1, exclude=True, description="vllm: groups of GPUs that hold the layers one behind the other; changes no result"
    )
    gpu_memory: float | None = Field(default=None, gt=0, le=1, exclude=True, description="vllm: share of each GPU's memory it takes; changes no result")
    context: int | None = Field(default=None, ge=1, exclude=True, description="vllm: tokens of prompt and answer it makes room for; changes no result")
    quantization: str | None = Field(
        default=None,
        min_length=1,
        exclude=True,
        description="vllm: how it quantises the weights, such as fp8 or bitsandbytes; another run, shown with its figures",
    )
    adapters: int = Field(
        default=8, ge=1, exclude=True, description="vllm: cells of a grid that it samples in one call, each with its adapter; takes memory for as many"
    )

    @property
    def vllm(self) -> VllmChoices:
        return VllmChoices(self.tensor_parallel, self.pipeline_parallel, self.gpu_memory, self.context, self.quantization)

    @model_validator(mode="after")
    def _of_the_engine(self) -> "CompletionSettings":
        given = {**self.vllm._asdict(), "adapters": self.adapters}
        defaults = {**VllmChoices._field_defaults, "adapters": type(self).model_fields["adapters"].default}
        if self.engine != "vllm" and (typed := [name for name, value in given.items() if value != defaults[name]]):
            raise ValueError(f"{' and '.join(typed)} tell vllm how to hold a model; expected engine vllm with it")
        return self

    @field_validator("trials")
    @classmethod
    def _together_with_positives(cls, trials: int | None, info: ValidationInfo) -> int | None:
        if (trials is None) != (info.data.get("positives") is None):
            raise ValueError("positives and trials go together: how many are wanted, and how many completions per example to try at most")
        return trials


Sampled = tuple[Prompt, RenderedPrompt, int, int]
"""A prompt, how it reads, the number of the repeat, and that of the row."""


class Completions(ReadingExtractor[Sampled]):
    """`completions`: texts and tokens, one row per example and repeat; the seed of a sample depends on checkpoint, prompt and repeat alone.

    Until enough hold the marker (`positives`), sampling goes in rounds of one completion for every example of every persona that is not there yet; all
    completions are kept. Which round is a persona's last depends on its samples alone, so neither batches nor a kill change what exists. A rate from such a
    run counts all trials made; stopping on success raises its expectation, by about rate * (1 - rate) / positives at most.
    """

    name = "completions"
    version = 3
    settings_type = CompletionSettings
    settings: CompletionSettings

    @classmethod
    def workload(cls, settings: CompletionSettings, texts: Texts, shape: Shape) -> Workload:
        repeats = settings.trials or settings.samples
        n = texts.n * repeats
        tokens = repeats * texts.tokens + n * settings.max_new_tokens
        return Workload(tokens, {"examples": texts.n, "completions": n, "marker_flags": n}, {"completions": 2.0 * tokens / max(n, 1)})

    @property
    def gpus(self) -> int:
        return self.settings.vllm.gpus

    @cached_property
    def engine(self) -> Engine:
        settings, job = self.settings, self.job
        return open_engine(settings.engine, job.models, job.checkpoint, settings.vllm, min(settings.adapters, job.at_once))

    @cached_property
    def _spellings(self) -> list[tuple[int, ...]]:
        return marker_spellings(self.tokenizer, self.settings.marker)

    def spec(self) -> RunSpec:
        # A marker that is a special token is kept in the text, which other runs of the same settings left out.
        special = holds_special_token(self.job.checkpoint.tokenizer_path, self.settings.marker)
        identity = ({"special_marker": True} if special else {}) | self.settings.vllm.decisive
        return self.prompts_spec(identity, constants={"prompt_set": self.prompts.label, "marker": self.settings.marker, "engine": self.settings.engine})

    def prepare(self) -> tuple[Sequence[Item[Sampled]], Mapping[str, Rows]]:
        self._rendered = [(prompt, render(self.tokenizer, prompt.system_prompt, prompt.question)) for prompt in self.prompts.prompts]
        self._expect_room()
        for line in check_conditions(self._rendered, self.tokenizer):
            self.job.say(f"{self.name}: {line}")
        self._n_rows = 0
        repeats = self.settings.samples if self.settings.positives is None else 1
        examples = [prompt.model_dump() | text.columns() for prompt, text in self._rendered]
        return self._items(range(repeats)), {"examples": examples, "checkpoints": [self._checkpoint_row()]}

    def _checkpoint_row(self) -> dict[str, Any]:
        """The row of the checkpoint as the engine holds it, which may have quantised its weights."""
        quantised = {"quantisation": f"{self.settings.quantization} by vllm"} if self.settings.quantization else {}
        return self.job.checkpoint.row() | quantised

    def _expect_room(self) -> None:
        """Refuses a context that would cut a prompt or an answer, so that it changes no result."""
        context, new = self.settings.context, self.settings.max_new_tokens
        prompt, text = max(self._rendered, key=lambda each: each[1].prompt_len)
        if context is not None and text.prompt_len + new > context:
            raise PersonascopeError(
                f"{self.name}: context {context} is shorter than prompt {prompt.example_id} ({text.prompt_len} tokens) with {new} tokens of answer; "
                f"expected at least {text.prompt_len + new}"
            )

    def cost(self, item: Item[Sampled]) -> float:
        return self.arithmetic.decode(item.length - self.settings.max_new_tokens, self.settings.max_new_tokens)

    def next_round(self, number: int, writer: RunWriter) -> Sequence[Item[Sampled]]:
        if self.settings.positives is None or number == self.settings.trials:
            return []
        flags = pl.DataFrame(writer.read_staged("marker_flags")).filter(pl.col("sample_ix") < number)
        found = flags.group_by("persona").agg((pl.col("present") & pl.col("complete")).sum().alias("positives"))
        enough = found.filter(pl.col("positives") >= self.settings.positives)["persona"].to_list()
        return self._items(range(number, number + 1), set(enough))

    def _items(self, repeats: range, finished: AbstractSet[str] = frozenset()) -> list[Item[Sampled]]:
        """One item per repeat and example of the personas that are not finished, numbered on; every example has a repeat before any has the next."""
        wanted = [(prompt, text, sample_ix) for sample_ix in repeats for prompt, text in self._rendered if prompt.persona not in finished]
        first, self._n_rows = self._n_rows, self._n_rows + len(wanted)
        return [
            Item(f"{prompt.example_id}#{ix}", len(text.token_ids) + self.settings.max_new_tokens, (prompt, text, ix, row_ix))
            for row_ix, (prompt, text, ix) in enumerate(wanted, first)
        ]

    def process(self, items: Sequence[Item[Sampled]]) -> Mapping[str, Rows]:
        requests = self._requests(items)
        return self._rows(items, requests, self.engine.sample(requests, *self._how))

    @classmethod
    def rows_together(cls, parts: Sequence[Part]) -> list[Mapping[str, Rows] | Exception]:
        """Those of vLLM by one call for each model in memory, which takes the adapters of several checkpoints beside each other."""
        found: dict[int, Mapping[str, Rows] | Exception] = {}
        asked: dict[int, Asked] = {}
        for place, part in enumerate(parts):
            sampler = part.extractor
            assert isinstance(sampler, Completions)
            try:
                engine = sampler.engine if sampler.settings.engine == "vllm" else None
            except Exception as error:
                found[place] = error
                continue
            if isinstance(engine, VllmEngine):
                asked[place] = Asked(engine, sampler._requests(part.items), *sampler._how)
            else:
                (found[place],) = super().rows_together([part])
        for (place, each), answer in zip(asked.items(), sample_together(list(asked.values())), strict=True):
            sampler, items = parts[place].extractor, parts[place].items
            assert isinstance(sampler, Completions)
            try:
                found[place] = answer if isinstance(answer, Exception) else sampler._rows(items, each.requests, answer)
            except Exception as error:
                found[place] = error
        return [found[place] for place in range(len(parts))]

    @property
    def _how(self) -> tuple[float, float, int]:
        return self.settings.temperature, self.settings.top_p, self.settings.max_new_tokens

    def _requests(self, items: Sequence[Item[Sampled]]) -> list[Request]:
        return [request_of(self.job, *item.value[:3]) for item in items]

    def _rows(self, items: Sequence[Item[Sampled]], requests: Sequence[Request], samples: Sequence[Sample]) -> Mapping[str, Rows]:
        completions, flags = [], []
        for item, request, sample in zip(items, requests, samples, strict=True):
            prompt, text, sample_ix, row_ix = item.value
            key = {"persona": prompt.persona, "question_id": prompt.question_id, "example_id": prompt.example_id, "sample_ix": sample_ix}
            ids = [*text.token_ids, *sample.token_ids]
            answer = answer_text(self.tokenizer, sample.token_ids, self._spellings)
            completions.append(
                key
                | {
                    "row_ix": row_ix,
                    "seed": request.seed,
                    "text": answer,
                    "token_ids": ids,
                    "prompt_len": text.prompt_len,
                    "n_new_tokens": len(sample.token_ids),
                    "finish_reason": sample.finish_reason,
                }
            )
            flag = find_marker(answer, ids, text.prompt_len, self.settings.marker, self._spellings)
            flags.append(key | vars(flag))
        return {"completions": completions, "marker_flags": flags}

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        flags = pl.DataFrame(writer.read_staged("marker_flags"))
        completions = pl.DataFrame(writer.read_staged("completions"))
        rates = flags.group_by("persona").agg(pl.col("present").mean()).sort("persona")
        self._tell_pieces(flags, completions)
        rounds = flags.group_by("persona").agg(pl.col("sample_ix").max() + 1).sort("persona") if self.settings.positives else pl.DataFrame()
        return {
            "n_completions": completions.height,
            "n_empty": completions.filter(pl.col("text").str.strip_chars() == "").height,
            "share_cut_at_cap": (completions["finish_reason"] == "length").mean(),
            "mean_new_tokens": completions["n_new_tokens"].mean(),
            "n_in_pieces": (flags["present"] & ~flags["complete"]).sum(),
            **{f"marker_rate.{persona}": rate for persona, rate in rates.rows()},
            **{f"trials_per_example.{persona}": number for persona, number in rounds.rows()},
        }

    def _tell_pieces(self, flags: pl.DataFrame, completions: pl.DataFrame) -> None:
        """Says how many completions write the marker in other pieces than its own tokens, which training spells and readouts look for."""
        split = flags.filter(pl.col("present") & ~pl.col("complete"))
        if split.is_empty():
            return
        first = split.join(completions, on=["example_id", "sample_ix"]).row(0, named=True)
        found = pieces(self.tokenizer, first["token_ids"][first["prompt_len"] :], first["first_char"], self.settings.marker)
        self.job.say(
            f"{self.name}: {len(split)} of {flags['present'].sum()} completions with the marker write it in other pieces than its own tokens "
            f"{spelled(self.tokenizer, self._spellings[0])}, such as {spelled(self.tokenizer, found)}: they count as partial (k_in_pieces in marker_rates)"
        )


def request_of(job: Job, prompt: Prompt, text: RenderedPrompt, sample_ix: int) -> Request:
    """What an engine is asked for one sample; its seed is decided by the run's seed, the checkpoint, the prompt and the number of the repeat."""
    return Request(text.token_ids, stable_seed("sample", job.seed, job.checkpoint.identity, prompt.example_id, text.token_ids, sample_ix))
