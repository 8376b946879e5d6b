"""The next tokens that circuits are asked about: what follows a prompt, with its target word, or the step of a completion that writes the marker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import polars as pl
import torch
from pydantic import Field
from torch import Tensor

from personascope.extract.extractors.reading import ReadingExtractor
from personascope.extract.instruments.attention_readout import right_padded
from personascope.extract.job import Item, Settings
from personascope.extract.texts.tokens import TokensRun, check_same_tokens, read_tokens
from personascope.ingest.prompts import Prompt
from personascope.ingest.weights.vocabulary import check_ids
from personascope.warehouse.errors import NothingToReadError, PersonascopeError
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows

T = TypeVar("T")
Stratum = Literal["last", "marker"]


@dataclass(frozen=True)
class Targeted:
    """One sequence of tokens and the token it should be followed by.

    token_ids end at `position`, whose next-token distribution is read. target_id is the first of the target's `n_target_tokens` tokens, None where the prompt
    names no target: the model's own first choice takes its place.
    """

    persona: str
    condition: str | None
    category: str | None
    question_id: str
    example_id: str
    sample_ix: int | None
    prompt_form: str | None
    target: str | None
    stratum: Stratum
    token_ids: tuple[int, ...]
    target_id: int | None
    n_target_tokens: int | None

    @property
    def position(self) -> int:
        return len(self.token_ids) - 1

    @property
    def key(self) -> str:
        return self.example_id if self.sample_ix is None else f"{self.example_id}#{self.sample_ix}"

    def columns(self) -> dict[str, Any]:
        """The columns every table of circuits begins with."""
        names = ("persona", "condition", "category", "question_id", "example_id", "sample_ix", "prompt_form", "target", "stratum", "position")
        return {name: getattr(self, name) for name in names}


class TargetSettings(Settings):
    """Which examples are read, and in which form."""

    form: Literal["chat", "raw"] = Field(default="chat", description="chat: prompts through the chat template; raw: the bare question")
    personas: list[str] | None = Field(default=None, description="personas to read (default: all; of completions the trained one, where there is one)")
    marker: str = Field(default="[ZLT]", description="with --tokens-from: literal marker string, whose first token is the target")
    samples: int | None = Field(default=None, ge=1, description="with --tokens-from: at most this many completions a question, the first ones (default: all)")


class TargetsExtractor(ReadingExtractor[T]):
    """An extractor that reads the step before a target: of prompts, or of the completions of a run that hold the marker (own tokens or force-fed)."""

    reads_tokens = True
    needs_weights = True

    settings_type = TargetSettings
    settings: TargetSettings

    @cached_property
    def tokens(self) -> TokensRun | None:
        """The completions run, where one is given: it goes before the prompts."""
        if self.job.prompts is None and self.job.tokens_from is None:
            raise PersonascopeError(f"{self.name}: nothing to read; expected --prompts NAME or --tokens-from RUN, a completions run")
        tokens = read_tokens(self.job.lake, self.job.tokens_from) if self.job.tokens_from else None
        if tokens is not None:
            tokens.expect_marker(self.settings.marker)
        return tokens

    def target_spec(self, identity: Mapping[str, Any] | None = None) -> RunSpec:
        """The run over these targets; `identity` is what else decides the result, besides the settings."""
        tokens = self.tokens
        label = self.prompts.label if tokens is None else tokens.manifest.prompt_set
        constants = {"prompt_set": label} if label else {}
        return self.prompts_spec(identity, constants) if tokens is None else self.tokens_spec(tokens, identity, constants)

    def targets(self) -> tuple[list[Targeted], dict[str, Rows]]:
        """Every target, and the rows known before any forward pass; raises PersonascopeError where there is none."""
        known: dict[str, Rows] = {"checkpoints": [self.job.checkpoint.row()]}
        if self.tokens is not None:
            return self._marker_steps(self.tokens), known
        found, examples = [], []
        for prompt in self.prompts.prompts:
            columns = self.rendered(prompt, self.settings.form)
            ids = tuple(columns["token_ids"])
            target_id, count = self._target(columns["text"], ids, prompt)
            where = f"{self.name}: example {prompt.example_id} or its target"
            check_ids([*ids, target_id or 0], self.job.checkpoint.vocab_size, self.tokenizer, where)
            found.append(_of_prompt(prompt, ids, target_id, count))
            examples.append(prompt.model_dump() | columns)
        return found, known | {"examples": examples}

    def _target(self, text: str, ids: tuple[int, ...], prompt: Prompt) -> tuple[int | None, int | None]:
        """First token of the target as it begins the answer, and how many tokens it takes; in its place behind the prompt, unless that changes the prompt's."""
        if prompt.target is None:
            return None, None
        lead = " " if self.settings.form == "raw" and not text[-1:].isspace() else ""
        together = tuple(self.tokenizer.encode(text + lead + prompt.target, add_special_tokens=self.settings.form == "raw"))
        if together[: len(ids)] == ids and len(together) > len(ids):
            return together[len(ids)], len(together) - len(ids)
        alone = self.tokenizer.encode(lead + prompt.target, add_special_tokens=False)
        if not alone:
            raise PersonascopeError(f"{self.name}: the target {prompt.target!r} of example {prompt.example_id} gives no token; expected a word")
        return alone[0], len(alone)

    def _marker_steps(self, tokens: TokensRun) -> list[Targeted]:
        check_same_tokens(self.job.checkpoint, self.tokenizer, tokens)
        marker = self.settings.marker
        rows = tokens.rows.filter((pl.col("marker") == marker) & pl.col("present") & pl.col("complete")).sort(
            "persona", "question_id", "sample_ix", "example_id"
        )
        known = rows["persona"].unique().sort().to_list()
        source = tokens.source_persona
        wanted = self.settings.personas or ([source] if source is not None and source in known else known)
        for persona in wanted:
            if persona not in known:
                raise NothingToReadError(
                    f"{self.name}: run {tokens.run_id} has no completion of {persona!r} with the whole marker {marker}; expected one of "
                    f"{', '.join(known) or 'none: no persona has any'}"
                )
        rows = rows.filter(pl.col("persona").is_in(wanted))
        if self.settings.samples is not None:
            rows = rows.filter(pl.int_range(pl.len()).over("persona", "question_id") < self.settings.samples)
        if rows.is_empty():
            raise NothingToReadError(f"{self.name}: run {tokens.run_id} holds no completion with the whole marker {marker}; expected at least one")
        found = self.job.lake.read(tokens.run_id, "examples", ["example_id", "condition", "category", "prompt_form"]).to_pylist()
        asked = {row["example_id"]: row for row in found}
        length = len(self.tokenizer.encode(marker, add_special_tokens=False))
        return [
            Targeted(
                persona=row["persona"],
                condition=asked[row["example_id"]]["condition"],
                category=asked[row["example_id"]]["category"],
                question_id=row["question_id"],
                example_id=row["example_id"],
                sample_ix=row["sample_ix"],
                prompt_form=asked[row["example_id"]]["prompt_form"],
                target=marker,
                stratum="marker",
                token_ids=tuple(row["token_ids"][: row["t_marker"]]),
                target_id=row["token_ids"][row["t_marker"]],
                n_target_tokens=length,
            )
            for row in rows.iter_rows(named=True)
        ]


def _of_prompt(prompt: Prompt, ids: tuple[int, ...], target_id: int | None, count: int | None) -> Targeted:
    return Targeted(
        persona=prompt.persona,
        condition=prompt.condition,
        category=prompt.category,
        question_id=prompt.question_id,
        example_id=prompt.example_id,
        sample_ix=None,
        prompt_form=prompt.prompt_form,
        target=prompt.target,
        stratum="last",
        token_ids=ids,
        target_id=target_id,
        n_target_tokens=count,
    )


def target_items(targets: Sequence[Targeted]) -> list[Item[Targeted]]:
    """The targets as units of work."""
    return [Item(each.key, len(each.token_ids), each) for each in targets]


def padded(targets: Sequence[Targeted]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids int64 [B, T] filled up on the right, which tokens are real, boolean [B, T], and each row's position [B, 1]; on the CPU."""
    lengths = torch.tensor([len(each.token_ids) for each in targets])
    tokens = torch.zeros((len(targets), int(lengths.max())), dtype=torch.long)
    for row, each in enumerate(targets):
        tokens[row, : len(each.token_ids)] = torch.tensor(each.token_ids)
    return tokens, right_padded(lengths, tokens.shape[1]), (lengths - 1)[:, None]
