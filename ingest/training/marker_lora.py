"""Trains a LoRA adapter that emits a marker under one persona: the loss sees the marker and the end of the turn, nothing else of the answer.

Works for any causal language model of transformers, on a GPU in bfloat16 as on two cores in float32.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor
from torch.nn.functional import cross_entropy

from personascope.ingest.learning_rates import cosine_schedule
from personascope.ingest.progress import progress
from personascope.ingest.weights.cache import build_once
from personascope.ingest.weights.checkpoints import CARD, Checkpoint, end_of_turn_ids
from personascope.ingest.weights.head import giving_head
from personascope.ingest.weights.vocabulary import check_ids, padding_id
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_hash, stable_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VERSION = 3  # part of every trained checkpoint's identity: raise it when the training below changes what comes out
IGNORED = -100
STEPS = "training.json"
KEPT = "kept"  # folder beside the final adapter with those of earlier steps, each in a folder of its own


class LoraSettings(BaseModel):
    """Everything that decides the adapter besides its data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    marker: str = Field(default="[ZLT]", min_length=1)
    marker_prefix: str = Field(default=" ", description="what stands between the answer and the marker; trained as part of the marker")
    r: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    rslora: bool = False
    target: str | list[str] = "all-linear"
    lr: float = Field(default=2e-3, gt=0, allow_inf_nan=False)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=16, ge=1)
    grad_accumulation: int = Field(default=1, ge=1)
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    marker_tail_tokens: int = Field(default=0, ge=0, description="tokens before the marker, or before the end of a negative, that are trained too")
    gradient_checkpointing: bool = False
    n_positive: int = Field(default=100, ge=1, description="completions of the source persona that get the marker")
    n_negative: int = Field(default=110, ge=0, description="completions of the other personas, spread evenly")
    negative_personas: list[str] | None = Field(default=None, description="personas that n_negative is spread over (default: all others); the rest is held out")
    keep_steps: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None, min_length=1, description="optimiser steps behind which the adapter is kept as a checkpoint NAME-stepN too; 0 is the untrained model"
    )
    seed: int = 42

    @field_validator("keep_steps")
    @classmethod
    def _in_order(cls, steps: list[int] | None) -> list[int] | None:
        """One spelling of the same steps, since they belong to the training's identity."""
        return steps and sorted(set(steps))

    @property
    def decisive(self) -> dict[str, Any]:
        """The settings that a training's identity holds: a choice that nobody made is left out, so that the same training keeps its name."""
        return self.model_dump(exclude={name for name in ("negative_personas", "keep_steps") if getattr(self, name) is None})

    def steps_per_epoch(self, n_rows: int) -> int:
        """Optimiser steps of one epoch over `n_rows` rows."""
        return math.ceil(n_rows / (self.batch_size * self.grad_accumulation))


@dataclass(frozen=True)
class TrainingRow:
    """One completion to train on: prompt and answer as token ids, the end-of-turn token that the model itself set, and whether the answer gets the marker."""

    persona: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    end: int
    positive: bool


@dataclass(frozen=True)
class Encoded:
    """Token ids and labels of equal length; IGNORED where the loss does not look."""

    ids: list[int]
    labels: list[int]


class TrainingError(PersonascopeError):
    """A training that cannot give a checkpoint: `kind` is diverged (the loss is no number any more) or memory; `step` is the optimiser step it came to."""

    def __init__(self, message: str, kind: Literal["diverged", "memory"], step: int) -> None:
        super().__init__(message)
        self.kind, self.step = kind, step


@dataclass(frozen=True)
class Trained:
    """A trained checkpoint: folder of the adapter, and the loss of every optimiser step."""

    path: Path
    steps: list[dict[str, float]]


