"""A grid of trainings: one cell that fails is recorded while the others go on, in workers as in this process, and a second call does only what is missing."""

import shutil
from types import SimpleNamespace
from typing import Any

import lakes
import pytest
import torch
from grid_studies import SAMPLED, execute, hashes, study

from personascope.extract.workers import has_ray
from personascope.ingest.training.grid import grid_cells
from personascope.study.cell import cells_of, fail, known_outcome, work_cell
from personascope.study.grid import together_from, uneven
from personascope.study.options import RunOptions
from personascope.study.plan import plan_study
from personascope.study.run import StudyRun
from personascope.study.state import StudyState
from personascope.study.workbench import Workbench
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.model import ExtractStep, GridStep, StudyFile
from personascope.warehouse.studies.progress import runs_of_steps

pytestmark = pytest.mark.slow(60)


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
