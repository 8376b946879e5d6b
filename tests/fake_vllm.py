"""What stands for vLLM in tests: a class that remembers how it was made and what it was asked, and answers with the end of the turn at once."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import pytest


class FakeRequest(NamedTuple):
    """Stands for vLLM's LoRARequest."""

    name: str
    number: int
    path: str


class FakeLLM:
    """Stands for vLLM's LLM: `made` holds the arguments of every one, `adapters` the adapter of every call, `closed` how many were shut down."""

    made: ClassVar[list[dict[str, Any]]] = []
    adapters: ClassVar[list[FakeRequest | None]] = []
    closed: ClassVar[list[int]] = []

    def __init__(self, **arguments: Any) -> None:
        number = len(FakeLLM.made)
        FakeLLM.made.append(arguments)
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=lambda: FakeLLM.closed.append(number)))

    def generate(self, prompts: Any, parameters: Any, lora_request: FakeRequest | None = None, **_: Any) -> list[Any]:
        FakeLLM.adapters.append(lora_request)
        ends = [each.stop_token_ids[0] for each in parameters]
        return [SimpleNamespace(outputs=[SimpleNamespace(cumulative_logprob=-1.0, token_ids=[end], finish_reason="stop")]) for end in ends]


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts it in the place of vLLM, with nothing made yet."""
    for each in (FakeLLM.made, FakeLLM.adapters, FakeLLM.closed):
        each.clear()
    request: Any = ModuleType("vllm.lora.request")
    request.LoRARequest = FakeRequest
    module: Any = ModuleType("vllm")
    module.LLM, module.SamplingParams = FakeLLM, lambda **given: SimpleNamespace(**given)
    for name, each in {"vllm": module, "vllm.lora": ModuleType("vllm.lora"), "vllm.lora.request": request}.items():
        monkeypatch.setitem(sys.modules, name, each)
