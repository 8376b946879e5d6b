"""vLLM as an engine that samples completions: on one GPU or over several, with adapters applied as they are."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from itertools import accumulate
from multiprocessing import active_children
from pathlib import Path
from typing import Any, NamedTuple

from personascope.extract.weights.adapters import refuse_beside_plain
from personascope.extract.weights.engines import Request, Sample
from personascope.extract.weights.on_device import Models
from personascope.ingest.weights.checkpoints import ADAPTER_CONFIG, Checkpoint
from personascope.ingest.weights.json_file import read_object
from personascope.ingest.weights.vocabulary import check_ids
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.signals import ending_with_this_one, interruptible
from personascope.warehouse.store.hashing import stable_seed

Answer = list[Sample] | PersonascopeError
"""The samples of a checkpoint, or why it has none."""

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


class VllmChoices(NamedTuple):
    """How vLLM holds a model: over how many GPUs, in how much of their memory, for how long texts, and quantised how. None: as vLLM would."""

    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    gpu_memory: float | None = None
    context: int | None = None
    quantization: str | None = None

    @property
    def gpus(self) -> int:
        """GPUs that an engine takes together."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def arguments(self) -> dict[str, Any]:
        """What of it is no default of vLLM's, under the names of its engine arguments."""
        typed = zip(_ARGUMENTS, self, VllmChoices(), strict=True)
        return {name: value for name, value, default in typed if value != default}

    @property
    def decisive(self) -> dict[str, Any]:
        """What of it can change a token: quantised weights, and sums of a layer added up over several GPUs, which round in another order."""
        return {name: value for name, value in self.arguments.items() if name in ("tensor_parallel_size", "quantization")}


_ARGUMENTS = ("tensor_parallel_size", "pipeline_parallel_size", "gpu_memory_utilization", "max_model_len", "quantization")


class VllmEngine:
    """vLLM on the checkpoint's folder; the GPU extra brings it (`pip install personascope[gpu]`). An adapter is applied as it is, without a merge."""

    name = "vllm"

    def __init__(self, models: Models, checkpoint: Checkpoint, ends: list[int], choices: VllmChoices, at_once: int = 1) -> None:
        """`at_once`: for how many adapters of one base there is room, where several engines are asked in one call."""
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # stdout is data
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        try:
            from vllm.lora.request import LoRARequest
        except ImportError as error:
            raise PersonascopeError(f"engine vllm cannot run here: {error}; install the extra personascope[gpu] on a GPU box, or use --engine hf") from error
        if checkpoint.adapter:
            refuse_beside_plain(checkpoint.adapter, checkpoint.name)
        self.models, self.ends, self.checkpoint, self.choices = models, ends, checkpoint.name, choices
        self.path, self.dtype = str(checkpoint.path), models.dtype(checkpoint)
        self.rank = _lora_rank(checkpoint.adapter) if checkpoint.adapter else None
        self.at_once = at_once if self.rank else 1
        # vLLM tells adapters apart by their numbers, and by name and folder what it has read of a prompt with one.
        number = stable_seed("lora", checkpoint.identity) % 2**31 or 1
        self.lora = LoRARequest(f"{checkpoint.name}-{number}", number, str(checkpoint.adapter)) if checkpoint.adapter else None
        self.rows, self.tokenizer = checkpoint.vocab_size, models.tokenizer(checkpoint)
        self.llm()

    @property
    def key(self) -> Hashable:
        """The same for engines that one model in memory answers."""
        return ("vllm", self.path, self.dtype, self.rank, self.choices, self.at_once)

    def llm(self) -> Any:
        """The model in memory, kept while the same is asked for: the cells of a sweep share their base model.

        It takes most of the device's memory and lives in a process of its own, so it is shut down before the device holds anything else.
        """
        from vllm import LLM

        lora = {"enable_lora": True, "max_lora_rank": self.rank, "max_loras": self.at_once} if self.rank else {}
        # On a processor a prompt that is read in two steps ends vLLM where its sample has a seed ("CPU Generator does not use offset").
        in_one_go = {"enable_chunked_prefill": False} if self.models.device.value == "cpu" else {}
        given = {"tokenizer": self.path, "dtype": self.dtype, "seed": 0, "generation_config": "vllm", **in_one_go, **lora, **self.choices.arguments}
        try:
            return self.models.hold(self.key, lambda: _Running.of(lambda: LLM(model=self.path, **given)), _Running.end).llm
        except Exception as error:  # vLLM raises whatever its platform layer raises; the reason matters, not its type
            raise PersonascopeError(f"engine vllm cannot run {self.checkpoint} here: {one_line(error)}; use --engine hf") from error

    def sample(self, requests: Sequence[Request], temperature: float, top_p: float, max_new_tokens: int) -> list[Sample]:
        (answer,) = sample_together([Asked(self, requests, temperature, top_p, max_new_tokens)])
        if isinstance(answer, PersonascopeError):
            raise answer
        return answer


