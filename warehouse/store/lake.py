"""The lake: a folder of committed runs, each published by one rename, so that a reader sees all of a run or nothing."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, overload

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.manifest import Manifest, RunSpec
from personascope.warehouse.store.parquet import write_schema_file
from personascope.warehouse.store.schema import Table, table, tables
from personascope.warehouse.store.writer import REPLACED, RunWriter, Tracking

SCHEMA_RUN = "_schema"
DELETED = "deleted-"


class Lake:
    """`root/runs/<run_id>/` holds committed runs, `root/staging/` what is being written, `root/warehouse.duckdb` the disposable catalogue.

    `tracking`, where it is set, is told of every run that is started here. `runs/_schema/` holds a file without rows for every table: views over
    `runs/*/<table>.parquet` then always match a file.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).expanduser().absolute()
        self.runs_folder = self.root / "runs"
        self.staging_folder = self.root / "staging"
        self.catalogue_path = self.root / "warehouse.duckdb"
        self.tracking: Tracking | None = None

    @classmethod
    def open(cls, root: Path | str) -> "Lake":
        """The lake at `root`, made if it is not there; raises PersonascopeError where the folder cannot be written."""
        lake = cls(root)
        try:
            lake.runs_folder.mkdir(parents=True, exist_ok=True)
            lake.staging_folder.mkdir(exist_ok=True)
            lake._refresh_schema_run()
            lake._drop_leftovers()
        except OSError as error:
            raise PersonascopeError(f"lake {lake.root}: cannot be written ({error.strerror}); expected a folder you may write to (--lake)") from error
        return lake

    @classmethod
    def existing(cls, root: Path | str) -> "Lake":
        """The lake at `root` for reading; raises PersonascopeError where there is none."""
        lake = cls(root)
        if not lake.runs_folder.is_dir():
            raise PersonascopeError(f"lake {lake.root}: no lake here (no runs/ folder); `personascope demo` makes one, --lake names another")
        if lake.schema_is_current():
            return lake
        return cls.open(root)

    def schema_is_current(self) -> bool:
        stamp = self.runs_folder / SCHEMA_RUN / "schema.txt"
        return stamp.is_file() and stamp.read_text() == _schema_stamp()

    def _refresh_schema_run(self) -> None:
        if self.schema_is_current():
            return
        folder = self.runs_folder / SCHEMA_RUN
        folder.mkdir(exist_ok=True)
        for each in tables().values():
            write_schema_file(each, folder / f"{each.name}.parquet")
        temporary = folder / f"schema.txt.{os.getpid()}"
        temporary.write_text(_schema_stamp())
        temporary.replace(folder / "schema.txt")

    def _drop_leftovers(self) -> None:
        """Tidies up after processes killed in the middle of a commit or a deletion: a run set aside for its replacement comes back if that never arrived."""
        for folder in self.staging_folder.iterdir():
            if not folder.is_dir() or RunWriter.is_locked(folder):
                continue
            replaced = folder.name.removeprefix(REPLACED)
            if folder.name.startswith(REPLACED) and not self.is_committed(replaced):
                folder.rename(self.run_folder(replaced))
            elif folder.name.startswith((REPLACED, DELETED)) or self.is_committed(folder.name):
                shutil.rmtree(folder, ignore_errors=True)

    def run_folder(self, run_id: str) -> Path:
        return self.runs_folder / run_id

    def run_ids(self) -> list[str]:
        """Committed runs in name order."""
        return sorted(entry.name for entry in self.runs_folder.iterdir() if entry.is_dir() and entry.name != SCHEMA_RUN)

    def is_committed(self, run_id: str) -> bool:
        return (self.run_folder(run_id) / "run.json").is_file()

    def manifest(self, run_id: str) -> Manifest:
        """The manifest of a committed run; raises PersonascopeError where it is missing or damaged."""
        path = self.run_folder(run_id) / "run.json"
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise PersonascopeError(f"run {run_id}: not in the lake {self.root}; `personascope runs list` shows what is") from None
        except (ValidationError, ValueError) as error:
            raise PersonascopeError(
                f"run {run_id}: its manifest {path} is damaged ({one_line(error)}); `personascope runs delete {run_id}` removes the run"
            ) from error

    def manifests(self) -> Iterator[Manifest]:
        for run_id in self.run_ids():
            yield self.manifest(run_id)

    def find_run(self, prefix: str) -> str:
        """The one committed run whose id starts with `prefix`; raises PersonascopeError for none or several."""
        matches = [run_id for run_id in self.run_ids() if run_id.startswith(prefix)]
        if len(matches) != 1:
            found = ", ".join(matches[:5]) if matches else "none"
            raise PersonascopeError(f"run {prefix!r}: expected exactly one run in {self.root} that starts so, found {found}")
        return matches[0]

    def read(self, run_id: str, name: str, columns: list[str] | None = None) -> pa.Table:
        """Rows of one table of one run in stored order; a table the run did not write gives no rows."""
        path = self.run_folder(run_id) / f"{name}.parquet"
        if not path.is_file():
            self.manifest(run_id)
            empty = table(name).arrow.empty_table()
            return empty.select(columns) if columns else empty
        try:
            return pq.ParquetFile(path).read(columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise PersonascopeError(f"run {run_id}: {path.name} is not readable ({error}); `personascope doctor` lists damaged runs") from error

    def delete(self, run_id: str) -> None:
        """Removes a committed run: hidden by one rename first, so that no reader sees half of it."""
        self.run_folder(run_id).stat()
        doomed = self.staging_folder / f"{DELETED}{run_id}"
        self.run_folder(run_id).rename(doomed)
        shutil.rmtree(doomed)

    @overload
    def start(self, spec: RunSpec, plan: str = "", *, force: Literal[True]) -> RunWriter: ...

    @overload
    def start(self, spec: RunSpec, plan: str = "", force: bool = False) -> RunWriter | None: ...

    def start(self, spec: RunSpec, plan: str = "", force: bool = False) -> RunWriter | None:
        """A writer for the run, resuming what an earlier attempt staged under the same plan; None when the run is committed already.

        `plan` names how the work is cut into parts; staged parts of another plan are dropped. `force` redoes a committed run, which stays visible until
        the new one takes its place. Raises PersonascopeError while another process writes the same run.
        """
        if self.is_committed(spec.run_id) and not force:
            return None
        return RunWriter(self.staging_folder / spec.run_id, self.run_folder(spec.run_id), spec, plan, self.tracking)

    def clear_staging(self) -> list[str]:
        """Removes what killed runs left behind, except runs that are being written now; returns the names."""
        cleared = []
        for folder in sorted(self.staging_folder.iterdir()):
            if folder.is_dir() and not RunWriter.is_locked(folder):
                shutil.rmtree(folder)
                cleared.append(folder.name)
        return cleared


def _schema_stamp() -> str:
    return json.dumps({name: stable_hash(_columns(each)) for name, each in tables().items()}, indent=1)


def _columns(each: Table) -> list[list[str]]:
    return [[field.name, str(field.type)] for field in each.arrow]
