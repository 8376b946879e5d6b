"""Runs of a lake that a tracker logs to an MLflow store."""

from pathlib import Path

from personascope.ingest.tracking.target import TrackingTarget, resolve_tracking
from personascope.ingest.tracking.tracker import Tracker
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec


def target(store: str, environ: dict[str, str] | None = None, experiment: str | None = None) -> TrackingTarget:
    return resolve_tracking(typed_uri=store, typed_experiment=experiment, environ=environ or {}, lake=Path("unused"))


def spec(seed: int = 1, **fields) -> RunSpec:
    identity = {"checkpoint": ["librarian", "0123abcd"], "seed": seed}
    return RunSpec(kind="extract", extractor="attention", version=1, identity=identity, checkpoint="librarian", seed=seed, **fields)


def log(lake: Lake, tracker: Tracker, seed: int = 1, summary: dict | None = None):
    lake.tracking = tracker
    writer = lake.start(spec(seed), force=True)
    tracker.open(writer)
    return writer.commit(summary)
