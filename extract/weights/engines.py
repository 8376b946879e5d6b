"""Engines that sample completions: transformers in batches, or vLLM on a GPU box, behind one function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from personascope.extract.weights.finite import FiniteLogits
from personascope.extract.weights.generation_config import say_ignored
from personascope.extract.weights.loading import LoadedModel
from personascope.extract.weights.on_device import Models
from personascope.extract.weights.sampler import SeededSampler
from personascope.ingest.weights.checkpoints import Checkpoint, end_of_turn_ids
from personascope.warehouse.errors import PersonascopeError

if TYPE_CHECKING:
    from personascope.extract.weights.vllm_engine import VllmChoices


@dataclass(frozen=True)
class Request:
    """One completion to sample: prompt token ids and the seed of this sample."""

    token_ids: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Sample:
    """Sampled token ids (with the end-of-turn token when the model ended its turn) and why sampling stopped: `stop` or `length`."""

    token_ids: list[int]
    finish_reason: str


class Engine(Protocol):
    """Samples one completion per request; greedy at temperature 0."""

    name: str

    def sample(self, requests: Sequence[Request], temperature: float, top_p: float, max_new_tokens: int) -> list[Sample]: ...


def open_engine(name: str, models: Models, checkpoint: Checkpoint, choices: VllmChoices | None = None, at_once: int = 1) -> Engine:
    """The engine called `hf`, or `vllm` as chosen, with room for so many adapters at once; raises PersonascopeError saying why where it cannot run."""
    ends = end_ids(models, checkpoint)
    say_ignored(checkpoint.path, checkpoint.name)
    if name == "hf":
        return TransformersEngine(models.load(checkpoint), ends)
    if name == "vllm":
        if models.sharding is not None:
            raise PersonascopeError("--shard-model is for reading and --engine hf; expected --set tensor_parallel=N, by which vLLM takes a model apart itself")
        if checkpoint.bits:
            raise PersonascopeError(f"{checkpoint.name} is in {checkpoint.bits} bits for --engine hf; expected --set quantization=bitsandbytes for vLLM's own")
        from personascope.extract.weights.vllm_engine import VllmChoices, VllmEngine

        return VllmEngine(models, checkpoint, ends, choices or VllmChoices(), at_once)
    raise PersonascopeError(f"engine {name!r} is unknown; expected hf or vllm")


def end_ids(models: Models, checkpoint: Checkpoint) -> list[int]:
    """Token ids that end a turn: those of the generation configuration and the tokenizer's end-of-sequence token."""
    ends = sorted({models.tokenizer(checkpoint).eos_token_id, *end_of_turn_ids(checkpoint.path)} - {None})
    if not ends:
        raise PersonascopeError(
            f"checkpoint {checkpoint.name}: no end-of-turn token in its generation configuration or tokenizer; expected one that ends an answer"
        )
    return ends


class TransformersEngine:
    """Batched `generate` on the loaded model, left-padded, with a seed per row."""

    name = "hf"

    def __init__(self, loaded: LoadedModel, ends: list[int]) -> None:
        self.loaded, self.ends = loaded, ends

    def sample(self, requests: Sequence[Request], temperature: float, top_p: float, max_new_tokens: int) -> list[Sample]:
        from transformers import LogitsProcessorList  # seconds of import that a run found in the lake does without

        device = self.loaded.model.device
        width = max(len(request.token_ids) for request in requests)
        pad = self.ends[0]
        inputs = torch.full((len(requests), width), pad)
        mask = torch.zeros((len(requests), width), dtype=torch.long)
        for row, request in enumerate(requests):
            inputs[row, width - len(request.token_ids) :] = torch.tensor(request.token_ids)
            mask[row, width - len(request.token_ids) :] = 1
        processors = LogitsProcessorList([FiniteLogits(self.loaded.model, self.loaded.checkpoint.name)])
        if temperature > 0:
            processors.append(SeededSampler([request.seed for request in requests], temperature, top_p, max_new_tokens, width, device))
        output = self.loaded.model.generate(  # type: ignore[operator]
            inputs.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            pad_token_id=pad,
            eos_token_id=self.ends,
            logits_processor=processors,
        )
        return [self._cut(row) for row in output[:, width:].tolist()]

    def _cut(self, ids: list[int]) -> Sample:
        for index, token in enumerate(ids):
            if token in self.ends:
                return Sample(ids[: index + 1], "stop")
        return Sample(ids, "length")
