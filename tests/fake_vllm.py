"""What stands for vLLM in tests: a class that takes what vLLM 0.32 takes, remembers it, and answers by prompt, seed and adapter alone."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import pytest

from personascope.warehouse.store.hashing import stable_seed

NUMBERS = 2**63  # seeds are of 64 bits with a sign
TOKENS = 4096  # that it reads in one step on a processor
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


class FakeRequest(NamedTuple):
    """Stands for vLLM's LoRARequest."""

    lora_name: str
    lora_int_id: int
    lora_path: str


class FakeParameters(NamedTuple):
    """Stands for vLLM's SamplingParams: those of it that are used here."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    stop_token_ids: list[int]
    detokenize: bool
    logprobs: int


class FakeEndError(Exception):
    """Stands for vLLM's EngineDeadError: every later call raises it too."""


class FakeClientError(Exception):
    """Stands for VLLMClientError, of which vLLM's refusals are: no ValueError."""


class FakeLLM:
    """Stands for vLLM's LLM: `made` holds the arguments of every one, `calls` the adapters of every call by prompt, `closed` how many were shut down.

    A call with an adapter in `deadly`, by the beginning of its name, ends the process behind it; one in `endless` gives logits that are no numbers.
    """

    made: ClassVar[list[dict[str, Any]]] = []
    calls: ClassVar[list[list[FakeRequest | None]]] = []
    closed: ClassVar[list[int]] = []
    deadly: ClassVar[list[str]] = []
    endless: ClassVar[list[str]] = []

    def __init__(
        self,
        model: str,
        *,
        tokenizer: str,
        dtype: str,
        seed: int,
        generation_config: str,
        enable_chunked_prefill: bool = True,
        enable_lora: bool = False,
        max_lora_rank: int = 16,
        max_loras: int = 1,
        tensor_parallel_size: int = 1,
        pipeline_parallel_size: int = 1,
        gpu_memory_utilization: float = 0.92,
        max_model_len: int | None = None,
        quantization: str | None = None,
    ) -> None:
        if max_lora_rank not in RANKS or max_loras < 1:
            raise ValueError(f"max_lora_rank {max_lora_rank}, max_loras {max_loras}")
        self._rank, self._is_dead, number = max_lora_rank if enable_lora else 0, False, len(FakeLLM.made)
        self._in_pieces = enable_chunked_prefill
        given = {name: value for name, value in locals().items() if name not in ("self", "number")}
        defaults: dict[str, Any] = FakeLLM.__init__.__kwdefaults__ or {}
        FakeLLM.made.append({name: value for name, value in given.items() if name not in defaults or value != defaults[name]})
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=lambda: FakeLLM.closed.append(number)))

    def generate(self, prompts: list[Any], sampling_params: list[FakeParameters], *, use_tqdm: bool = True, lora_request: Any = None) -> list[Any]:
        adapters = lora_request if isinstance(lora_request, list) else [lora_request] * len(prompts)
        if self._is_dead:
            raise FakeEndError("EngineCore encountered an issue.")
        if not len(prompts) == len(sampling_params) == len(adapters):
            raise FakeClientError("The lengths of prompts, parameters and lora_request must be the same.")
        if self._in_pieces and sum(len(each["prompt_token_ids"]) for each in prompts) > TOKENS and any(each.temperature for each in sampling_params):
            self._is_dead = True
            raise FakeEndError("CPU Generator does not use offset")
        if any(not each["prompt_token_ids"] for each in prompts):
            raise FakeClientError("The decoder prompt cannot be empty")
        for adapter in filter(None, adapters):
            if not self._rank:
                raise FakeClientError(f"Got lora_request {adapter} but LoRA is not enabled!")
            if json.loads((Path(adapter.lora_path) / "adapter_config.json").read_text())["r"] > self._rank or self._is(adapter, FakeLLM.deadly):
                self._is_dead = True
                raise FakeEndError("EngineCore encountered an issue.")
        FakeLLM.calls.append(list(adapters))
        return [self._output(*each) for each in zip(prompts, sampling_params, adapters, strict=True)]

    def _output(self, prompt: Any, how: FakeParameters, adapter: FakeRequest | None) -> Any:
        """A token of the prompt, and the end of the turn where there is room."""
        assert set(prompt) == {"prompt_token_ids"} and -NUMBERS <= how.seed < NUMBERS
        ids = prompt["prompt_token_ids"]
        drawn = stable_seed(ids, how.seed if how.temperature else 0, how.temperature, how.top_p, adapter and adapter.lora_int_id)
        said = [ids[drawn % len(ids)], how.stop_token_ids[0]][: how.max_tokens]
        total = float("nan") if adapter and self._is(adapter, FakeLLM.endless) else -1.0
        found = SimpleNamespace(cumulative_logprob=total, token_ids=said, finish_reason="stop" if len(said) == 2 else "length")
        return SimpleNamespace(outputs=[found])

    def _is(self, adapter: FakeRequest, names: list[str]) -> bool:
        return any(adapter.lora_name.startswith(name) for name in names)


def adapters_of_calls() -> list[list[str | None]]:
    """The adapters of every call, each once and in the order of its first prompt, by the names of their checkpoints."""
    return [list(dict.fromkeys(each and each.lora_name.rpartition("-")[0] for each in call)) for call in FakeLLM.calls]


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts it in the place of vLLM, with nothing made yet."""
    for each in (FakeLLM.made, FakeLLM.calls, FakeLLM.closed, FakeLLM.deadly, FakeLLM.endless):
        each.clear()
    request: Any = ModuleType("vllm.lora.request")
    request.LoRARequest = FakeRequest
    module: Any = ModuleType("vllm")
    module.LLM, module.SamplingParams = FakeLLM, FakeParameters
    exceptions: Any = ModuleType("vllm.exceptions")
    exceptions.VLLMClientError = FakeClientError
    modules = {"vllm": module, "vllm.exceptions": exceptions, "vllm.lora": ModuleType("vllm.lora"), "vllm.lora.request": request}
    for name, each in modules.items():
        monkeypatch.setitem(sys.modules, name, each)
