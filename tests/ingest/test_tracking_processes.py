"""Processes that are killed while they log, that make one store at once, and that `mlflow run` starts."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tracked_runs import log, target

from personascope.ingest.tracking.examine import examine_tracking
from personascope.ingest.tracking.target import resolve_tracking, sqlite_uri
from personascope.ingest.tracking.tracker import Tracker
from personascope.warehouse.home import HOME
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

pytestmark = pytest.mark.slow(20)


def test_runs_of_dead_processes_are_ended_when_the_next_command_opens_the_store_and_by_the_doctor(lake, copied_store):
    """A process is killed with a group, a run and a grid's child open, another behind the log and before the commit."""
    from mlflow.tracking import MlflowClient

    killed = """
import os, signal, sys
from pathlib import Path
from personascope.ingest.tracking.target import resolve_tracking
from personascope.ingest.tracking.tracker import Tracker
from personascope.warehouse.store import writer as store
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
lake = Lake.open(sys.argv[1])
lake.tracking = tracker = Tracker(resolve_tracking(typed_uri=sys.argv[2], typed_experiment="of the dead", environ={}, lake=lake.root))
def spec(seed): return RunSpec(kind="extract", extractor="attention", version=1, identity={"seed": seed}, seed=seed)
with tracker.group("grid"):
    half = lake.start(spec(1))
    tracker.open(half)
    with lake.start(spec(2)) as done:
        done.series["loss"] = [(1, 0.5), (2, 0.25)]
        if sys.argv[3] == "behind the log":
            store.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[3] == "behind the commit":
            tracker.finish = lambda *_: None
            done.commit()
            os.kill(os.getpid(), signal.SIGKILL)
        done.commit()
"""
    store = sqlite_uri(copied_store)
    client = MlflowClient(tracking_uri=store)

    def runs():
        return client.search_runs([each.experiment_id for each in client.search_experiments() if each.name == "of the dead"])

    def states() -> dict[str, str]:
        return {run.info.run_name: run.info.status for run in runs()}

    def kill(when: str) -> None:
        assert subprocess.run([sys.executable, "-c", killed, str(lake.root), store, when]).returncode == -9

    one, two = spec_of(1), spec_of(2)
    kill("behind the log")
    assert states() == {"grid": "RUNNING", one.run_id: "RUNNING", two.run_id: "FINISHED"}
    findings = list(examine_tracking_of(lake, copied_store))
    assert [(each.level, "ended 2 MLflow runs" in each.message) for each in findings] == [("note", True)]
    assert states() == {"grid": "KILLED", one.run_id: "KILLED", two.run_id: "FINISHED"}
    kill("behind the commit")
    assert states() == {"grid": "RUNNING", one.run_id: "RUNNING", two.run_id: "RUNNING"}
    tracker = Tracker(target(store, experiment="of the dead"))
    with tracker.group("other"):
        log(lake, tracker, seed=9)
    assert states() == {"grid": "KILLED", one.run_id: "KILLED", two.run_id: "FINISHED", "other": "FINISHED", lake_run(lake, 9): "FINISHED"}
    assert len(runs()) == 5  # the group and both runs were continued, not opened anew
    (logged,) = [run.info.run_id for run in runs() if run.info.run_name == two.run_id]
    assert [point.step for point in client.get_metric_history(logged, "loss")] == [1, 2]


def spec_of(seed: int) -> RunSpec:
    return RunSpec(kind="extract", extractor="attention", version=1, identity={"seed": seed}, seed=seed)


def examine_tracking_of(lake: Lake, store: Path):
    """What the doctor says where the environment names the store."""
    os.environ["MLFLOW_TRACKING_URI"] = sqlite_uri(store)
    try:
        yield from examine_tracking(lake)
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]


def lake_run(lake: Lake, seed: int) -> str:
    return next(run.run_id for run in lake.manifests() if run.seed == seed)


FIRST_RUN = """
import sys, time
from pathlib import Path
from personascope.ingest.tracking.tracker import Tracker
from personascope.ingest.tracking.target import resolve_tracking
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
assert "mlflow" not in sys.modules
folder, name = Path(sys.argv[1]), sys.argv[2]
lake = Lake.open(folder / "lake")
import mlflow.tracking, mlflow.store.tracking.sqlalchemy_store
(folder / f"ready-{name}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
lake.tracking = tracker = Tracker(resolve_tracking(environ={}, root=folder, lake=folder / "lake"))
writer = lake.start(RunSpec(kind="extract", extractor="attention", version=1, identity={"seed": name}))
tracker.open(writer)
print(writer.commit().mlflow.run_id)
"""


