"""Fixtures of the loaders' tests: an empty lake, an empty folder, a tracking store."""

import shutil
from pathlib import Path

import pytest

from personascope.ingest.tracking.target import resolve_tracking, sqlite_file, sqlite_uri
from personascope.ingest.tracking.tracker import Tracker
from personascope.warehouse.store.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "files"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """One sqlite store for the module: making it takes a second or more."""
    return sqlite_uri(tmp_path_factory.mktemp("tracking") / "tracking.db")


@pytest.fixture(scope="module")
def client(store):
    from mlflow.tracking import MlflowClient

    tracker = Tracker(resolve_tracking(typed_uri=store, environ={}, lake=Path("unused")))
    assert tracker._attempt(lambda session: session.experiment) == "personascope"
    return MlflowClient(tracking_uri=store)


@pytest.fixture
def copied_store(store, client, tmp_path) -> Path:
    """A store of its own for a test that spoils it, named as MLflow's default store is."""
    source = sqlite_file(store)
    assert source is not None
    return Path(shutil.copy(source, tmp_path / "mlflow.db"))
