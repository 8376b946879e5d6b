"""Cells of a grid that one engine samples together are the runs of one cell after the other, whatever ends on the way."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from grid_studies import execute, hashes, study

from fake_vllm import FakeLLM, adapters_of_calls, install
from personascope.ingest.training.grid import grid_cells
from personascope.study.cell import CellWork, Phase, phases_of, whole
from personascope.study.grid import bundled
from personascope.study.spreading import Cells
from personascope.warehouse.settings import Typed
from personascope.warehouse.studies.model import GridStep

pytestmark = pytest.mark.slow(25)


@pytest.fixture
def by_vllm(talker, tmp_path, monkeypatch):
    """Runs three cells in a folder, sampled by what stands for vLLM, two at once and in several parts each; trainings are shared."""
    file = study(talker, lr=[1e-4], epochs=[1, 2, 3])
    grid = file.steps[1].model_copy(deep=True)
    assert isinstance(grid, GridStep)
    grid.cells[0].settings.update({"engine": "vllm", "adapters": 2, "personas": ["villain"]})
    file = file.model_copy(update={"steps": [file.steps[0], grid]})
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "cache"))

    def made(name: str, **options: Any) -> tuple[Any, Any]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        outcome = execute(folder, file, workers=1, batch_tokens=400, **options)
        return outcome, hashes(folder)

    install(monkeypatch)
    return made


VLLM_CELLS = [f"villain-lr0.0001-ep{epochs}-seed1" for epochs in (3, 2, 1)]


def test_cells_are_sampled_together_by_one_engine_of_their_parent_and_are_the_runs_of_one_cell_after_the_other(by_vllm, tmp_path, monkeypatch):
    together = by_vllm("together")
    made, calls, groups = list(FakeLLM.made), adapters_of_calls(), grouped(tmp_path / "together")
    monkeypatch.setattr("personascope.study.grid.phases_of", lambda step, typed: [whole(step)])
    (tmp_path / "cache").rename(tmp_path / "other")
    install(monkeypatch)
    assert by_vllm("apart") == together and grouped(tmp_path / "apart") == groups
    assert groups == {name: ["capability", "completions", "marker-lora"] for name in VLLM_CELLS}
    assert (len(made), len(FakeLLM.made)) == (1, 3) and made[0].items() >= {"enable_lora": True, "max_lora_rank": 8, "max_loras": 2}.items()
    first, second, last = VLLM_CELLS
    parts = adapters_of_calls().count([first])
    assert parts > 2 and adapters_of_calls() == [[name] for name in VLLM_CELLS for _ in range(parts)]
    assert calls == [[first, second]] * parts + [[last]] * parts


def test_a_cell_that_ends_the_engine_and_one_without_numbers_fail_alone(by_vllm, monkeypatch):
    (runs, _), whole_lake = by_vllm("whole", track=False)
    FakeLLM.deadly.append(VLLM_CELLS[0])
    FakeLLM.endless.append(VLLM_CELLS[1])
    (found, failures), lake = by_vllm("broken", track=False)
    deadly, endless = sorted(failures, reverse=True)
    assert deadly.startswith(VLLM_CELLS[0]) and f"engine vllm broke off over {VLLM_CELLS[0]}: EngineCore encountered an issue" in deadly
    assert endless.startswith(VLLM_CELLS[1]) and "logits that are not finite" in endless
    assert set(found) < set(runs) and {run_id: whole_lake[run_id] for run_id in found} == {run_id: lake[run_id] for run_id in found}


def test_a_command_that_ends_while_cells_are_sampled_together_goes_on_from_the_parts_that_were_done(by_vllm, monkeypatch):
    expected = by_vllm("whole", track=False)
    asked, generate = [len(call) for call in FakeLLM.calls], FakeLLM.generate

    def ending(self: FakeLLM, prompts: Any, *rest: Any, **more: Any) -> Any:
        if len(FakeLLM.calls) == 2:
            raise KeyboardInterrupt
        return generate(self, prompts, *rest, **more)

    FakeLLM.calls.clear()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FakeLLM, "generate", ending)
        by_vllm("ended", track=False)
    assert [len(call) for call in FakeLLM.calls] == asked[:2]
    assert by_vllm("ended", track=False) == expected and [len(call) for call in FakeLLM.calls] == asked


def test_an_engine_that_is_typed_decides_the_phases_too(talker):
    step = study(talker).steps[1]
    assert isinstance(step, GridStep)
    assert [phase.title for phase in phases_of(step, {"engine": Typed("vllm")})] == ["trained", "sampled by vLLM", "read"]
    assert phases_of(step, {}) == [whole(step)]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({}, [(None, 0, 1, 1), (0, 2, 3, 1), (2, 4, 1, 1)]),
        ({"adapters": Typed("2")}, [(None, 0, 1, 1), (0, 2, 2, 1), (2, 4, 1, 1)]),
        ({"engine": Typed("hf"), "adapters": Typed("8")}, [(None, 4, 1, 1)]),
        ({"tensor_parallel": Typed("2"), "pipeline_parallel": Typed("2")}, [(None, 0, 1, 1), (0, 2, 3, 4), (2, 4, 1, 4)]),
    ],
)
def test_what_vllm_samples_of_a_cell_and_of_what_it_kept_is_one_phase(talker, typed, expected):
    by_vllm: dict[str, Any] = {"extract": "completions", "settings": {"engine": "vllm"}}
    fewer = by_vllm | {"step": "on-the-way", "reader": "kept", "settings": {"engine": "vllm", "adapters": 3}}
    rest = [{"extract": "attention"}, by_vllm | {"step": "parent", "reader": "parent"}]
    step = study(talker).steps[1].model_dump() | {"cells": [by_vllm, fewer, *rest]}
    found = GridStep.model_validate(step)
    assert [(*phase[:2], phase.at_once, phase.gpus) for phase in phases_of(found, typed)] == expected
    assert whole(found, typed).gpus == max(gpus for *_, gpus in expected)


@pytest.mark.parametrize(
    ("ranks", "at_once", "workers", "sizes"),
    [([4] * 5, 8, 2, [3, 2]), ([4] * 20, 8, 1, [8, 8, 4]), ([4, 4, 16, 16, 16], 8, 2, [1, 1, 2, 1]), ([4] * 3, 8, 4, [1, 1, 1]), ([4] * 3, 1, 2, [])],
)
def test_workers_are_given_cells_that_one_engine_samples_and_none_is_left_without_any(ranks, at_once, workers, sizes):
    crew: Any = SimpleNamespace(fleet=SimpleNamespace(sizing=SimpleNamespace(width=workers)))
    setup: Any = SimpleNamespace()
    cells = grid_cells({"source_persona": ["villain"], "seed": list(range(len(ranks)))}, {})
    ranked = [replace(cell, settings=cell.settings.model_copy(update={"r": r})) for cell, r in zip(cells, ranks, strict=True)]
    works = [CellWork(setup, cell, Phase(0, 1)) for cell in ranked]
    bundles = bundled(works, at_once, crew)
    given = [work for each in bundles for work in (each.works if isinstance(each, Cells) else [each])]
    assert given == works and [len(each.works) for each in bundles if isinstance(each, Cells)] == sizes
    assert all(len({work.engine_rank for work in each.works}) == 1 for each in bundles if isinstance(each, Cells))


def grouped(folder) -> dict[str, list[str]]:
    """The extractors under every MLflow run of a cell, one of each name and all of them finished."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'tracking.db'}")
    experiment: Any = client.get_experiment_by_name("personascope")
    runs = client.search_runs([experiment.experiment_id])
    groups = {run.info.run_id: run.info.run_name for run in runs if run.data.tags.get("kind") == "group" and run.info.run_name != "grid"}
    assert len(set(groups.values())) == len(groups) and {run.info.status for run in runs} == {"FINISHED"}
    inside = [(groups[parent], run.data.tags["extractor"]) for run in runs if (parent := run.data.tags.get("mlflow.parentRunId")) in groups]
    return {name: sorted(extractor for group, extractor in inside if group == name) for name in groups.values()}
