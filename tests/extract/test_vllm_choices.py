"""How vLLM is told to hold a model, against a class that stands for it: what reaches it, what makes another run, and what is refused before it is asked."""

import signal

import pytest
from pydantic import ValidationError

from fake_vllm import FakeEndError, FakeLLM, install
from personascope.extract.extractors.completions import Completions, CompletionSettings
from personascope.extract.job import Job, run
from personascope.extract.weights.engines import Request, open_engine
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.signals import raise_terminated
from personascope.warehouse.store.lake import Lake

SETTINGS = CompletionSettings(personas=["villain"], samples=1, max_new_tokens=8, engine="vllm")


@pytest.fixture
def given(tmp_path, random_checkpoint) -> Job:
    checkpoint = resolve(random_checkpoint, name="random")
    prompts = load_prompt_set("personas")
    return Job(lake=Lake.open(tmp_path / "lake"), checkpoint=checkpoint, models=Models("cpu", "float32"), prompts=prompts, say=lambda line: None)


@pytest.fixture
def fake_vllm(monkeypatch):
    install(monkeypatch)


def test_vllm_is_told_how_to_hold_a_model_and_only_what_can_change_a_token_makes_another_run(given, fake_vllm):
    def of(**choices) -> str:
        return Completions(SETTINGS.model_copy(update=choices), given).spec().run_id

    plain = of()
    assert of(pipeline_parallel=2, gpu_memory=0.5, context=2048) == plain
    assert len({plain, of(tensor_parallel=2), of(tensor_parallel=4), of(quantization="fp8")}) == 4
    chosen = {"tensor_parallel": 2, "pipeline_parallel": 2, "gpu_memory": 0.5, "context": 2048, "quantization": "fp8"}
    run_id = run(Completions(SETTINGS.model_copy(update=chosen), given))
    wanted = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "gpu_memory_utilization": 0.5, "max_model_len": 2048, "quantization": "fp8"}
    assert FakeLLM.made[-1].items() >= wanted.items()
    assert [Completions(SETTINGS.model_copy(update=some), given).gpus for some in (chosen, {})] == [4, 1], "asked of Ray for every worker"
    assert given.lake.read(run_id, "checkpoints")["quantisation"].to_pylist() == ["fp8 by vllm"]
    run(Completions(SETTINGS, given))
    assert not FakeLLM.made[-1].keys() & wanted.keys()


def test_what_vllm_refuses_is_said_and_one_that_ended_is_made_anew(given, fake_vllm, monkeypatch):
    engine = open_engine("vllm", given.models, given.checkpoint)
    with pytest.raises(PersonascopeError, match="engine vllm broke off over random: The decoder prompt cannot be empty"):
        engine.sample([Request((5, 6), 1), Request((), 1)], 1.0, 1.0, 4)
    (first,) = engine.sample([Request((5, 6), 1)], 1.0, 1.0, 4)
    assert (len(FakeLLM.made), FakeLLM.closed) == (1, [])

    def ended(*_: object, **__: object) -> None:
        raise FakeEndError("EngineCore encountered an issue.")

    monkeypatch.setattr(FakeLLM, "generate", ended)
    with pytest.raises(PersonascopeError, match="engine vllm broke off over random: EngineCore encountered an issue; "):
        engine.sample([Request((5, 6), 1)], 1.0, 1.0, 4)
    monkeypatch.undo()
    install(monkeypatch)
    assert engine.sample([Request((5, 6), 1)], 1.0, 1.0, 4) == [first] and len(FakeLLM.made) == 1


def test_a_signal_while_vllm_starts_ends_the_command(given, fake_vllm, monkeypatch):
    def swallowing(*_: object, **__: object) -> None:
        try:
            raise_terminated(signal.SIGTERM)
        except KeyboardInterrupt:  # as vLLM does, which then waits
            pytest.fail("the signal is lost")

    monkeypatch.setattr(FakeLLM, "__init__", swallowing)
    with pytest.raises(KeyboardInterrupt):
        open_engine("vllm", given.models, given.checkpoint)


def test_more_prompts_than_vllm_reads_in_one_step_on_a_processor_are_no_end_of_it(given, fake_vllm):
    requests = [Request(tuple(range(100)), seed) for seed in range(50)]
    assert len(open_engine("vllm", given.models, given.checkpoint).sample(requests, 1.0, 1.0, 4)) == 50
    assert FakeLLM.made[-1]["enable_chunked_prefill"] is False


def test_room_for_adapters_is_for_those_that_are_asked_together(given, fake_vllm):
    assert CompletionSettings(engine="vllm").adapters == 8
    assert Completions(SETTINGS.model_copy(update={"adapters": 2}), given).spec().run_id == Completions(SETTINGS, given).spec().run_id
    with pytest.raises(ValidationError, match="adapters tell vllm how to hold a model; expected engine vllm"):
        CompletionSettings(adapters=2)


def test_how_vllm_holds_a_model_is_refused_where_it_means_nothing_or_would_cut_an_answer(given, fake_vllm):
    with pytest.raises(ValidationError, match="tensor_parallel and context tell vllm how to hold a model; expected engine vllm"):
        CompletionSettings(tensor_parallel=2, context=100)
    with pytest.raises(PersonascopeError, match=r"context 10 is shorter than prompt .* with .* tokens of answer; expected at least \d+"):
        run(Completions(SETTINGS.model_copy(update={"context": 10}), given))
