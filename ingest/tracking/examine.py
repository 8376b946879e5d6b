"""What `personascope doctor` says of the MLflow stores that a lake's runs were logged to."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from personascope.ingest.tracking.reconcile import end_left_open
from personascope.ingest.tracking.target import resolve_tracking, sqlite_file, sqlite_uri
from personascope.ingest.tracking.text import reason, root_cause
from personascope.ingest.tracking.tracker import considerate
from personascope.warehouse.asking.doctor import Finding
from personascope.warehouse.store.lake import Lake


def examine_tracking(lake: Lake) -> Iterator[Finding]:
    """Ends the MLflow runs that killed processes left RUNNING in the store of this folder and in those of the lake's runs; servers are left alone."""
    uris = {run.mlflow.tracking_uri for run in lake.manifests() if run.mlflow} | {resolve_tracking(lake=lake.root).uri}
    for file in sorted(file for uri in uris if (file := sqlite_file(uri)) is not None and file.is_file()):
        try:
            ended = _end(file) if _holds_running(file) else []
        except Exception as error:  # a store that cannot be read hides nothing else
            yield Finding("note", "tracking", f"{file} cannot be read ({reason(root_cause(error))})", "runs of the lake are not concerned")
            continue
        if ended:
            yield Finding("note", "tracking", f"ended {len(ended)} MLflow runs in {file} that killed processes had left RUNNING")
        else:
            yield Finding("ok", "tracking", f"no MLflow run in {file} is RUNNING without its process")


def _holds_running(file: Path) -> bool:
    """Whether any run of the store is RUNNING: asked of the file itself, as importing MLflow takes seconds."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as store:
        return bool(store.execute("select exists (select 1 from runs where status = 'RUNNING')").fetchone()[0])


def _end(file: Path) -> list[str]:
    with considerate():
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=sqlite_uri(file))
        return end_left_open(client, [each.experiment_id for each in client.search_experiments()])
