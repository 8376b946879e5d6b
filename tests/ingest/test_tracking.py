"""Runs are logged to a real MLflow store, by themselves and in groups, continued after a kill, and never lost to a broken store."""

import os
import sqlite3
import time
from functools import partial
from pathlib import Path

import pytest
from tracked_runs import log, spec, target

from personascope.ingest.tracking.target import resolve_tracking, sqlite_uri
from personascope.ingest.tracking.text import summary_figures
from personascope.ingest.tracking.tracker import Tracker, open_tracking
from personascope.warehouse.settings import Parameter

pytestmark = pytest.mark.slow(20)


def test_a_run_is_logged_with_tags_parameters_figures_and_its_manifest(lake, store, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "decoy")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{store}.decoy")
    asked = spec(
        study="marker-attention",
        subject="base_librarian",
        device="NVIDIA H100",
        dtype="bfloat16",
        inputs=["completions-1", "completions-2"],
        parameters=[
            Parameter(name="temperature", value=0.7, origin="command line"),
            Parameter(name="strata/C3 (rare)", value=["a", "b"], origin="study file"),
            Parameter(name="batch", value=8),
            Parameter(name="long", value="x" * 10_000),
            *(Parameter(name=f"p{number}", value=number) for number in range(120)),
        ],
    )
    lake.tracking = tracker = Tracker(target(store, experiment="study/one"))
    writer = lake.start(asked)
    tracker.open(writer)
    assert client.get_run(writer.mlflow.run_id).info.status == "RUNNING"
    manifest = writer.commit({"rate": 0.25, "nested": {"n": 3}, "per_layer": [1, 2]})

    assert manifest.mlflow == lake.manifest(manifest.run_id).mlflow
    assert (manifest.mlflow.experiment, manifest.mlflow.tracking_uri) == ("study/one", store)
    assert manifest.mlflow.origin == "store: command line; experiment: command line"
    run = client.get_run(manifest.mlflow.run_id)
    assert client.get_experiment(run.info.experiment_id).name == "study/one"
    assert (run.info.status, run.info.run_name) == ("FINISHED", manifest.run_id)
    assert run.info.end_time >= run.info.start_time
    expected = {
        "personascope.run_id": manifest.run_id,
        "study": "marker-attention",
        "kind": "extract",
        "extractor": "attention",
        "checkpoint": "librarian",
        "revision": "0123abcd",
        "subject": "base_librarian",
        "inputs": "completions-1, completions-2",
        "device": "NVIDIA H100",
        "dtype": "bfloat16",
        "seed": "1",
        "parameters_from_command_line": "temperature",
        "parameters_from_study_file": "strata/C3 (rare)",
        "mlflow.source.name": "personascope",
    }
    assert expected.items() <= run.data.tags.items()
    assert run.data.tags.get("git_commit") == manifest.git_commit == run.data.tags.get("mlflow.source.git.commit")
    assert len(run.data.params) == 124
    assert {"temperature": "0.7", "strata_C3 _rare_": '["a", "b"]', "batch": "8"}.items() <= run.data.params.items()
    assert run.data.params["long"] == "x" * 5999 + "…"
    assert next(each.value for each in manifest.parameters if each.name == "long") == "x" * 10_000
    assert run.data.metrics == {"n_rows": 0.0, "seconds": manifest.seconds, "rate": 0.25, "nested/n": 3.0}
    assert run.info.artifact_uri.startswith((Path(store.removeprefix("sqlite:///")).parent / "mlruns").as_uri())
    logged = Path(client.download_artifacts(run.info.run_id, "run.json")).read_text()
    assert logged == (lake.run_folder(manifest.run_id) / "run.json").read_text()
    assert not Path(f"{store}.decoy".removeprefix("sqlite:///")).exists()
    assert client.get_experiment_by_name("decoy") is None


def test_only_tens_of_finite_figures_are_logged(lake, store, client):
    figures = summary_figures({"ok": True, "text": "a", "nan": float("nan"), "infinite": float("inf"), "none": None, "a": {"b c": {"d%": 1}}})
    assert figures == {"ok": 1.0, "a/b c/d_": 1.0}
    manifest = log(lake, Tracker(target(store)), summary={f"figure {number}": number for number in range(100)})
    run = client.get_run(manifest.mlflow.run_id)
    assert len(run.data.metrics) == 64
    assert run.data.tags["figures_left_out"] == "38 of 102; all are in run.json"


def test_a_killed_attempt_is_continued_in_the_same_mlflow_run(lake, store, client):
    lake.tracking = tracker = Tracker(target(store))
    writer = lake.start(spec(parameters=[Parameter(name="batch", value=8), Parameter(name="seed", value=1)]))
    tracker.open(writer)
    first = writer.mlflow.run_id
    writer.close()
    lake.tracking = tracker = Tracker(target(store))
    writer = lake.start(spec(parameters=[Parameter(name="batch", value=4), Parameter(name="seed", value=1), Parameter(name="new", value="yes")]))
    tracker.open(writer)
    manifest = writer.commit()
    run = client.get_run(first)
    assert manifest.mlflow.run_id == first
    assert run.info.status == "FINISHED"
    assert run.data.params == {"batch": "8", "seed": "1", "new": "yes"}
    assert run.data.tags["changed_on_resume"] == "batch=4"


