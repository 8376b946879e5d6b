"""Worker processes: every task is done once, a killed process costs its own task only, and GPUs are dealt out in turn."""

import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import torch

from personascope.ingest.training.workers import Crew, choose_crew, work_off

TWO = Crew(["cpu", "cpu"], 1, "two")


def start(device, folder):
    os.environ["WORKER_DEVICE"] = device
    os.environ["WORKER_FOLDER"] = str(folder)


def work(task):
    if task == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "wrong":
        raise ValueError("wrong")
    with (Path(os.environ["WORKER_FOLDER"]) / task).open("a") as file:
        file.write("x")
    time.sleep(0.05)
    return task.upper(), os.environ["WORKER_DEVICE"], torch.get_num_threads()


def test_every_task_is_done_once_on_the_workers_device(tmp_path):
    tasks = [f"t{i}" for i in range(5)]
    done = dict(work_off(tasks, work, TWO, start, (tmp_path,)))
    assert done == {task: (task.upper(), "cpu", 1) for task in tasks}
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == dict.fromkeys(tasks, "x")


def test_a_process_that_the_system_kills_costs_its_task_alone(tmp_path):
    tasks = ["a", "deadly", "b", "c", "d"]
    done = dict(work_off(tasks, work, TWO, start, (tmp_path,)))
    assert isinstance(done.pop("deadly"), BrokenProcessPool)
    assert {task: outcome[0] for task, outcome in done.items()} == {"a": "A", "b": "B", "c": "C", "d": "D"}


def test_what_a_task_raises_is_raised(tmp_path):
    with pytest.raises(ValueError, match="wrong"):
        list(work_off(["wrong"], work, TWO, start, (tmp_path,)))


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