@pytest.mark.slow
def test_processes_that_make_the_same_store_at_once_all_succeed_in_silence(tmp_path):
    (tmp_path / "lake" / "mlflow").mkdir(parents=True)
    leftover = tmp_path / "lake" / "mlflow" / "tracking.db.new"
    leftover.write_text("half a store, left by a killed process")
    names = ["one", "two"]
    processes = [
        subprocess.Popen([sys.executable, "-c", FIRST_RUN, str(tmp_path), name], cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name in names
    ]
    while any(process.poll() is None for process in processes) and not all((tmp_path / f"ready-{name}").exists() for name in names):
        time.sleep(0.01)
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [err for _, err in outputs] == ["", ""]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=sqlite_uri(tmp_path / "lake" / "mlflow" / "tracking.db"))
    runs = [client.get_run(out.strip()) for out, _ in outputs]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len({run.info.experiment_id for run in runs}) == 1
    assert not leftover.exists()


def test_the_project_entry_point_parses_and_runs_the_study(tmp_path):
    from mlflow.projects.utils import fetch_and_validate_project, get_entry_point_command, load_project

    stub = tmp_path / "personascope"
    stub.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)

    def arguments(environ: dict[str, str] | None = None, **parameters: str) -> list[str]:
        folder = fetch_and_validate_project(str(HOME / "mlflow"), None, "marker-attention", parameters)
        [command] = get_entry_point_command(load_project(folder), "marker-attention", parameters, str(tmp_path / "storage"))
        path = f"{tmp_path}:{os.environ['PATH']}"
        done = subprocess.run(["bash", "-c", command], cwd=folder, env={"PATH": path, **(environ or {})}, capture_output=True, text=True)
        assert done.stderr == "" or done.returncode
        return done.stdout.splitlines() if not done.returncode else [f"exit {done.returncode}", done.stderr.strip()]

    def started(lake: Path | str, *more: str) -> list[str]:
        return ["run", "marker-attention", "--lake", str(lake), *more]

    assert arguments() == started(HOME / "lake")
    assert arguments(quick="true", extra="--device cpu --no-track", seed="7") == started(
        HOME / "lake", "--quick", "--device", "cpu", "--no-track", "--seed", "7"
    )
    assert arguments({"PERSONASCOPE_LAKE": "../elsewhere"}) == started(f"{HOME}/../elsewhere")
    assert arguments({"PERSONASCOPE_LAKE": "/from/environment"}) == started("/from/environment")
    assert arguments({"PERSONASCOPE_LAKE": "/from/environment"}, lake="my lake") == started(HOME / "my lake")
    assert arguments(quick="yes") == ["exit 2", "parameter quick: found 'yes', expected true or false"]


@pytest.mark.slow
def test_mlflow_run_starts_the_entry_point_as_a_run_that_can_be_a_parent(copied_store, tmp_path, lake):
    stub = tmp_path / "bin" / "personascope"
    stub.parent.mkdir()
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID")
    code = f'import json, os; print(json.dumps({{name: os.environ[name] for name in "{" ".join(names)}".split()}}))'
    stub.write_text(f"#!/bin/bash\nexec {sys.executable} -c '{code}' > {tmp_path}/environment.json\n")
    stub.chmod(0o755)
    command = [sys.executable, "-m", "mlflow", "run", str(HOME / "mlflow"), "-e", "marker-attention", "--env-manager", "local"]
    environ = os.environ | {"PATH": f"{stub.parent}:{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    project = json.loads((tmp_path / "environment.json").read_text())
    manifest = log(lake, Tracker(resolve_tracking(study_experiment="of the study", environ=project, lake=lake.root)))
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=sqlite_uri(copied_store))
    run = client.get_run(manifest.mlflow.run_id)
    assert run.data.tags["mlflow.parentRunId"] == project["MLFLOW_RUN_ID"]
    assert client.get_experiment(run.info.experiment_id).name == "of the study"
