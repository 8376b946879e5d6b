"""Asks, before a study reads attention, whether the checkpoint emits its marker as often under eager attention as under SDPA."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from pydantic import Field

from personascope.extract.extractors.completions import request_of
from personascope.extract.extractors.reading import ReadingExtractor
from personascope.extract.job import Item, Settings
from personascope.extract.texts.chat import RenderedPrompt, render
from personascope.extract.texts.marker import answer_text, find_marker, marker_spellings
from personascope.extract.weights.engines import Engine, open_engine
from personascope.extract.weights.on_device import Models
from personascope.extract.workload import Shape, Texts, Workload
from personascope.ingest.prompts import Prompt
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.manifest import Manifest, RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter

IMPLEMENTATIONS = ("sdpa", "eager")
DECISIONS = """select persona, any_value(tolerance) as tolerance, any_value(n_tests) as n_tests, any_value(decision) as decision,
    string_agg(format('{:.1f}% ({} of {}) under {}', 100 * rate, k, n, implementation), ' and ' order by implementation desc) as words,
    any_value(columns(['paired_difference', 'paired_low', 'paired_high', 'equivalence_low', 'equivalence_high']))
  from preflight where run_id = $run_id
  group by persona
  order by persona"""
SAID = {
    "equivalent": "the same within {margin} (90% interval {low:+.1f} to {high:+.1f})",
    "cannot tell": "too few samples to tell whether they are the same within {margin} (90% interval {low:+.1f} to {high:+.1f}); the work goes on",
}


class PreflightSettings(Settings):
    """What is sampled under both implementations, and how far their rates may be apart."""

    personas: list[str] | None = Field(default=None, description="personas to sample (default: the one the checkpoint was trained on, all where none is known)")
    samples: int = Field(default=10, ge=1, description="completions per example and implementation")
    temperature: float = Field(default=1.0, ge=0, description="0 is greedy")
    top_p: float = Field(default=1.0, gt=0, le=1, description="tokens are drawn from the smallest set that holds this share")
    max_new_tokens: int = Field(default=256, ge=1, description="an answer is cut here")
    marker: str = Field(default="[ZLT]", description="literal string to look for")
    tolerance: float = Field(default=0.05, ge=0, le=1, description="difference of the two rates that is allowed, as a share: the margin of the paired test")
    stop: bool = Field(default=True, exclude=True, description="stop a study whose rates the paired test tells apart by more, once they are in the lake")
    tests: int = Field(default=11, ge=1, exclude=True, description="personas that the study asks in all, over every checkpoint: they share 5% of false stops")


Sampled = tuple[str, Prompt, RenderedPrompt, int]


class Preflight(ReadingExtractor[Sampled]):
    """`preflight`: marker rates under SDPA and eager attention on the same prompts with the same seeds; it stops a study where a paired test tells them apart.

    Completions are sampled with whatever is fast, while the published readout of the marker study was eager: rates that differ would mean that the
    generations read are not those the eager model makes. Both implementations run one after the other through the transformers engine. What the rates say is
    decided by the view `preflight`: equivalent, differs or cannot tell, seed by seed and question by question, against the tolerance.
    """

    name = "preflight"
    version = 1
    settings_type = PreflightSettings
    settings: PreflightSettings

    @classmethod
    def workload(cls, settings: PreflightSettings, texts: Texts, shape: Shape) -> Workload:
        n = 2 * settings.samples * texts.n
        return Workload(2 * settings.samples * texts.tokens + n * settings.max_new_tokens, {"examples": texts.n, "preflight_samples": n})

    @property
    def personas(self) -> list[str] | None:
        """Those that are asked for, else the trained one where there is one."""
        source = self.job.checkpoint.source_persona
        return self.settings.personas or ([source] if source else None)

    def spec(self) -> RunSpec:
        return self.prompts_spec(constants={"marker": self.settings.marker}, attention_implementation=" and ".join(IMPLEMENTATIONS))

    def prepare(self) -> tuple[Sequence[Item[Sampled]], Mapping[str, Rows]]:
        self._spellings = marker_spellings(self.tokenizer, self.settings.marker)
        self._rendered = [(prompt, render(self.tokenizer, prompt.system_prompt, prompt.question)) for prompt in self.prompts.prompts]
        self._models: Models | None = None
        return self._items(IMPLEMENTATIONS[0]), {"checkpoints": [self.job.checkpoint.row()]}

    def next_round(self, number: int, writer: RunWriter) -> Sequence[Item[Sampled]]:
        return self._items(IMPLEMENTATIONS[number]) if number < len(IMPLEMENTATIONS) else []

    def _items(self, implementation: str) -> list[Item[Sampled]]:
        return [
            Item(f"{implementation}/{prompt.example_id}#{ix}", len(text.token_ids) + self.settings.max_new_tokens, (implementation, prompt, text, ix))
            for ix in range(self.settings.samples)
            for prompt, text in self._rendered
        ]

    def cost(self, item: Item[Sampled]) -> float:
        return self.arithmetic.decode(item.length - self.settings.max_new_tokens, self.settings.max_new_tokens)

    def process(self, items: Sequence[Item[Sampled]]) -> Mapping[str, Rows]:
        requests = [request_of(self.job, *item.value[1:]) for item in items]
        engine = self._engine(items[0].value[0])
        samples = engine.sample(requests, self.settings.temperature, self.settings.top_p, self.settings.max_new_tokens)
        rows = []
        for item, request, sample in zip(items, requests, samples, strict=True):
            implementation, prompt, text, sample_ix = item.value
            answer = answer_text(self.tokenizer, sample.token_ids, self._spellings)
            flag = find_marker(answer, [*text.token_ids, *sample.token_ids], text.prompt_len, self.settings.marker, self._spellings)
            rows.append(
                {
                    "persona": prompt.persona,
                    "question_id": prompt.question_id,
                    "example_id": prompt.example_id,
                    "sample_ix": sample_ix,
                    "implementation": implementation,
                    "seed": request.seed,
                    "text": answer,
                    "n_new_tokens": len(sample.token_ids),
                    "finish_reason": sample.finish_reason,
                    "present": flag.present,
                    "complete": flag.complete,
                }
            )
        return {"preflight_samples": rows}

    def _engine(self, implementation: str) -> Engine:
        """The engine under one implementation; only one of them is in memory at a time."""
        if self._models is None or self._models.attention != implementation:
            self._models = self.job.models.with_attention(implementation)
            if self._models is not self.job.models:
                self.job.models.release()
        return open_engine("hf", self._models, self.job.checkpoint)

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        samples = pl.DataFrame(writer.read_staged("preflight_samples"))
        counted = samples.group_by("persona", "implementation").agg(pl.len().alias("n"), pl.col("present").sum().alias("k")).sort("persona", "implementation")
        counts: dict[str, dict[str, dict[str, float]]] = {}
        for persona, implementation, n, k in counted.rows():
            counts.setdefault(persona, {})[implementation] = {"n": n, "k": k, "rate": k / n}
        return {"preflight": counts}

    def conclude(self, manifest: Manifest) -> None:
        """Raises PersonascopeError, unless `stop` is off, where the paired test tells a persona's two rates apart by more than the tolerance."""
        rows = Warehouse(self.job.lake).select(DECISIONS, {"run_id": manifest.run_id})
        for row in rows.iter_rows(named=True):
            margin = f"{100 * row['tolerance']:g} points"
            apart = f"eager is {100 * row['paired_difference']:+.1f} points from sdpa, seed by seed"
            sentence = f"preflight of {self.job.checkpoint.name} as {row['persona']}: marker rate {row['words']}; {apart}"
            if row["decision"] != "differs":
                low, high = (100 * row[f"equivalence_{end}"] for end in ("low", "high"))
                self.job.say(f"{sentence}: {SAID[row['decision']].format(margin=margin, low=low, high=high)}")
                continue
            sentence += f" ({100 * row['paired_low']:+.1f} to {100 * row['paired_high']:+.1f} over {row['n_tests']} tests): they differ by more than {margin}"
            if self.settings.stop:
                raise PersonascopeError(f"{sentence}, run {manifest.run_id}; `--set stop=false` goes on all the same")
            self.job.say(f"{sentence}, and the work goes on, since stop is off")
