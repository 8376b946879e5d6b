"""Writes the roll-ups that committed runs lack, because they were committed before these were thought of or were defined otherwise."""

import os
import shutil
from pathlib import Path

import polars as pl
import pyarrow as pa

from personascope.warehouse.store import rollups
from personascope.warehouse.store.conforming import conform
from personascope.warehouse.store.lake import PATIENCE, Lake
from personascope.warehouse.store.locks import await_lock
from personascope.warehouse.store.manifest import Manifest
from personascope.warehouse.store.parquet import write_parquet
from personascope.warehouse.store.schema import table
from personascope.warehouse.store.staging import discard, disk_errors, publish, refuse_links, sync


def renew(lake: Lake, run_id: str) -> list[str]:
    """Brings the roll-ups of a committed run up to date and returns their names; everything else in the run stays as it is.

    The run is put in place anew by one rename. A run that is gone meanwhile has none; while another process writes it this one waits. Raises PersonascopeError
    on a full disk, which leaves the run as it was, and RunBusyError where the other takes longer than PATIENCE.
    """
    if not lake.is_committed(run_id) or not rollups.outdated(lake.manifest(run_id)):
        return []
    staging = lake.staging_folder / run_id
    with disk_errors(f"roll-ups of run {run_id}"), await_lock(staging, run_id, PATIENCE) as lock:
        if not lake.is_committed(run_id) or not (targets := rollups.outdated(manifest := lake.manifest(run_id))):
            discard(staging)  # another process has been faster
            return []
        refuse_links(staging)
        final = staging / "final"
        shutil.rmtree(final, ignore_errors=True)
        final.mkdir()
        rewritten = {f"{target.name}.parquet" for target in targets} | {"runs.parquet", "run.json"}
        for file in lake.run_folder(run_id).iterdir():
            if file.name not in rewritten:
                _link(file, final / file.name)
        tables = manifest.tables | rollups.write(final, targets, staging / "sort")
        _describe(manifest.model_copy(update={"tables": tables}), lake.read(run_id, "runs"), final)
        sync(final)
        lock.confirm()
        publish(final, lake.run_folder(run_id))
        discard(staging)
    return [target.name for target in targets]


def _describe(manifest: Manifest, described: pa.Table, folder: Path) -> None:
    """The manifest as it now is, and its number of rows in the run's row of the table `runs`."""
    row, _ = conform(table("runs"), pl.DataFrame(described).with_columns(n_rows=pl.lit(manifest.n_rows)), {})
    write_parquet(table("runs"), row.to_batches(), folder / "runs.parquet")
    (folder / "run.json").write_text(manifest.model_dump_json(indent=2))


def _link(source: Path, destination: Path) -> None:
    """The same file under another name, or a copy of it where the file system has no links."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)
