"""Completions and attention of a model over two machines, while a worker is killed and a machine goes: every table is that of one process."""

import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from personascope.extract.job import Job, run
from personascope.extract.registry import extractor, resolve_settings
from personascope.extract.weights.on_device import ModelChoices, Models
from personascope.extract.workers import FleetWorkers
from personascope.ingest.fleet.fleet import Fleet
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.store.lake import Lake
from planted_tokens import few_prompts, plant_tokens
from ray_cluster import small_cluster

ray = pytest.importorskip("ray", reason="the extra personascope[ray]")
pytestmark = pytest.mark.slow(60)


@pytest.fixture
def cluster():
    with small_cluster() as made:
        yield made


def read(lake: Lake, folder: Path, tokens: str, workers: Any = None) -> dict[str, dict[str, str]]:
    """Both runs in a lake: the hash of every table by run and name."""
    models, found = Models("cpu", "float32"), {}
    asked: dict[str, dict[str, Any]] = {
        "completions": {"samples": 3, "max_new_tokens": 24},
        "attention": {"persona": "villain"},
    }
    for name, settings in asked.items():
        resolved, _ = resolve_settings(extractor(name), {"command line": settings})
        over: dict[str, Any] = {"tokens_from": tokens} if name == "attention" else {"prompts": few_prompts()}
        job = Job(lake, resolve(folder, name="random"), models, batch_tokens=150, workers=workers, say=lambda line: None, **over)
        run_id = run(extractor(name)(resolved, job))
        found[run_id] = {name: file.blake2 for name, file in lake.manifest(run_id).tables.items()}
    return found


def test_every_table_is_that_of_one_process_though_a_worker_and_a_machine_go(tmp_path, random_checkpoint, cluster):
    alone = Lake.open(tmp_path / "alone")
    tokens = plant_tokens(alone, random_checkpoint, few_prompts())
    shutil.copytree(alone.root, tmp_path / "spread")
    spread = Lake.open(tmp_path / "spread")
    fleet = Fleet.open(2, None, lambda line: None)
    models: Any = Models("cpu", "float32")
    workers = FleetWorkers(lambda gpus: fleet, ModelChoices("cpu", "float32"), models, is_remote=True)
    gone: list[str] = []
    over = threading.Event()

    def parts() -> int:
        return len(list(spread.staging_folder.glob("completions-*/parts-*/000-*")))

    def disturb() -> None:
        while parts() < 2 and len(spread.run_ids()) < 2:
            if over.wait(0.05):
                return
        _, process = ray.get(fleet.hands[0].actor.hello.remote())
        os.kill(process, signal.SIGKILL)
        gone.append("worker")
        while not list(spread.staging_folder.glob("attention-*/parts-*/000-*")) and len(spread.run_ids()) < 3:
            if over.wait(0.05):
                return
        cluster.remove_node(cluster.machines.pop(), allow_graceful=False)
        gone.append("machine")

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        found = read(spread, random_checkpoint, tokens, workers)
    except BaseException:
        over.set()
        raise
    finally:
        thread.join()
    assert gone == ["worker", "machine"]
    assert found == read(alone, random_checkpoint, tokens)
    assert all(len(tables) >= 3 for tables in found.values())
    fleet.close()
