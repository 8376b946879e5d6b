"""Engines that sample completions: transformers in batches, or vLLM on a GPU box, behind one function."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from personascope.extract.weights.adapters import refuse_beside_plain
from personascope.extract.weights.finite import FiniteLogits
from personascope.extract.weights.generation_config import say_ignored
from personascope.extract.weights.loading import LoadedModel
from personascope.extract.weights.on_device import Models
from personascope.extract.weights.sampler import SeededSampler
from personascope.ingest.weights.checkpoints import ADAPTER_CONFIG, Checkpoint, end_of_turn_ids
from personascope.ingest.weights.json_file import read_object
from personascope.ingest.weights.vocabulary import check_ids
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.store.hashing import stable_seed

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


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


def open_engine(name: str, models: Models, checkpoint: Checkpoint) -> Engine:
    """The engine called `hf` or `vllm`; raises PersonascopeError saying why where it cannot run."""
    ends = end_ids(models, checkpoint)
    say_ignored(checkpoint.path, checkpoint.name)
    if name == "hf":
        return TransformersEngine(models.load(checkpoint), ends)
    if name == "vllm":
        return VllmEngine(models, checkpoint, ends)
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


class VllmEngine:
    """vLLM on the checkpoint's folder; the GPU extra brings it (`pip install personascope[gpu]`). An adapter is applied as it is, without a merge."""

    name = "vllm"

    def __init__(self, models: Models, checkpoint: Checkpoint, ends: list[int]) -> None:
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # stdout is data
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        try:
            from vllm.lora.request import LoRARequest
        except ImportError as error:
            raise PersonascopeError(f"engine vllm cannot run here: {error}; install the extra personascope[gpu] on a GPU box, or use --engine hf") from error
        if checkpoint.adapter:
            refuse_beside_plain(checkpoint.adapter, checkpoint.name)
        rank = _lora_rank(checkpoint.adapter) if checkpoint.adapter else None
        try:
            self.llm = _vllm(models, str(checkpoint.path), models.dtype(checkpoint), rank)
        except Exception as error:  # vLLM raises whatever its platform layer raises; the reason matters, not its type
            raise PersonascopeError(f"engine vllm cannot run {checkpoint.name} here: {one_line(error)}; use --engine hf") from error
        number = stable_seed("lora", checkpoint.identity) % 2**31 or 1
        self.lora = LoRARequest(checkpoint.name, number, str(checkpoint.adapter)) if checkpoint.adapter else None
        self.ends, self.checkpoint = ends, checkpoint.name
        self.rows, self.tokenizer = checkpoint.vocab_size, models.tokenizer(checkpoint)

    def sample(self, requests: Sequence[Request], temperature: float, top_p: float, max_new_tokens: int) -> list[Sample]:
        from vllm import SamplingParams

        check_ids((token for request in requests for token in request.token_ids), self.rows, self.tokenizer, f"{self.checkpoint}: a prompt")
        outputs = self.llm.generate(
            [{"prompt_token_ids": list(request.token_ids)} for request in requests],
            [
                SamplingParams(
                    temperature=temperature,
                    top_p=top_p,
                    max_tokens=max_new_tokens,
                    seed=request.seed,
                    stop_token_ids=self.ends,
                    detokenize=False,
                    logprobs=1,  # the sum over the sampled tokens is no number where the logits are none
                )
                for request in requests
            ],
            lora_request=self.lora,
            use_tqdm=False,
        )
        if not all(math.isfinite(output.outputs[0].cumulative_logprob or 0.0) for output in outputs):
            raise PersonascopeError(f"checkpoint {self.checkpoint}: vLLM samples from logits that are not finite; --engine hf says in which layer that begins")
        return [Sample(list(output.outputs[0].token_ids), output.outputs[0].finish_reason) for output in outputs]


def _vllm(models: Models, path: str, dtype: str, rank: int | None) -> Any:
    """The engine for the weights at `path`, kept while the same weights are asked for: the cells of a sweep share their base model.

    It takes most of the device's memory and lives in a process of its own, so it is shut down before the device holds anything else.
    """
    from vllm import LLM

    lora = {"enable_lora": True, "max_lora_rank": rank} if rank else {}
    return models.hold(
        ("vllm", path, dtype, rank),
        lambda: LLM(model=path, tokenizer=path, dtype=dtype, seed=0, generation_config="vllm", **lora),
        lambda llm: llm.llm_engine.engine_core.shutdown(),
    )


def _lora_rank(adapter: Path) -> int:
    """The smallest rank vLLM offers that holds the adapter's; raises PersonascopeError above the largest."""
    rank = read_object(adapter / ADAPTER_CONFIG).get("r")
    offered = [each for each in VLLM_RANKS if isinstance(rank, int) and each >= rank]
    if not offered:
        raise PersonascopeError(f"engine vllm: the adapter in {adapter} has rank {rank!r}; expected at most {VLLM_RANKS[-1]} (use --engine hf)")
    return offered[0]
