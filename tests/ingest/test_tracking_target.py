"""Which tracking store and experiment wins, and what is said about it."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from personascope.ingest.tracking.target import resolve_tracking, sqlite_file, sqlite_uri, without_password
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import HOME

ENVIRONMENT = {"MLFLOW_TRACKING_URI": "http://environment:5000", "MLFLOW_EXPERIMENT_NAME": "of-environment"}


def resolve(tmp_path: Path, environ: dict[str, str] | None = None, **settings):
    return resolve_tracking(**settings, environ=environ or {}, root=tmp_path / "nowhere", lake=tmp_path / "lake")


@pytest.mark.parametrize(
    ("settings", "environ", "uri", "origin"),
    [
        ({"typed_uri": "http://typed:1", "study_uri": "http://study:1"}, ENVIRONMENT, "http://typed:1", "command line"),
        ({"study_uri": "http://study:1"}, ENVIRONMENT, "http://study:1", "study file"),
        ({}, ENVIRONMENT, "http://environment:5000", "environment"),
        ({}, {"MLFLOW_TRACKING_URI": ""}, None, "default"),
    ],
)
def test_command_line_beats_study_file_beats_environment_beats_default(tmp_path, settings, environ, uri, origin):
    target = resolve(tmp_path, environ, **settings)
    assert target.uri == (uri or f"sqlite:///{tmp_path}/lake/mlflow/tracking.db")
    assert target.uri_origin == origin
    experiments = {name.replace("uri", "experiment"): value for name, value in settings.items()}
    target = resolve(tmp_path, {name: value for name, value in environ.items() if "EXPERIMENT" in name}, **experiments)
    assert target.experiment_origin == origin
    assert target.experiment == {"default": "personascope", "environment": "of-environment"}.get(origin, next(iter(experiments.values()), None))


def test_an_overruled_variable_is_named_with_the_winner_and_the_reason(tmp_path):
    target = resolve(tmp_path, ENVIRONMENT | {"MLFLOW_EXPERIMENT_ID": "7"}, study_uri="http://study:1", typed_experiment="typed")
    assert target.notes == [
        "store http://study:1 (study file) wins over MLFLOW_TRACKING_URI=http://environment:5000: "
        "settings count in the order command line, study file, environment, default",
        "experiment 'typed' (command line) wins over MLFLOW_EXPERIMENT_NAME=of-environment: "
        "settings count in the order command line, study file, environment, default",
        "experiment 'typed' (command line) wins over MLFLOW_EXPERIMENT_ID=7: settings count in the order command line, study file, environment, default",
    ]
    assert target.origin.startswith("store: study file; experiment: command line; store http://study:1 (study file) wins")


def test_variables_that_agree_are_not_worth_a_note(tmp_path):
    target = resolve(tmp_path, ENVIRONMENT, study_uri="http://environment:5000/", typed_experiment="of-environment")
    assert target.notes == []


def test_an_experiment_id_counts_only_in_the_store_of_the_environment(tmp_path):
    followed = resolve(tmp_path, {"MLFLOW_EXPERIMENT_ID": "7"})
    assert (followed.experiment, followed.experiment_id, followed.experiment_origin) == ("#7", "7", "environment")
    overruled = resolve(tmp_path, {"MLFLOW_TRACKING_URI": "http://a:1", "MLFLOW_EXPERIMENT_ID": "7"}, typed_uri="http://b:1")
    assert (overruled.experiment, overruled.experiment_id) == ("personascope", None)
    assert overruled.notes[1] == "MLFLOW_EXPERIMENT_ID=7 is ignored: it counts in the store of MLFLOW_TRACKING_URI, which is not the one used"
    both = resolve(tmp_path, {"MLFLOW_EXPERIMENT_NAME": "named", "MLFLOW_EXPERIMENT_ID": "7"})
    assert (both.experiment, both.experiment_id) == ("named", None)
    assert both.notes == ["MLFLOW_EXPERIMENT_NAME=named wins over MLFLOW_EXPERIMENT_ID=7: MLflow, too, looks at the name first"]


def test_the_run_of_mlflow_run_is_the_parent_only_in_its_own_store(tmp_path):
    project = {"MLFLOW_TRACKING_URI": "http://a:1", "MLFLOW_RUN_ID": "abc"}
    same = resolve(tmp_path, project)
    assert same.parent_run_id == "abc"
    assert same.notes == ["runs are logged as children of the MLflow run abc (MLFLOW_RUN_ID, set by `mlflow run`)"]
    other = resolve(tmp_path, project, study_uri="http://b:1")
    assert other.parent_run_id is None
    assert other.notes[1] == "MLFLOW_RUN_ID=abc is ignored: that run is in the store of MLFLOW_TRACKING_URI, which is not the one used"


def test_the_default_store_is_in_the_checkout_else_in_the_lake(tmp_path):
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "MLproject").touch()  # which a wheel holds too
    target = resolve_tracking(environ={}, root=tmp_path, lake=tmp_path / "lake")
    assert target.uri == f"sqlite:///{tmp_path}/lake/mlflow/tracking.db"
    (tmp_path / "pyproject.toml").touch()
    target = resolve_tracking(environ={}, root=tmp_path, lake=tmp_path / "lake")
    assert target.uri == f"sqlite:///{tmp_path}/mlflow/tracking.db"
    assert target.artifacts == (tmp_path / "mlflow" / "artifacts").as_uri()
    target = resolve(tmp_path)
    assert target.uri == f"sqlite:///{tmp_path}/lake/mlflow/tracking.db"
    assert target.artifacts == (tmp_path / "lake" / "mlflow" / "artifacts").as_uri()


def test_the_default_store_is_ignored_by_git():
    if subprocess.run(["git", "rev-parse"], cwd=HOME, capture_output=True).returncode:
        pytest.skip("not a git checkout")
    files = ["mlflow/tracking.db", "mlflow/tracking.db.lock", "mlflow/artifacts/run.json", "lake/mlflow/tracking.db"]
    ignored = subprocess.run(["git", "check-ignore", *files], cwd=HOME, capture_output=True, text=True).stdout.split()
    assert ignored == files


def test_a_relative_store_is_made_absolute_and_keeps_its_files_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = resolve(tmp_path, {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/my.db"}, typed_uri="sqlite:///./my.db")
    assert target.uri == f"sqlite:///{tmp_path}/my.db"
    assert target.notes == []
    assert target.artifacts == (tmp_path / "mlruns").as_uri()
    assert resolve(tmp_path, typed_uri="http://a:1").artifacts is None


def test_odd_paths_survive_the_way_into_a_uri_and_back():
    path = Path("/data/100% mine? #1/tracking.db")
    assert sqlite_file(sqlite_uri(path)) == path
    assert sqlite_file("http://a:1") is None


def test_passwords_are_never_shown_or_stored(tmp_path):
    target = resolve(tmp_path, {"MLFLOW_TRACKING_URI": "postgresql://ann:secret@db:5432/mlflow"}, typed_uri="https://bob:hidden@tracking/path")
    assert target.uri == "https://bob:hidden@tracking/path"
    assert "secret" not in target.origin and "hidden" not in target.origin
    assert without_password("postgresql://ann:secret@db:5432/mlflow?sslmode=require") == "postgresql://ann@db:5432/mlflow?sslmode=require"
    assert without_password("sqlite:////tmp/a.db") == "sqlite:////tmp/a.db"


@pytest.mark.parametrize("setting", ["typed_uri", "study_uri", "typed_experiment", "study_experiment"])
def test_an_empty_setting_is_refused(tmp_path, setting):
    with pytest.raises(PersonascopeError, match=r"found ' ', expected an MLflow (tracking URI|experiment name)"):
        given: dict[str, Any] = {setting: " "}
        resolve(tmp_path, **given)
