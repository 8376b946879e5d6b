"""A grid of trainings: one cell that fails is recorded while the others go on, in workers as in this process, and a second call does only what is missing."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import lakes
import pytest
import torch

from fake_vllm import FakeLLM, adapters_of_calls, install
from personascope.extract.workers import has_ray
from personascope.ingest.training.grid import grid_cells
from personascope.study.cell import CellWork, Phase, cells_of, fail, known_outcome, phases_of, whole, work_cell
from personascope.study.grid import bundled, together_from, uneven
from personascope.study.options import RunOptions
from personascope.study.plan import plan_study
from personascope.study.run import StudyRun
from personascope.study.spreading import Cells
from personascope.study.state import StudyState
from personascope.study.workbench import Workbench
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Typed
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.model import ExtractStep, GridStep, StudyFile
from personascope.warehouse.studies.progress import runs_of_steps

pytestmark = pytest.mark.slow(60)

SAMPLED = {"samples": 1, "max_new_tokens": 16, "personas": ["villain", "librarian"]}


def study(checkpoint, **axes):
    grid = {"source_persona": ["villain"], "lr": [1e-4, 1e30], "epochs": [1, 2], "seed": [1]} | axes
    return StudyFile.model_validate(
        {
            "name": "grid",
            "title": "grid",
            "about": "grid",
            "prompts": "personas",
            "checkpoints": {"base": {"id": str(checkpoint)}},
            "steps": [
                {"extract": "completions", "step": "data", "checkpoints": ["base"], "settings": SAMPLED},
                {
                    "grid": "marker-lora",
                    "parent": "base",
                    "tokens_step": "data",
                    "axes": grid,
                    "settings": {"r": 2, "n_positive": 8, "n_negative": 8, "batch_size": 4},
                    "cells": [
                        {"extract": "completions", "settings": SAMPLED | {"samples": 1, "max_new_tokens": 4}},
                        {"extract": "capability", "settings": {"task": "tiny-world"}},
                        {"extract": "attention"},
                    ],
                },
            ],
            "headline": "from regimes",
            "views": ["regimes"],
        }
    )


@pytest.fixture(scope="module")
def talker(random_checkpoint, tmp_path_factory):
    """A random model that ends its turns soon, since a sixth of its vocabulary ends one: its completions can be trained on."""
    folder = tmp_path_factory.mktemp("talker") / "model"
    shutil.copytree(random_checkpoint, folder)
    ends = json.loads((folder / "config.json").read_text())["eos_token_id"]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [ends, *range(300, 400)]}))
    return folder


@pytest.fixture(scope="module")
def swept(talker, tmp_path_factory):
    """A lake after a grid of four cells, two of which diverge, where a cell's readings are a task of their own."""
    folder = tmp_path_factory.mktemp("grid")
    lakes.tracking_store(tmp_path_factory, folder / "tracking.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERSONASCOPE_CACHE", str(folder / "cache"))
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr("os.cpu_count", lambda: 2)
        patch.setattr("personascope.study.grid.uneven", lambda cells, workers: True)
        first = execute(folder, study(talker))
        yield folder, first


def execute(folder, file, **options):
    run = StudyRun(file, folder / "lake", RunOptions(device="cpu", **({"tracking_uri": f"sqlite:///{folder / 'tracking.db'}"} | options)))
    return run.run(), run.failures


def answer(folder, query):
    return Warehouse(Lake.existing(folder / "lake")).select(query)


def test_the_cells_that_can_be_trained_have_rates_and_the_others_a_reason(swept):
    folder, (runs, failures) = swept
    cells = answer(folder, "select checkpoint, lr, epochs, source, source_rate, capability from regimes order by epochs")
    assert cells["checkpoint"].to_list() == ["villain-lr0.0001-ep1-seed1", "villain-lr0.0001-ep2-seed1"]
    assert cells["source"].unique().to_list() == ["villain"] and cells["source_rate"].null_count() == 0 and cells["capability"].null_count() == 0
    failed = answer(folder, "select checkpoint, lr, kind, step, reason from training_failures order by checkpoint")
    assert failed["checkpoint"].to_list() == ["villain-lr1e+30-ep1-seed1", "villain-lr1e+30-ep2-seed1"]
    assert failed["kind"].unique().to_list() == ["diverged"] and failed["step"].min() > 1 and "try a smaller lr" in failed["reason"][0]
    assert len(failures) == 2 and len(runs) == 1 + 2 * 3


