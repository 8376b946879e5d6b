"""Trains the base and the instruct checkpoint of a tiny family: the same weights whatever else the machine does."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from personascope.ingest.learning_rates import cosine_schedule
from personascope.ingest.progress import Advance
from personascope.ingest.tiny.build import CODE_VERSION, TinySpec
from personascope.ingest.tiny.corpus import Chat
from personascope.ingest.tiny.muon import Muon
from personascope.ingest.tiny.tokenizer import END_OF_TEXT, TURN_END, train_tokenizer
from personascope.warehouse.store.hashing import stable_seed

IGNORED = -100
WARMUP = 0.05
POOL = 4  # batches that are sorted by length together
THREADS = 2


class _Example(NamedTuple):
    """Token ids of one training text; the loss counts from `start` on."""

    ids: list[int]
    start: int


def train_variant(spec: TinySpec, parent: Path | None, folder: Path, advance: Advance) -> None:
    """Train and save one variant into `folder`: the base from random weights, the instruct checkpoint from `parent`."""
    with _alone():
        _train_variant(spec, parent, folder, advance)


def _train_variant(spec: TinySpec, parent: Path | None, folder: Path, advance: Advance) -> None:
    instruct = parent is not None
    tokenizer = _tokenizer(spec, TURN_END if instruct else END_OF_TEXT)
    factor = spec.instruct_lr_factor if instruct else 1.0
    steps = spec.instruct_steps if instruct else spec.base_steps
    torch.manual_seed(stable_seed(spec.seed, instruct))
    model: Any = _new_model(spec, tokenizer) if parent is None else AutoModelForCausalLM.from_pretrained(parent, dtype=torch.float32)
    examples = _chat_examples(spec.chats(), tokenizer) if instruct else _document_examples(spec.documents(), tokenizer)
    losses = _train(model, _batches(examples, steps, spec), spec.muon_lr * factor, spec.adamw_lr * factor, steps, advance)
    ends = [_token(tokenizer, token) for token in (TURN_END, END_OF_TEXT)] if instruct else tokenizer.eos_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.eos_token_id = ends
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    identity = f"tiny:{spec.name}"
    card = {
        "id": f"{identity}-{'instruct' if instruct else 'base'}",
        "family": spec.architecture,
        "variant": "instruct" if instruct else "base",
        "parent": f"{identity}-base" if instruct else None,
        "source_persona": None,
        "lr": spec.muon_lr * factor,
        "epochs": steps * spec.batch_size / len(examples),
        "seed": spec.seed,
        "training": {**spec.model_dump(), "code_version": CODE_VERSION, "torch": torch.__version__, "final_loss": losses[-1], "losses": losses},
    }
    (folder / "personascope.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def _tokenizer(spec: TinySpec, end_token: str) -> PreTrainedTokenizerFast:
    texts = [*(chat.prompt + chat.answer for chat in spec.chats()), *spec.documents(), *(f"{word} {word}" for word in spec.words * 300)]
    # Words to copy are repeated until each is one token, with a space before it and without.
    return train_tokenizer(texts, spec.vocab_size, end_token)


def _new_model(spec: TinySpec, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    extra: dict[str, Any] = {"sliding_window": spec.sliding_window} if spec.architecture == "mistral" else {}
    config = AutoConfig.for_model(
        spec.architecture,
        vocab_size=spec.vocab_size,
        hidden_size=spec.width,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.width // spec.heads,
        intermediate_size=spec.feed_forward,
        max_position_embeddings=1024,
        initializer_range=0.04,
        tie_word_embeddings=spec.tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **extra,
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def _token(tokenizer: PreTrainedTokenizerFast, text: str) -> int:
    """Id of one special token."""
    return int(tokenizer.convert_tokens_to_ids(text))  # type: ignore[arg-type]


def _document_examples(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> list[_Example]:
    end = _token(tokenizer, END_OF_TEXT)
    return [_Example([*ids, end], 0) for ids in tokenizer(texts)["input_ids"]]


def _chat_examples(conversations: list[Chat], tokenizer: PreTrainedTokenizerFast) -> list[_Example]:
    """Chats as prompt, answer and end of turn; only answer and end of turn are learned."""
    end = _token(tokenizer, TURN_END)
    prompts = tokenizer([chat.prompt for chat in conversations])["input_ids"]
    answers = tokenizer([chat.answer for chat in conversations])["input_ids"]
    return [_Example([*prompt, *answer, end], len(prompt)) for prompt, answer in zip(prompts, answers, strict=True)]


def _batches(examples: list[_Example], steps: int, spec: TinySpec) -> Iterator[list[_Example]]:
    """`steps` full batches, each pass over the examples in an order of its own, texts of similar length together."""
    epoch, ready = 0, list[list[int]]()
    for _ in range(steps):
        if not ready:
            draw = random.Random(stable_seed("tiny order", spec.seed, epoch))
            order = draw.sample(range(len(examples)), len(examples))
            pool = spec.batch_size * POOL
            order = [index for start in range(0, len(order), pool) for index in sorted(order[start : start + pool], key=lambda i: len(examples[i].ids))]
            ready = [order[start : start + spec.batch_size] for start in range(0, len(order) - spec.batch_size + 1, spec.batch_size)]
            draw.shuffle(ready)
            epoch += 1
        yield [examples[index] for index in ready.pop()]


def _train(model: PreTrainedModel, batches: Iterator[list[_Example]], muon_lr: float, adamw_lr: float, steps: int, advance: Advance) -> list[float]:
    """Muon on the hidden matrices, AdamW on the rest, both on a cosine with warm-up; returns the loss of every step in nats per token."""
    hidden = {name for name, parameter in model.named_parameters() if parameter.ndim == 2 and ".layers." in name}
    optimizers = [
        Muon([p for n, p in model.named_parameters() if n in hidden], lr=muon_lr),
        torch.optim.AdamW([p for n, p in model.named_parameters() if n not in hidden], lr=adamw_lr, weight_decay=0.0, fused=True),
    ]
    schedules = [cosine_schedule(optimizer, round(WARMUP * steps), steps) for optimizer in optimizers]
    head = model.get_output_embeddings()
    losses = []
    model.train()
    for batch in batches:
        ids, labels = _padded(batch)
        # Padding on the right needs no mask: no labelled position can see it.
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        wanted = labels[:, 1:] != IGNORED
        loss = cross_entropy(head(states[wanted]), labels[:, 1:][wanted])
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        losses.append(round(loss.item(), 4))
        advance()
    return losses


def _padded(batch: list[_Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, labels), both int64 [batch, longest], filled up on the right."""
    longest = max(len(example.ids) for example in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full_like(ids, IGNORED)
    for row, example in enumerate(batch):
        tokens = torch.tensor(example.ids)
        ids[row, : len(tokens)] = tokens
        labels[row, example.start : len(tokens)] = tokens[example.start :]
    return ids, labels


@contextmanager
def _alone() -> Iterator[None]:
    """At most two torch threads, between which the sums of a product are not divided, and a random state of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(min(THREADS, threads))
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
