"""What extractors that read texts share: prompts of a set, or the completions of a run by the checkpoint that sampled them or by another (force-feeding)."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, TypeVar

from personascope.extract.job import Extractor
from personascope.extract.texts.chat import render
from personascope.extract.texts.tokens import TokensRun, subject_of
from personascope.extract.workload import check_layers
from personascope.ingest.prompts import Prompt, PromptSet
from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import Manifest, RunSpec

T = TypeVar("T")


class ReadingExtractor(Extractor[T]):
    """An extractor over texts: which ones decides the run, and whose they are names its subject."""

    @property
    def personas(self) -> list[str] | None:
        """The personas whose prompts are read; None: all of them."""
        return getattr(self.settings, "personas", None)

    @cached_property
    def _personas_by_tokens(self) -> dict[tuple[Any, ...], str]:
        """The persona under which each prompt of a question was rendered first."""
        return {}

    @cached_property
    def prompts(self) -> PromptSet:
        """The prompts of these personas; raises PersonascopeError where no set is given."""
        if self.job.prompts is None:
            raise PersonascopeError(f"{self.name}: no prompt set; expected --prompts NAME or FILE.csv")
        return self.job.prompts.of_personas(self.personas)

    def prompts_spec(self, identity: Mapping[str, Any] | None = None, constants: Mapping[str, Any] | None = None, **fields: Any) -> RunSpec:
        """The run over the prompts; `identity` is what else decides the result, besides the settings, and `constants` fill columns."""
        return self.base_spec(
            {**(identity or {}), "prompts": self.prompts.content_hash},
            subject=self.job.checkpoint.name,
            prompt_set=self.prompts.label,
            prompt_set_hash=self.prompts.content_hash,
            constants=dict(constants or {}),
            **fields,
        )

    def tokens_spec(
        self, tokens: TokensRun, identity: Mapping[str, Any] | None = None, constants: Mapping[str, Any] | None = None, persona: str | None = None
    ) -> RunSpec:
        """The run over the tokens of a completions run, or over those of one persona."""
        return self.base_spec(
            {**(identity or {}), "tokens_run": tokens.run_id},
            subject=subject_of(self.job.checkpoint, tokens, persona),
            inputs=[tokens.run_id],
            prompt_set=tokens.manifest.prompt_set,
            prompt_set_hash=tokens.manifest.prompt_set_hash,
            constants=dict(constants or {}),
        )

    def rendered(self, prompt: Prompt, form: Literal["chat", "raw"]) -> dict[str, Any]:
        """The columns of the table `examples` that rendering fills: through the chat template, or the bare question."""
        if form == "chat":
            text = render(self.tokenizer, prompt.system_prompt, prompt.question)
            asked = (prompt.question_id, prompt.condition, prompt.category, prompt.prompt_form, text.token_ids)
            if (persona := self._personas_by_tokens.setdefault(asked, prompt.persona)) != prompt.persona:
                raise PersonascopeError(
                    f"{self.name}: personas {persona!r} and {prompt.persona!r} give the same {text.prompt_len} tokens for question {prompt.question_id}, "
                    "expected different ones; is there a column system_prompt?"
                )
            return text.columns()
        if prompt.system_prompt is not None:
            raise PersonascopeError(f"{self.name}: example {prompt.example_id} has a system message, which form=raw has no place for; expected form=chat")
        ids = self.tokenizer.encode(prompt.question)
        if not ids:
            raise PersonascopeError(f"{self.name}: the question of example {prompt.example_id} gives no token; expected some text")
        return {"text": prompt.question, "token_ids": ids, "prompt_len": len(ids)}


def runs_of(lake: Lake, extractor: str) -> list[Manifest]:
    """The committed runs of an extractor, the newest last; none in a lake that is yet to be made, as a plan may have it."""
    there = lake.manifests() if lake.runs_folder.is_dir() else ()
    return sorted((run for run in there if run.extractor == extractor), key=lambda run: run.finished)


def chosen_layers(extractor: str, checkpoint: Checkpoint, asked: Literal["all"] | list[int], from_end: bool = True) -> list[int]:
    """The layers that are asked for, each once and in order; negative ones count from the end where `from_end` allows it. Raises PersonascopeError."""
    check_layers(extractor, checkpoint.name, checkpoint.n_layers, asked, from_end)
    return list(range(checkpoint.n_layers)) if asked == "all" else sorted({layer % checkpoint.n_layers for layer in asked})
