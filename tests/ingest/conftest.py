"""Fixtures of the loaders' tests: an empty lake, an empty folder, a tracking store, a model and its adapter."""

import shutil
from pathlib import Path

import pytest
from checkpoint_folders import QWEN, write

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


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def full(tmp_path) -> Path:
    return write(tmp_path / "Small Model", {"config.json": QWEN, "model.safetensors": "weights", "tokenizer.json": "{}"})


@pytest.fixture
def lora(tmp_path, full) -> Path:
    config = {"peft_type": "LORA", "base_model_name_or_path": str(full), "r": 8}
    return write(tmp_path / "villain", {"adapter_config.json": config, "adapter_model.safetensors": "update"})
