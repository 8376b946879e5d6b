"""How many workers a run gets, of how many processors and GPUs each, and where one process is enough."""

from types import SimpleNamespace
from typing import Any

import pytest

from personascope.extract.weights.on_device import ModelChoices
from personascope.extract.workers import open_workers
from personascope.ingest.fleet.fleet import Fleet
from personascope.ingest.fleet.sizing import size
from personascope.warehouse.errors import PersonascopeError

pytest.importorskip("ray", reason="the extra personascope[ray]")
pytestmark = pytest.mark.slow(2)


@pytest.mark.parametrize(
    ("machines", "typed", "on_gpus", "expected"),
    [
        ([{"CPU": 16, "GPU": 8}], None, None, (8, 0, 1, 2)),
        ([{"CPU": 16, "GPU": 2}, {"CPU": 8, "GPU": 2}, {"CPU": 4}], None, True, (4, 0, 1, 4)),
        ([{"CPU": 16, "GPU": 2}], 4, None, (4, 0, 0.5, 4)),
        ([{"CPU": 16, "GPU": 8}], 2, False, (2, 8, 0, 8)),
        ([{"CPU": 3}, {"CPU": 3}], 3, None, (3, 1, 0, 1)),
        ([{"CPU": 0}, {"CPU": 4}, {"CPU": 4}], None, None, (2, 4, 0, 4)),
        ([{"CPU": 2}], 4, None, (4, 0.5, 0, 1)),
    ],
)
def test_one_worker_per_gpu_or_machine_unless_typed(machines, typed, on_gpus, expected):
    sizing = size(machines, typed, on_gpus)
    assert sizing[:4] == expected and sizing.reason.startswith(f"{expected[0]} workers on ")


def test_threads_of_a_worker_may_have_a_limit():
    assert size([{"CPU": 8}], 3, False, 1)[:4] == (3, 1, 0, 1) and size([{"CPU": 8}], 3, False)[:4] == (3, 2, 0, 2)


def test_gpus_that_are_asked_for_must_be_there():
    with pytest.raises(PersonascopeError, match=r"the cluster \(1 machine\) has no GPU: type cpu"):
        size([{"CPU": 2}], None, True)
    with pytest.raises(PersonascopeError, match=r"take 4 GPUs together .*, but no machine has more than 2; expected fewer$"):
        size([{"CPU": 8, "GPU": 2}] * 4, None, True, each=4)


@pytest.mark.parametrize(
    ("machines", "typed", "expected"),
    [
        ([{"CPU": 16, "GPU": 8}], None, (2, 0, 4, 8)),
        ([{"CPU": 16, "GPU": 8}], 8, (2, 0, 4, 8)),
        ([{"CPU": 16, "GPU": 8}], 1, (1, 0, 4, 8)),
        ([{"CPU": 16, "GPU": 6}, {"CPU": 8, "GPU": 4}, {"CPU": 4, "GPU": 2}, {"CPU": 4}], None, (2, 0, 4, 8)),
    ],
)
def test_workers_whose_engine_takes_several_gpus_of_a_machine_are_as_many_as_find_theirs(machines, typed, expected):
    assert size(machines, typed, True, each=4)[:4] == expected


@pytest.mark.parametrize(
    ("typed", "address", "device", "gpus", "spreads"),
    [
        (1, "", "cuda:0", 8, None),
        (1, "auto", "cpu", 0, None),
        (None, "", "cpu", 0, None),
        (None, "", "cuda:0", 1, None),
        (None, "", "cuda:0", 8, False),
        (None, "", "cuda:1", 8, None),
        (2, "", "cpu", 0, False),
        (None, "auto", "cpu", 0, True),
    ],
)
def test_one_process_is_enough_unless_workers_are_typed_or_there_are_gpus_or_a_cluster(monkeypatch, typed, address, device, gpus, spreads):
    monkeypatch.setattr("personascope.extract.workers._gpus", lambda: gpus)
    monkeypatch.setenv("RAY_ADDRESS", address)
    models: Any = SimpleNamespace(device=SimpleNamespace(value=device))
    found = open_workers(typed, ModelChoices(), models, lambda line: None)
    assert (found and found.is_remote) == spreads


@pytest.mark.parametrize(
    ("typed", "cells", "device", "gpus", "ray", "width"),
    [
        (None, 9, "cpu", 0, True, 8),
        (None, 3, "cpu", 0, True, 3),
        (None, 1, "cpu", 0, True, None),
        (None, 9, "cpu", 0, False, None),
        (2, 9, "cpu", 0, True, 2),
        (4, 2, "cpu", 0, True, 2),
        (4, 1, "cpu", 0, True, None),
        (1, 9, "cuda:0", 4, True, None),
        (None, 9, "cuda:0", 4, True, 4),
        (None, 2, "cuda:0", 4, True, 2),
        (None, 9, "cuda:0", 4, False, None),
        (None, 9, "cuda:1", 4, True, None),
        (None, 9, "mps", 0, True, None),
    ],
)
def test_cells_have_a_worker_per_gpu_or_core_and_none_is_idle(monkeypatch, typed, cells, device, gpus, ray, width):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("personascope.extract.workers._gpus", lambda: gpus)
    monkeypatch.setattr("personascope.extract.workers.has_ray", lambda: ray)
    asked: list[tuple[int, int | None]] = []

    def opened(width: int, on_gpus: bool, say: Any, threads: int | None, gpus: int) -> Any:
        asked.append((width, threads))
        return SimpleNamespace(sizing=SimpleNamespace(reason=""))

    monkeypatch.setattr(Fleet, "open", opened)
    models: Any = SimpleNamespace(device=SimpleNamespace(value=device))
    found = open_workers(typed, ModelChoices(), models, lambda line: None, cells)
    assert (found and found.fleet and asked.pop()) == (width and (width, 1 if device == "cpu" and typed is None else None))


def test_several_workers_without_ray_are_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr("personascope.extract.workers.has_ray", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    models: Any = SimpleNamespace(device=SimpleNamespace(value="cpu"))
    with pytest.raises(PersonascopeError, match=r"^2 workers need Ray, which is not installed: pip install 'personascope\[ray\]'$"):
        open_workers(2, ModelChoices(), models, lambda line: None)