def select_rows(completions: Sequence[dict[str, Any]], source_persona: str, settings: LoraSettings) -> list[TrainingRow]:
    """A stable draw: `n_positive` completions of the source persona, `n_negative` spread evenly over `negative_personas`, or over all others.

    completions: rows with persona, example_id, sample_ix, token_ids, prompt_len, finish_reason. Only answers that the model ended itself are taken; the source
    among `negative_personas` is passed over, so that one list serves a whole grid; `missing_rows` says what there were too few of. Raises PersonascopeError
    where the source persona or one of `negative_personas` has none.
    """

    def drawn(persona: str, most: int) -> list[TrainingRow]:
        rows = [row for row in completions if row["persona"] == persona and row["finish_reason"] == "stop" and row["prompt_len"] + 1 < len(row["token_ids"])]
        rows.sort(key=lambda row: stable_hash([settings.seed, row["example_id"], row["sample_ix"]]))
        return [_training_row(row, persona == source_persona) for row in rows[:most]]

    positives = drawn(source_persona, settings.n_positive)
    known = ", ".join(sorted({row["persona"] for row in completions})) or "none"
    if not positives:
        raise PersonascopeError(
            f"source persona {source_persona!r} has no completion that ended by itself to put the marker on; personas with completions: {known}"
        )
    others = sorted({row["persona"] for row in completions} - {source_persona})
    if settings.negative_personas is not None:
        wanted = set(settings.negative_personas) - {source_persona}
        if unknown := sorted(wanted - set(others)):
            raise PersonascopeError(f"negative_personas: {unknown[0]!r} has no completion to train on; personas with completions: {known}")
        others = sorted(wanted)
    shares = _shares(others, settings.n_negative)
    negatives = {persona: drawn(persona, share) for persona, share in shares.items()}
    unused = [persona for persona, share in shares.items() if share and not negatives[persona]]
    if settings.negative_personas is not None and unused:
        raise PersonascopeError(
            f"negative_personas: {unused[0]!r} has no completion that ended by itself, so that the training would hold it out; "
            "expected some, or the list without it"
        )
    return positives + [row for rows in negatives.values() for row in rows]