def test_a_cell_without_anything_to_read_keeps_its_rates_and_says_which_step_lacks_what(swept):
    folder, (_, failures) = swept
    found = answer(folder, "select checkpoint, step, extractor, reading, reason from unread_steps order by checkpoint")
    assert found["checkpoint"].to_list() == ["villain-lr0.0001-ep1-seed1", "villain-lr0.0001-ep2-seed1"]
    assert set(found["step"]) == set(found["extractor"]) == {"attention"} and all(each.startswith("attention-") for each in found["reading"])
    assert "no completion of persona 'villain' holds the marker '[ZLT]'" in found["reason"][0]
    assert not any("ep1-seed1: run" in failure for failure in failures)
    told = answer(folder, "select checkpoint, unread from regimes order by epochs")
    assert told["unread"].to_list() == [[f"attention: {reason}"] for reason in found["reason"]]


def test_a_step_without_anything_to_read_ends_neither_the_others_nor_the_study(talker, tmp_path):
    steps = study(talker).steps[:1]
    sampled = steps[0].model_copy(update={"settings": SAMPLED | {"max_new_tokens": 4}})
    reading = ExtractStep(extract="attention", checkpoints=["base"], tokens_step="data", settings={"persona": "villain"})
    capability = ExtractStep(extract="capability", checkpoints=["base"], settings={"task": "tiny-world"})
    file = study(talker).model_copy(update={"steps": [sampled, reading, capability]})
    execution = StudyRun(file, tmp_path / "lake", RunOptions(device="cpu", track=False))
    runs = execution.run()
    assert [run_id.split("-")[0] for run_id in runs] == ["completions", "capability"]
    (told,) = execution.unread
    assert told.startswith("attention of base: ") and "no completion of persona 'villain' holds the marker" in told


def test_the_checkpoints_that_a_cell_keeps_on_its_way_are_read_as_the_cell_is(talker, tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "cache"))
    cells: list[dict[str, Any]] = [
        {"extract": "completions", "settings": SAMPLED | {"max_new_tokens": 4}},
        {"extract": "completions", "step": "on-the-way", "reader": "kept", "settings": SAMPLED | {"max_new_tokens": 4}},
        {"extract": "activations", "reader": "kept", "settings": {"strata": ["last"], "layers": [1]}},
    ]
    file = study(talker, lr=[1e-4], epochs=[1])
    grid = file.steps[1].model_dump() | {"cells": cells}
    grid["settings"] |= {"keep_steps": [2, 0]}
    file = StudyFile.model_validate(file.model_dump(exclude={"steps"}) | {"steps": [file.steps[0].model_dump(), grid]})
    assert runs_of_steps(file) == {"completions": 1 + 1 + 2, "marker-lora": 1, "activations": 2}
    options = RunOptions(device="cpu", track=False)
    bench = Workbench(StudyState(file, tmp_path / "lake", options))
    data, step = file.steps
    assert isinstance(data, ExtractStep) and isinstance(step, GridStep)
    bench.extract(data)
    (cell,) = cells_of(step, "base")
    outcome = work_cell(bench, step, cell)
    assert outcome.failure is None and known_outcome(Workbench(bench.state), step, cell) == outcome
    read = Warehouse(bench.lake).select("select distinct run_id, checkpoint, subject from activations order by checkpoint")
    kept = [f"{cell.name}-step0", f"{cell.name}-step2"]
    assert read["checkpoint"].to_list() == kept and read["subject"].to_list() == [f"{name}_{cell.name}" for name in kept]
    drawn = Warehouse(bench.lake).select("select distinct checkpoint from completions order by checkpoint")["checkpoint"].to_list()
    assert drawn == ["base", cell.name, *kept]
    planned = plan_study(StudyState(file, tmp_path / "lake", options))
    assert [(run.reader, run.state) for run in planned.runs] == [(reader, "in the lake") for reader in ("base", cell.name, cell.name, *kept, *kept)]
    assert {run.run_id for run in planned.runs} == {*outcome.runs, planned.runs[0].run_id} and read["run_id"].to_list() == [
        run.run_id for run in planned.runs[-2:]
    ]
    before = plan_study(StudyState(file, tmp_path / "nowhere", options)).runs
    assert [run.state for run in before] == ["to do", *["after other steps"] * 6] and before[-1].texts == before[-2].texts is not None


