"""vLLM as an engine that samples completions: on one GPU or over several, with adapters applied as they are."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from personascope.extract.weights.adapters import refuse_beside_plain
from personascope.extract.weights.engines import Request, Sample
from personascope.extract.weights.on_device import Models
from personascope.ingest.weights.checkpoints import ADAPTER_CONFIG, Checkpoint
from personascope.ingest.weights.json_file import read_object
from personascope.ingest.weights.vocabulary import check_ids
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.store.hashing import stable_seed

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


class VllmChoices(NamedTuple):
    """How vLLM holds a model: over how many GPUs, in how much of their memory, for how long texts, and quantised how. None: as vLLM would."""

    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    gpu_memory: float | None = None
    context: int | None = None
    quantization: str | None = None

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

    def __init__(self, models: Models, checkpoint: Checkpoint, ends: list[int], choices: VllmChoices) -> None:
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
            self.llm = _vllm(models, str(checkpoint.path), models.dtype(checkpoint), rank, choices)
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


def _vllm(models: Models, path: str, dtype: str, rank: int | None, choices: VllmChoices) -> Any:
    """The engine for the weights at `path`, kept while the same weights are asked for: the cells of a sweep share their base model.

    It takes most of the device's memory and lives in a process of its own, so it is shut down before the device holds anything else.
    """
    from vllm import LLM

    lora = {"enable_lora": True, "max_lora_rank": rank} if rank else {}
    return models.hold(
        ("vllm", path, dtype, rank, choices),
        lambda: LLM(model=path, tokenizer=path, dtype=dtype, seed=0, generation_config="vllm", **lora, **choices.arguments),
        lambda llm: llm.llm_engine.engine_core.shutdown(),
    )


def _lora_rank(adapter: Path) -> int:
    """The smallest rank vLLM offers that holds the adapter's; raises PersonascopeError above the largest."""
    rank = read_object(adapter / ADAPTER_CONFIG).get("r")
    offered = [each for each in RANKS if isinstance(rank, int) and each >= rank]
    if not offered:
        raise PersonascopeError(f"engine vllm: the adapter in {adapter} has rank {rank!r}; expected at most {RANKS[-1]} (use --engine hf)")
    return offered[0]