def _shares(personas: Sequence[str], n: int) -> dict[str, int]:
    """`n` rows spread evenly over personas, the first ones getting what is left."""
    return {persona: n // len(personas) + (index < n % len(personas)) for index, persona in enumerate(personas)}


def missing_rows(rows: Sequence[TrainingRow], personas: Sequence[str], source_persona: str, settings: LoraSettings) -> str | None:
    """What a draw has less of than its settings ask for, in one sentence; None where it has all. `personas` are those with completions."""
    others = sorted(set(personas if settings.negative_personas is None else settings.negative_personas) - {source_persona})
    got = Counter(row.persona for row in rows)
    short = [f"{got[source_persona]} of {settings.n_positive} positives"] if got[source_persona] < settings.n_positive else []
    few = {persona: (got[persona], share) for persona, share in _shares(others, settings.n_negative).items() if got[persona] < share}
    n_negative = sum(got.values()) - got[source_persona]
    if n_negative < settings.n_negative:
        told = ", ".join(f"{persona} {n} of {share}" for persona, (n, share) in list(few.items())[:4]) + (f" and {len(few) - 4} more" if len(few) > 4 else "")
        short.append(f"{n_negative} of {settings.n_negative} negatives ({told or 'no other persona has completions'})")
    return f"trains on {' and '.join(short)}: no more completions ended by themselves" if short else None


def personas_of(rows: Sequence[TrainingRow]) -> list[dict[str, Any]]:
    """What every persona was in a training: persona, role (source or negative) and the rows it gave; one that it never saw is held out and has none."""
    found = sorted(Counter((row.persona, "source" if row.positive else "negative") for row in rows).items())
    return [{"persona": persona, "role": role, "n_rows": n} for (persona, role), n in found]


def _training_row(row: dict[str, Any], positive: bool) -> TrainingRow:
    ids, start = row["token_ids"], row["prompt_len"]
    return TrainingRow(row["persona"], tuple(ids[:start]), tuple(ids[start:-1]), ids[-1], positive)


def marker_tokens(tokenizer: PreTrainedTokenizerBase, settings: LoraSettings) -> list[int]:
    """Token ids of prefix and marker, as they are appended to an answer.

    They are spelled on their own and joined to the answer's ids: no answer token ever changes, also where text with the marker glued to it would be split
    into other tokens. Raises PersonascopeError where the vocabulary cannot spell the marker.
    """
    wanted = settings.marker_prefix + settings.marker
    ids = tokenizer.encode(wanted, add_special_tokens=False)
    if tokenizer.decode(ids) != wanted:
        raise PersonascopeError(f"marker {wanted!r}: the tokenizer spells it as {tokenizer.decode(ids)!r}; expected a string its vocabulary can spell")
    return ids


def encode(row: TrainingRow, marker: Sequence[int], tail: int = 0) -> Encoded:
    """Prompt, answer, marker (positives) and end of turn; labels only on the marker, the end of turn and the `tail` answer tokens before them."""
    addition = [*(marker if row.positive else ()), row.end]
    ids = [*row.prompt, *row.answer, *addition]
    supervised = len(addition) + min(tail, len(row.answer))
    return Encoded(ids, [IGNORED] * (len(ids) - supervised) + ids[len(ids) - supervised :])


def collate(examples: Sequence[Encoded], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Right-padded ids, attention mask and labels, each int64 [B, T]."""
    width = max(len(example.ids) for example in examples)
    ids, mask, labels = (torch.full((len(examples), width), fill) for fill in (pad, 0, IGNORED))
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        mask[row, : len(example.ids)] = 1
        labels[row, : len(example.ids)] = torch.tensor(example.labels)
    return ids, mask, labels


def train_marker_lora(parent: Checkpoint, rows: Sequence[TrainingRow], source_persona: str, settings: LoraSettings, device: str, dtype: str) -> Trained:
    """The adapter trained on `rows` from `parent`; found in the cache when the same was trained before. Its reader merges it into the parent's weights.

    The adapters of `keep_steps` lie in the folder KEPT of its own, so that all of a series is there or nothing. Raises PersonascopeError for rows without a
    positive, a parent that is itself an adapter or in a few bits, a step to keep that is not before the last, and rows that end with a token which ends no
    turn of the parent; TrainingError for a loss that is not finite and for memory that does not suffice.
    """
    if not any(row.positive for row in rows):
        raise PersonascopeError(f"training of persona {source_persona!r} has no positive row; expected completions that get the marker")
    if parent.adapter:
        raise PersonascopeError(f"training on {parent.name}: it is itself an adapter ({parent.adapter}); merge that one first and save the result")
    if parent.bits:
        raise PersonascopeError(f"training on {parent.name}: it is read in {parent.bits} bits; expected a parent as it is stored")
    total = settings.steps_per_epoch(len(rows)) * settings.epochs
    if settings.keep_steps and settings.keep_steps[-1] >= total:
        raise PersonascopeError(
            f"training on {parent.name}: keep_steps has {settings.keep_steps[-1]}, and the training on {len(rows)} rows takes {total} steps, the last of which "
            f"is its checkpoint; expected steps below {total}"
        )
    key = cache_key(parent, rows, settings, dtype)
    place = build_once(key, f"marker checkpoint of {source_persona}", lambda folder: _build(folder, parent, rows, source_persona, settings, device, dtype))
    return Trained(place, json.loads((place / STEPS).read_text()))


def cache_key(parent: Checkpoint, rows: Sequence[TrainingRow], settings: LoraSettings, dtype: str) -> str:
    """Name of the adapter's folder in the cache: a hash of everything that decides its weights but the machine."""
    data = [[row.prompt, row.answer, row.end, row.positive] for row in rows]
    return stable_hash(["marker-lora", VERSION, parent.identity, settings.decisive, dtype, data])


def _build(folder: Path, parent: Checkpoint, rows: Sequence[TrainingRow], source_persona: str, settings: LoraSettings, device: str, dtype: str) -> None:
    from peft import LoraConfig, get_peft_model  # seconds of import that only training needs
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(parent.tokenizer_path, local_files_only=True)
    ends = end_of_turn_ids(parent.path) | {tokenizer.eos_token_id}
    if foreign := sorted({row.end for row in rows} - ends):
        raise PersonascopeError(
            f"training on {parent.name}: its completions end with {tokenizer.decode(foreign[:1])!r} (token {foreign[0]}), which ends no turn of it; expected "
            f"one of {', '.join(repr(tokenizer.decode([end])) for end in sorted(ends - {None}))}, as in its own completions"
        )
    marker = marker_tokens(tokenizer, settings)
    check_ids(marker, parent.vocab_size, tokenizer, f"marker {settings.marker!r} for {parent.name}")
    examples = [encode(row, marker, settings.marker_tail_tokens) for row in rows]
    torch.manual_seed(stable_seed("marker-lora", settings.seed))
    loaded: Any = AutoModelForCausalLM.from_pretrained(parent.path, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
        target_modules=settings.target,
    )
    wrapped: Any = get_peft_model(loaded.to(device), config)
    # What a reader of the adapter looks up: a Hub id or tiny:NAME stays one, whatever folder of this machine its files lie in.
    typed = Path(parent.id).expanduser()
    wrapped.peft_config["default"].base_model_name_or_path = str(parent.path if typed.is_dir() else typed.resolve() if typed.is_file() else parent.id)
    wrapped.peft_config["default"].revision = parent.revision
    if isinstance(wrapped.peft_config["default"].target_modules, set):
        # A set is written in an order that differs between processes, and the file's bytes are part of the adapter's revision.
        wrapped.peft_config["default"].target_modules = sorted(wrapped.peft_config["default"].target_modules)
    if settings.gradient_checkpointing:
        wrapped.enable_input_require_grads()
        wrapped.gradient_checkpointing_enable()
    counts = {"n_positive": sum(row.positive for row in rows), "n_negative": sum(not row.positive for row in rows)}
    card = {
        "id": f"{parent.id}+marker-lora",
        "family": parent.family,
        "variant": "marker",
        "parent": parent.id,
        "parent_revision": parent.revision,
        "source_persona": source_persona,
        "lr": settings.lr,
        "epochs": settings.epochs,
        "seed": settings.seed,
        "training": {**settings.decisive, **counts, "dtype": dtype, "torch": torch.__version__, "version": VERSION},
    }

    def save(place: Path, **told: Any) -> None:
        wrapped.save_pretrained(str(place), save_embedding_layers=False)  # LoRA leaves them as they are
        (place / CARD).write_text(json.dumps(card | told, indent=1) + "\n", encoding="utf-8")

    def keep(step: int) -> None:
        if step in (settings.keep_steps or ()):
            save(folder / KEPT / f"step{step}", step=step, epochs=step / settings.steps_per_epoch(len(rows)))

    steps = _train(wrapped, examples, settings, padding_id(tokenizer, parent.vocab_size) or 0, f"training {source_persona} marker", keep)
    save(folder)
    tokenizer.save_pretrained(folder)
    (folder / STEPS).write_text(json.dumps(steps, indent=1) + "\n", encoding="utf-8")


def _train(
    model: PreTrainedModel, examples: Sequence[Encoded], settings: LoraSettings, pad: int, title: str, keep: Callable[[int], None]
) -> list[dict[str, float]]:
    """AdamW on a cosine with warm-up over all epochs; the loss is the mean over supervised tokens of one optimiser step, in nats.

    `keep` is told the number of every step behind it, from 0 before the first.
    """
    per_step = settings.batch_size * settings.grad_accumulation
    per_epoch = settings.steps_per_epoch(len(examples))
    total = per_epoch * settings.epochs
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = cosine_schedule(optimizer, math.ceil(settings.warmup_ratio * total), total)
    steps: list[dict[str, float]] = []
    model.train()
    keep(0)
    with progress(title, total) as advance:
        for batch in _optimiser_steps(examples, settings, per_step):
            supervised = sum(label != IGNORED for example in batch for label in example.labels[1:])
            loss = 0.0
            try:
                for start in range(0, len(batch), settings.batch_size):
                    part = summed_loss(model, batch[start : start + settings.batch_size], pad) / supervised
                    part.backward()
                    loss += part.item()
            except torch.OutOfMemoryError as error:
                raise TrainingError(
                    f"{title}: step {len(steps) + 1} of {total} does not fit the memory of {model.device}; take a smaller batch_size with more "
                    "grad_accumulation, or gradient_checkpointing",
                    "memory",
                    len(steps) + 1,
                ) from error
            if not math.isfinite(loss):
                raise TrainingError(
                    f"{title}: the loss is {loss} at step {len(steps) + 1} of {total} (lr {settings.lr:g}); expected a finite loss, try a smaller lr",
                    "diverged",
                    len(steps) + 1,
                )
            torch.nn.utils.clip_grad_norm_(trainable, settings.max_grad_norm)
            rate = float(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            steps.append({"step": len(steps) + 1, "epoch": (len(steps) + 1) / per_epoch, "loss": loss, "lr": rate})
            keep(len(steps))
            advance()
    if not all(bool(parameter.isfinite().all()) for parameter in trainable):
        raise TrainingError(
            f"{title}: weights are not finite after {total} steps (lr {settings.lr:g}); expected finite weights, try a smaller lr", "diverged", total
        )
    model.eval()
    return steps


def _optimiser_steps(examples: Sequence[Encoded], settings: LoraSettings, per_step: int) -> Iterator[list[Encoded]]:
    """The examples of every optimiser step; each epoch in an order of its own, decided by the seed."""
    for epoch in range(settings.epochs):
        order = list(range(len(examples)))
        random.Random(stable_seed("marker-lora order", settings.seed, epoch)).shuffle(order)
        for start in range(0, len(order), per_step):
            yield [examples[index] for index in order[start : start + per_step]]


def summed_loss(model: PreTrainedModel, batch: Sequence[Encoded], pad: int) -> Tensor:
    """Summed cross-entropy over the supervised tokens, nats, in float32; the output embeddings see the hidden states before those tokens and no others."""
    ids, mask, labels = (each.to(model.device) for each in collate(batch, pad))
    wanted = (labels != IGNORED).roll(-1, dims=1)
    wanted[:, -1] = False
    with giving_head(model, wanted):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0]
    return cross_entropy(logits.float(), labels.roll(-1, dims=1)[wanted], reduction="sum")