def test_a_continued_run_stays_in_the_experiment_that_is_asked_for_now(lake, store, client):
    writer = lake.start(spec())
    Tracker(target(store, experiment="before")).open(writer)
    first = writer.mlflow.run_id
    Tracker(target(store, experiment="after")).open(writer)
    assert writer.mlflow.run_id != first
    assert client.get_experiment(client.get_run(writer.mlflow.run_id).info.experiment_id).name == "after"
    writer.close()


def test_a_run_deleted_in_mlflow_is_opened_anew(lake, store, client):
    lake.tracking = tracker = Tracker(target(store))
    writer = lake.start(spec())
    tracker.open(writer)
    first = writer.mlflow.run_id
    client.delete_run(first)
    tracker.open(writer)
    assert writer.mlflow.run_id != first
    writer.close()


@pytest.mark.parametrize(("error", "status"), [(ValueError("layer 3 is missing\nmore"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_failure_is_named_and_forgotten_when_the_run_succeeds(lake, store, client, error, status):
    lake.tracking = tracker = Tracker(target(store))
    writer = lake.start(spec())
    tracker.open(writer)
    tracker.fail(writer, error)
    run = client.get_run(writer.mlflow.run_id)
    assert run.info.status == status
    assert run.data.tags["error"] == (str(error).splitlines() or ["KeyboardInterrupt"])[0]
    tracker.open(writer)
    assert client.get_run(writer.mlflow.run_id).info.status == "RUNNING"
    writer.commit()
    run = client.get_run(run.info.run_id)
    assert run.info.status == "FINISHED"
    assert "error" not in run.data.tags


def test_runs_of_a_group_are_children_of_one_run_that_ends_with_it(lake, store, client):
    tracker = Tracker(target(store))
    with tracker.group("sweep"):
        children = [log(lake, tracker, seed) for seed in (1, 2)]
        parents = {client.get_run(child.mlflow.run_id).data.tags["mlflow.parentRunId"] for child in children}
        parent = client.get_run(parents.pop())
        assert not parents
        assert (parent.info.status, parent.info.run_name) == ("RUNNING", "sweep")
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
    alone = log(lake, tracker, seed=3)
    assert "mlflow.parentRunId" not in client.get_run(alone.mlflow.run_id).data.tags
    with pytest.raises(ValueError, match="broken"), tracker.group("sweep"):
        again = log(lake, tracker, seed=4)
        raise ValueError("broken")
    second = client.get_run(client.get_run(again.mlflow.run_id).data.tags["mlflow.parentRunId"])
    assert second.info.run_id != parent.info.run_id
    assert (second.info.status, second.data.tags["error"]) == ("FAILED", "broken")


def test_a_group_that_a_killed_process_left_open_is_continued(lake, store, client):
    killed, restarted = Tracker(target(store)), Tracker(target(store))
    left_open = killed.group("grid")
    left_open.__enter__()
    first = log(lake, killed, seed=1)
    with restarted.group("grid"):
        second = log(lake, restarted, seed=2)
    parents = {client.get_run(each.mlflow.run_id).data.tags["mlflow.parentRunId"] for each in (first, second)}
    assert len(parents) == 1
    with restarted.group("empty"):
        pass
    assert not client.search_runs([client.get_run(parents.pop()).info.experiment_id], "attributes.run_name = 'empty'")


def test_under_mlflow_run_the_runs_are_children_of_the_project_run(lake, store, client, capsys):
    project = client.create_run(client.create_experiment("project", artifact_location=(lake.root.parent / "artifacts").as_uri())).info
    environ = {"MLFLOW_TRACKING_URI": store, "MLFLOW_EXPERIMENT_ID": project.experiment_id, "MLFLOW_RUN_ID": project.run_id}
    tracker = Tracker(resolve_tracking(environ=environ, lake=lake.root))
    run = client.get_run(log(lake, tracker, seed=1).mlflow.run_id)
    assert run.data.tags["mlflow.parentRunId"] == project.run_id
    assert run.info.experiment_id == project.experiment_id
    assert "children of the MLflow run" in run.data.tags["tracking_notes"]
    with tracker.group("inside"):
        child = client.get_run(log(lake, tracker, seed=2).mlflow.run_id)
    group = client.get_run(child.data.tags["mlflow.parentRunId"])
    assert group.data.tags["mlflow.parentRunId"] == project.run_id
    assert capsys.readouterr().err == ""
    stranger = Tracker(target(store, environ | {"MLFLOW_RUN_ID": "f" * 32}))
    manifest = log(lake, stranger, seed=3)
    assert "mlflow.parentRunId" not in client.get_run(manifest.mlflow.run_id).data.tags
    assert f"MLFLOW_RUN_ID={'f' * 32} names no run of" in capsys.readouterr().err


def test_notes_are_printed_once_when_a_command_opens_tracking(lake, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    tracker = open_tracking(lake, study_experiment="marker-attention", typed_uri="sqlite:////never/made.db")
    assert tracker.target.experiment == "marker-attention"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("MLflow: experiment 'marker-attention' (study file) wins over MLFLOW_EXPERIMENT_NAME=other")
    assert captured.err.count("\n") == 1


def broken_store(tmp_path: Path, how: str) -> str:
    if how == "garbage":
        (tmp_path / "broken.db").write_text("not a database" * 100)
        return sqlite_uri(tmp_path / "broken.db")
    if how == "no folder":
        (tmp_path / "file").touch()
        return sqlite_uri(tmp_path / "file" / "tracking.db")
    if how == "unknown scheme":
        return "htp://tracking:5000"
    return "http://127.0.0.1:9"  # the discard port: nobody listens


@pytest.mark.parametrize(
    ("how", "reason"),
    [("garbage", "not a database"), ("no folder", "File exists"), ("unknown scheme", "unsupported URI"), ("dead server", "([Errno 111] Connection refused)")],
)
def test_a_store_that_cannot_be_used_costs_one_sentence_and_no_run(lake, tmp_path, capfd, monkeypatch, how, reason):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    started = time.monotonic()
    tracker = Tracker(target(broken_store(tmp_path, how)))
    manifests = [log(lake, tracker, seed) for seed in (1, 2)]
    tracker._paused_until = 0
    manifests.append(log(lake, tracker, seed=3))
    captured = capfd.readouterr()
    assert [manifest.mlflow for manifest in manifests] == [None, None, None]
    assert lake.run_ids() == sorted(manifest.run_id for manifest in manifests)
    assert captured.out == ""
    assert captured.err.startswith(f"warning: MLflow store {tracker.target.uri} cannot be used (")
    assert reason in captured.err
    assert captured.err.endswith("; the work goes on untracked\n")
    assert captured.err.count("\n") == 1
    assert time.monotonic() - started < 60


def test_a_locked_store_costs_one_sentence_and_tracking_comes_back_after_a_pause(lake, copied_store, capfd, monkeypatch):
    monkeypatch.setattr("sqlite3.dbapi2.connect", partial(sqlite3.connect, timeout=0.1))
    tracker = Tracker(target(sqlite_uri(copied_store)))
    lock = sqlite3.connect(copied_store, isolation_level=None)
    lock.execute("begin exclusive")
    assert log(lake, tracker, seed=2).mlflow is None
    assert "database is locked" in capfd.readouterr().err
    lock.execute("rollback")
    assert log(lake, tracker, seed=3).mlflow is None
    monkeypatch.setattr(tracker, "_paused_until", time.monotonic())
    assert log(lake, tracker, seed=4).mlflow.experiment == "personascope"
    assert capfd.readouterr() == ("", "")


def test_a_store_that_breaks_between_start_and_end_loses_nothing(lake, copied_store, capfd):
    lake.tracking = tracker = Tracker(target(sqlite_uri(copied_store)))
    writer = lake.start(spec())
    tracker.open(writer)
    logged = writer.mlflow
    copied_store.write_text("overwritten" * 1000)
    manifest = writer.commit()
    assert lake.manifest(manifest.run_id).mlflow == logged
    err = capfd.readouterr().err
    assert err.startswith("warning: MLflow store ") and err.count("\n") == 1


def test_an_experiment_made_by_a_faster_process_is_used(lake, store, client, monkeypatch):
    made = client.create_experiment("contested", artifact_location=(lake.root.parent / "artifacts").as_uri())
    look, calls = type(client).get_experiment_by_name, []

    def too_early(self, name):
        calls.append(name)
        return look(self, name) if len(calls) > 1 else None

    monkeypatch.setattr(type(client), "get_experiment_by_name", too_early)
    manifest = log(lake, Tracker(target(store, experiment="contested")))
    assert client.get_run(manifest.mlflow.run_id).info.experiment_id == made


def test_a_deleted_experiment_is_said_to_be_deleted(lake, store, client, capsys):
    client.delete_experiment(client.create_experiment("gone"))
    assert log(lake, Tracker(target(store, experiment="gone"))).mlflow is None
    assert "experiment 'gone' was deleted there; `mlflow experiments restore` brings it back" in capsys.readouterr().err


def test_the_process_is_left_as_it_was(lake, store, client):
    import logging

    before = dict(os.environ)
    log(lake, Tracker(target(store)))
    assert dict(os.environ) == before
    assert logging.root.manager.disable == logging.NOTSET
