"""Worker processes: every task is done once, a killed process costs its own task only, and GPUs are dealt out in turn."""

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from personascope.ingest.training.workers import Crew, choose_crew, work_off
from pool_tasks import work

pytestmark = pytest.mark.slow(25)

TWO = Crew(["cpu", "cpu"], 1, "two")


def tasks(folder, *names):
    return [str(folder / name) for name in names]


def by_name(outcomes):
    return {Path(task).name: outcome for task, outcome in outcomes}


def test_every_task_is_done_once_on_the_workers_device(tmp_path):
    names = [f"t{i}" for i in range(5)]
    done = by_name(work_off(tasks(tmp_path, *names), work, TWO))
    assert {name: outcome[:3] for name, outcome in done.items()} == {name: (name.upper(), "cpu", 1) for name in names}
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == dict.fromkeys(names, "x")
    assert len({outcome[3] for outcome in done.values()}) <= 2, "a process is kept from task to task"


def test_a_process_that_the_system_kills_costs_its_task_alone(tmp_path):
    done = by_name(work_off(tasks(tmp_path, "a", "deadly", "b", "c", "d"), work, TWO))
    assert isinstance(done.pop("deadly"), BrokenProcessPool)
    assert {task: outcome[0] for task, outcome in done.items()} == {"a": "A", "b": "B", "c": "C", "d": "D"}


def test_a_task_that_is_killed_is_tried_once_more_when_it_is_alone(tmp_path):
    done = by_name(work_off(tasks(tmp_path, "unlucky", "a", "b"), work, TWO))
    assert {name: outcome[0] for name, outcome in done.items()} == {"unlucky": "UNLUCKY", "a": "A", "b": "B"}
    assert list(done)[-1] == "unlucky" and (tmp_path / "unlucky").read_text() == "x"


def test_what_a_task_raises_is_raised(tmp_path):
    with pytest.raises(ValueError, match="wrong"):
        list(work_off(tasks(tmp_path, "wrong"), work, TWO))


@pytest.mark.parametrize(
    ("device", "jobs", "n_tasks", "gpus", "devices"),
    [
        ("cuda:0", None, 9, 4, ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]),
        ("cuda:0", 3, 9, 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda:1", None, 9, 4, ["cuda:1"]),
        ("cuda:0", None, 2, 4, ["cuda:0", "cuda:1"]),
        ("cpu", 3, 9, 0, ["cpu"] * 3),
        ("cpu", 3, 1, 0, ["cpu"]),
        ("mps", None, 9, 0, ["mps"]),
    ],
)
def test_one_worker_per_gpu_unless_typed(monkeypatch, device, jobs, n_tasks, gpus, devices):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    crew = choose_crew(device, jobs, n_tasks)
    assert crew.devices == devices and str(len(devices)) in crew.reason


@pytest.mark.parametrize(("jobs", "n_tasks", "threads"), [(None, 1, 1), (None, 9, 1), (1, 9, 8), (2, 9, 4), (16, 16, 1)])
def test_cores_are_shared_by_the_processes_that_were_typed(monkeypatch, jobs, n_tasks, threads):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert choose_crew("cpu", jobs, n_tasks).threads == threads