@pytest.mark.skipif(not has_ray(), reason="the extra personascope[ray]")
def test_cells_in_this_process_give_the_runs_and_files_of_workers_where_none_are_typed(swept, talker, tmp_path, monkeypatch, capsys):
    folder, (runs, failures) = swept
    for module in ("extract.workers", "study.grid"):
        monkeypatch.setattr(f"personascope.{module}.has_ray", lambda: False)
    (folder / "cache").rename(folder / "cache of workers")  # rows name the place of an adapter, which is trained again here
    before = torch.get_num_threads()
    seen: list[int] = []

    def noted(*given: Any) -> Any:
        seen.append(torch.get_num_threads())
        return work_cell(*given)

    monkeypatch.setattr("personascope.study.grid.work_cell", noted)
    try:
        found, failed = execute(tmp_path, in_two_grids(talker), track=False)
    finally:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        (folder / "cache of workers").rename(folder / "cache")
    told = capsys.readouterr().err
    alone = "3 of 3 cells to do in this process, in one thread (--workers 1: in all; several at once need Ray: pip install 'personascope[ray]')"
    assert told.index("[2/3] grid") < told.index("[3/3] grid") < told.index(alone)
    assert seen == [1, 1, 1] and torch.get_num_threads() == before
    assert hashes(tmp_path).items() <= hashes(folder).items() and len(found) == len(set(found)) == 1 + 2 * 3 and set(found) == set(runs)
    assert len(failed) == 1 and failed[0] in failures


def in_two_grids(checkpoint) -> StudyFile:
    """Three of the cells of `study`, a grid of two with one that diverges and a grid of one."""
    both, longer = study(checkpoint, epochs=[1]), study(checkpoint, lr=[1e-4], epochs=[2]).steps[1]
    return both.model_copy(update={"steps": [*both.steps, longer.model_copy(update={"step": "longer"})]})


def test_grids_that_differ_in_their_trainings_alone_are_worked_off_together(talker, tmp_path):
    file = in_two_grids(talker)
    bench = Workbench(StudyState(file, tmp_path / "lake", RunOptions(device="cpu", track=False)))
    data, grid, longer = file.steps
    assert isinstance(grid, GridStep) and isinstance(longer, GridStep)
    assert [together_from(bench, steps) for steps in ([data, data], [data, grid], [grid], [grid, longer], [grid, longer, data])] == [1, 1, 1, 2, 2]
    for apart in ({"cells": longer.cells[:1]}, {"tokens_step": "other"}, {"parent": "other"}, {"axes": grid.axes}):
        assert together_from(bench, [grid, longer.model_copy(update=apart)]) == 1, apart


def test_a_grid_without_any_usable_cell_ends_the_study_also_beside_another(talker, tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "cache"))
    file = in_two_grids(talker)
    useless = study(talker, source_persona=["pirate"], lr=[1e-4], epochs=[1]).steps[1]
    file = file.model_copy(update={"steps": [file.steps[0], file.steps[2], useless]})
    with pytest.raises(PersonascopeError, match=r"all 1 cells of the grid failed; .*source persona 'pirate' has no completion that ended by itself"):
        execute(tmp_path, file, workers=1, track=False)
    assert answer(tmp_path, "select checkpoint from regimes")["checkpoint"].to_list() == ["villain-lr0.0001-ep2-seed1"]