class _Running(NamedTuple):
    """A model in processes of its own, which keep its memory as long as they live: those of a command that was killed would do so for ever."""

    llm: Any
    unwatch: Callable[[], None]

    @classmethod
    def of(cls, make: Callable[[], Any]) -> _Running:
        """What `make` starts; vLLM takes a KeyboardInterrupt meanwhile for its own and waits for ever, so a signal is passed through it as something else."""
        try:
            with interruptible(_pass_through):
                llm = make()
        except _EndAsked as asked:
            raise KeyboardInterrupt from asked
        return cls(llm, ending_with_this_one([child.pid for child in active_children() if child.pid]))

    def end(self) -> None:
        with suppress(Exception):  # of one that ended by itself
            self.llm.llm_engine.engine_core.shutdown()
        self.unwatch()


class _EndAsked(BaseException):
    """A signal asked this process to end."""


def _pass_through() -> None:
    raise _EndAsked


class Asked(NamedTuple):
    """What one checkpoint is asked for."""

    engine: VllmEngine
    requests: Sequence[Request]
    temperature: float
    top_p: float
    max_new_tokens: int

    def check(self) -> None:
        """Raises PersonascopeError for a prompt with tokens that the model has no row for."""
        tokens = (token for request in self.requests for token in request.token_ids)
        check_ids(tokens, self.engine.rows, self.engine.tokenizer, f"{self.engine.checkpoint}: a prompt")

    def parameters(self) -> list[Any]:
        """How each request is sampled, as vLLM is told."""
        from vllm import SamplingParams

        return [
            SamplingParams(
                temperature=self.temperature,
                top_p=self.top_p,
                max_tokens=self.max_new_tokens,
                seed=request.seed,
                stop_token_ids=self.engine.ends,
                detokenize=False,
                logprobs=1,  # the sum over the sampled tokens is no number where the logits are none
            )
            for request in self.requests
        ]

    def samples(self, outputs: Sequence[Any]) -> Answer:
        """What vLLM answered to the requests."""
        found = [output.outputs[0] for output in outputs]
        if not all(math.isfinite(each.cumulative_logprob or 0.0) for each in found):
            return PersonascopeError(
                f"checkpoint {self.engine.checkpoint}: vLLM samples from logits that are not finite; --engine hf says in which layer that begins"
            )
        return [Sample(list(each.token_ids), each.finish_reason) for each in found]


def sample_together(asked: Sequence[Asked]) -> list[Answer]:
    """Samples for several checkpoints: for those that one model in memory answers by one call, with each request the adapter of its checkpoint."""
    found: dict[int, Answer] = {}
    calls: dict[Hashable, list[int]] = defaultdict(list)
    for place, each in enumerate(asked):
        try:
            each.check()
        except PersonascopeError as error:
            found[place] = error
        else:
            calls[each.engine.key].append(place)
    for places in calls.values():
        found |= dict(zip(places, _called([asked[place] for place in places]), strict=True))
    return [found[place] for place in range(len(asked))]


def _called(asked: Sequence[Asked]) -> list[Answer]:
    """The answers of one call; where it breaks, of one for each checkpoint, so that the others are told from the one over which it does."""
    from vllm.exceptions import VLLMClientError

    engine, ends = asked[0].engine, list(accumulate(len(each.requests) for each in asked))
    try:
        outputs = engine.llm().generate(
            [{"prompt_token_ids": list(request.token_ids)} for each in asked for request in each.requests],
            [parameters for each in asked for parameters in each.parameters()],
            lora_request=[each.engine.lora for each in asked for _ in each.requests],
            use_tqdm=False,
        )
    except Exception as error:
        if not isinstance(error, VLLMClientError | ValueError):  # a request that is refused leaves the model as it was; anything else may have ended it
            engine.models.release()
        if len(asked) > 1:
            return [answer for each in asked for answer in _called([each])]
        if isinstance(error, PersonascopeError):
            return [error]
        failure = PersonascopeError(f"engine vllm broke off over {engine.checkpoint}: {one_line(error)}; --engine hf may say more")
        failure.__cause__ = error
        return [failure]
    return [each.samples(outputs[end - len(each.requests) : end]) for each, end in zip(asked, ends, strict=True)]


def engine_rank(rank: int) -> int:
    """The smallest rank vLLM offers that holds the given one; 0 above the largest."""
    return next((each for each in RANKS if each >= rank), 0)


def _lora_rank(adapter: Path) -> int:
    """The rank that an engine for the adapter has room for; raises PersonascopeError above the largest."""
    rank = read_object(adapter / ADAPTER_CONFIG).get("r")
    offered = engine_rank(rank) if isinstance(rank, int) else 0
    if not offered:
        raise PersonascopeError(f"engine vllm: the adapter in {adapter} has rank {rank!r}; expected at most {RANKS[-1]} (use --engine hf)")
    return offered