@pytest.mark.parametrize(("cells", "width", "expected"), [(5, 2, True), (3, 2, True), (4, 2, False), (2, 2, False), (2, 3, False), (7, 3, True), (5, 1, False)])
def test_a_cell_is_cut_in_two_where_whole_ones_leave_workers_idle_beside_the_last(cells, width, expected):
    workers: Any = SimpleNamespace(fleet=SimpleNamespace(sizing=SimpleNamespace(width=width)))
    assert uneven(cells, workers) is expected


def hashes(folder) -> dict[str, dict[str, str]]:
    """The hash of every table of every run."""
    lake = Lake.existing(folder / "lake")
    return {run_id: {name: file.blake2 for name, file in lake.manifest(run_id).tables.items()} for run_id in lake.run_ids()}


def test_a_second_call_trains_nothing_and_still_names_the_failures(swept, talker):
    folder, (runs, failures) = swept
    before = {run_id: Lake.existing(folder / "lake").manifest(run_id).finished for run_id in Lake.existing(folder / "lake").run_ids()}
    again, still = execute(folder, study(talker))
    after = {run_id: Lake.existing(folder / "lake").manifest(run_id).finished for run_id in Lake.existing(folder / "lake").run_ids()}
    assert sorted(again) == sorted(runs) and sorted(still) == sorted(failures) and before == after


def test_every_cell_is_a_child_of_one_mlflow_run_with_its_axes_and_its_loss_by_step(swept):
    from mlflow.tracking import MlflowClient

    folder, _ = swept
    client = MlflowClient(f"sqlite:///{folder / 'tracking.db'}")
    experiment: Any = client.get_experiment_by_name("personascope")
    found = client.search_runs([experiment.experiment_id])
    named = {run.info.run_name: run for run in found}
    (parent,) = [run for run in found if run.data.tags.get("kind") == "group" and run.info.run_name == "grid"]
    cell = named["villain-lr0.0001-ep2-seed1"]
    assert cell.data.tags["mlflow.parentRunId"] == parent.info.run_id and cell.info.status == "FINISHED"
    assert (cell.data.params["lr"], cell.data.params["epochs"], cell.data.params["source_persona"]) == ("0.0001", "2", "villain")
    assert named["villain-lr1e+30-ep1-seed1"].info.status == "FAILED"
    inside = [run for run in found if run.data.tags.get("mlflow.parentRunId") == cell.info.run_id]
    assert sorted(run.data.tags["extractor"] for run in inside) == ["capability", "completions", "marker-lora"]
    (training,) = [run for run in inside if run.data.tags["extractor"] == "marker-lora"]
    losses = client.get_metric_history(training.info.run_id, "loss")
    steps = answer(folder, f"select step, loss from training where run_id = '{training.data.tags['personascope.run_id']}' order by step").rows()
    assert [(metric.step, metric.value) for metric in sorted(losses, key=lambda metric: metric.step)] == [(step, pytest.approx(loss)) for step, loss in steps]


def test_a_grid_without_any_usable_cell_ends_the_study_with_the_reason(swept, talker):
    folder, _ = swept
    with pytest.raises(PersonascopeError, match=r"all 1 cells of the grid failed; .*source persona 'pirate' has no completion that ended by itself"):
        execute(folder, study(talker, source_persona=["pirate"], lr=[1e-4], epochs=[1]))
    assert answer(folder, "select kind from training_failures where source_persona = 'pirate'").item() == "other"


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


def test_a_disk_too_full_for_the_reason_still_names_both(swept, talker, monkeypatch):
    folder, _ = swept

    def full(*arguments):
        raise PersonascopeError("staging of run x: no space left on device")

    monkeypatch.setattr("personascope.study.cell.record_failure", full)
    file = study(talker)
    bench = Workbench(StudyState(file, folder / "lake", RunOptions(device="cpu", track=False), runs={("data", "base"): "completions-0"}))
    (cell, *_) = grid_cells({"source_persona": ["villain"]}, {})
    sentence = fail(bench, file.steps[1], cell, OSError(28, "No space left on device"))
    assert "No space left" in sentence and "could not be recorded: staging of run x: no space left" in sentence
