"""The lake: a folder of committed runs, each published by one rename, so that a reader sees all of a run or nothing."""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, overload

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import compact
from personascope.warehouse.store.committed import SCHEMA_RUN, Contents, look, name_strays, names, read_manifest, why_damaged
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.locks import LOOKING, POLL, RunBusyError, is_locked, take_lock
from personascope.warehouse.store.looked_at import Looked, Mark, mark_of
from personascope.warehouse.store.manifest import MANIFEST, Manifest, RunSpec
from personascope.warehouse.store.met import Runs
from personascope.warehouse.store.parquet import write_schema_file
from personascope.warehouse.store.schema import Table, table, tables
from personascope.warehouse.store.scratch import SCRATCH, drop_scratch, scratch
from personascope.warehouse.store.soundness import why_unsound_schema
from personascope.warehouse.store.staging import DELETED, REPLACED, STAGING, discard
from personascope.warehouse.store.writer import RunWriter, Tracking

_BUCKET = re.compile(r"(s3|hf|gs|gcs|az|abfs|https?):/")
BUCKET_MARK = "personascope-bucket.json"  # lies at the root of what `lake push` filled
PATIENCE = 600.0  # seconds to wait for another process that writes the same short run


class Lake:
    """`root/runs/<run_id>/` holds committed runs, `root/staging/` what is being written, `root/warehouse.duckdb` the disposable catalogue, `root/compact/`
    rows of many runs once more, to be read faster.

    `tracking`, where it is set, is told of every run that is started here. `runs/_schema/` holds a file without rows for every table: views over
    `runs/*/<table>.parquet` then always match a file.
    """

    def __init__(self, root: Path | str) -> None:
        if (address := _BUCKET.match(str(root))) is not None:
            bucket = f"{address[1]}://{str(root)[address.end() :].lstrip('/')}"  # a Path has lost one of the strokes
            raise PersonascopeError(f"lake {bucket}: a bucket is not asked itself; `personascope lake pull {bucket} --lake FOLDER` mirrors it in a lake")
        self.root = Path(root).expanduser().absolute()
        if (self.root / BUCKET_MARK).exists():
            raise PersonascopeError(f"lake {root}: a bucket, which is not asked itself; `personascope lake pull {root} --lake FOLDER` mirrors it in a lake")
        if "\\" in str(self.root):
            raise PersonascopeError(f"lake {self.root}: holds a backslash, which DuckDB takes for the end of a folder's name; expected a path without one")
        self.runs_folder = self.root / "runs"
        self.staging_folder = self.root / STAGING
        self.catalogue_path = self.root / "warehouse.duckdb"
        self.tracking: Tracking | None = None
        self._is_made = True

    @classmethod
    def open(cls, root: Path | str) -> "Lake":
        """The lake at `root`, made if it is not there; raises PersonascopeError where the folder cannot be written."""
        lake = cls(root)
        lake._refuse_links()
        try:
            lake.runs_folder.mkdir(parents=True, exist_ok=True)
            lake.staging_folder.mkdir(exist_ok=True)
            lake._refresh_schema_run()
            lake._bring_back()
            lake._drop_leftovers()
            name_strays(lake.runs_folder, lake.contents().strays)
        except OSError as error:
            raise PersonascopeError(f"lake {lake.root}: cannot be written ({error.strerror}); expected a folder you may write to (--lake)") from error
        return lake

    @classmethod
    def at(cls, root: Path | str) -> "Lake":
        """The lake at `root`, opened if it is there; else one without runs, which is not made before `open`: what is typed is looked at first."""
        lake = cls(root)
        if lake.runs_folder.is_dir():
            return cls.open(root)
        lake._is_made = False
        return lake

    @classmethod
    def existing(cls, root: Path | str) -> "Lake":
        """The lake at `root` for reading; raises PersonascopeError where there is none."""
        return cls.existing_with_contents(root)[0]

    @classmethod
    def existing_with_contents(cls, root: Path | str) -> "tuple[Lake, Contents]":
        """The same, and what lies in it, which was looked at anyway."""
        lake = cls(root)
        if not lake.runs_folder.is_dir():
            raise PersonascopeError(f"lake {lake.root}: no lake here (no runs/ folder); `personascope demo` makes one, --lake names another")
        lake._refuse_links()
        try:
            is_current = lake.schema_is_current()
        except OSError as error:
            raise PersonascopeError(f"lake {lake.root}: cannot be read ({error.strerror}); expected a folder you may read (--lake)") from error
        if not is_current:
            with suppress(PersonascopeError):  # one of another version that cannot be written is read as it is
                opened = cls.open(root)
                return opened, opened.contents()
        try:
            lake._bring_back()
            lake._drop_leftovers()
        except OSError:  # one that cannot be written, too
            pass
        for run_id in lake.set_aside():
            print(
                f"left out: run {run_id} lies in {lake.staging_folder / (REPLACED + run_id)} and cannot be put back; its lake cannot be written",
                file=sys.stderr,
            )
        contents = lake.contents()
        name_strays(lake.runs_folder, contents.strays)
        return lake, contents

    @property
    def is_writable(self) -> bool:
        """Whether this user may write into it, as far as the system says."""
        return os.access(self.staging_folder if self.staging_folder.is_dir() else self.root, os.W_OK)

    def _refuse_links(self) -> None:
        """Raises PersonascopeError where the lake's own folders lead out of it: what is read, written and cleared away would lie elsewhere."""
        for folder in (self.runs_folder, self.staging_folder, self.root / compact.FOLDER):
            if folder.is_symlink():
                raise PersonascopeError(f"lake {self.root}: its folder {folder.name} is a link to {folder.resolve()}; expected the folder itself (--lake)")

    def schema_is_current(self) -> bool:
        """Whether the files without rows are those of this version; those that a stranger planted under its stamp are not."""
        folder, expected = self.runs_folder / SCHEMA_RUN, _schema_stamp()
        stamp = folder / "schema.txt"
        try:
            mark, size = mark_of(folder.lstat()), stamp.lstat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return False
        if size != len(expected.encode()) or stamp.is_symlink() or not stamp.is_file() or stamp.read_text() != expected:
            return False
        looked = Looked(self.runs_folder)
        if mark not in looked:
            if why_unsound_schema(folder):
                return False
            looked.add(mark, worth=len(tables()))
        return True

    def _refresh_schema_run(self) -> None:
        if self.schema_is_current():
            return
        folder = self.runs_folder / SCHEMA_RUN
        if folder.is_symlink():
            folder.unlink()
        folder.mkdir(exist_ok=True)
        for entry in folder.iterdir():
            if entry.is_symlink():
                entry.unlink()
        with scratch(self.staging_folder) as making:
            for each in tables().values():
                write_schema_file(each, making / f"{each.name}.parquet")
                (making / f"{each.name}.parquet").replace(folder / f"{each.name}.parquet")
            (making / "schema.txt").write_text(_schema_stamp())
            (making / "schema.txt").replace(folder / "schema.txt")

    def set_aside(self) -> list[str]:
        """Runs that stepped aside for a replacement that never arrived, and that nobody is replacing now: they lie in staging and are held in trust."""
        if not self.staging_folder.is_dir():
            return []
        found = sorted(entry.name.removeprefix(REPLACED) for entry in self._staged() if entry.name.startswith(REPLACED))
        return [run_id for run_id in found if not self.run_folder(run_id).exists() and not is_locked(self.staging_folder / run_id)]

    def _bring_back(self) -> None:
        """Puts runs that were set aside in their place again."""
        for run_id in self.set_aside():
            with suppress(FileNotFoundError):  # where another process was faster
                (self.staging_folder / f"{REPLACED}{run_id}").rename(self.run_folder(run_id))

    def _drop_leftovers(self) -> None:
        """Tidies up after processes killed in the middle of a commit or a deletion."""
        drop_scratch(self.root)
        for folder in self._staged():
            if folder.name.startswith(SCRATCH):
                continue
            if folder.name.startswith(DELETED):
                shutil.rmtree(folder, ignore_errors=True)
            elif self._is_litter(folder.name):
                _discard_if_free(folder)

    def _staged(self) -> list[Path]:
        """The folders in staging, in name order; a link is none, as what lies behind it is not the lake's."""
        return sorted(entry for entry in self.staging_folder.iterdir() if entry.is_dir() and not entry.is_symlink())

    def _is_litter(self, name: str) -> bool:
        """Whether a staged folder of this name is what a replacement, or a commit that was killed behind its last step, leaves behind."""
        run_id = name.removeprefix(REPLACED)
        return self.is_committed(run_id) and not is_locked(self.staging_folder / run_id)

    def run_folder(self, run_id: str) -> Path:
        """Where a run of that name lies; raises PersonascopeError for a name that would lead out of the runs folder."""
        if run_id in ("", ".", "..") or set(run_id) & set("/\0"):
            raise PersonascopeError(f"run {run_id!r}: not the name of a run; expected one that `personascope runs list` shows")
        return self.runs_folder / run_id

    def writing(self) -> list[str]:
        """Runs that living processes write at the moment, in the order of their names."""
        if not self.staging_folder.is_dir():
            return []
        return [entry.name for entry in sorted(self.staging_folder.iterdir()) if not entry.name.startswith((REPLACED, DELETED)) and is_locked(entry)]

    def contents(self) -> Contents:
        """What lies in the lake: committed runs with their manifests, strays, which are left out everywhere, and compact files of runs."""
        if not self._is_made:
            return Contents(Runs({}), ())
        found = look(self.runs_folder)
        compacts, stale = compact.look(self.root / compact.FOLDER, found.runs)
        return replace(found, compacts=compacts, stale=stale) if compacts or stale else found

    def names(self) -> Mapping[str, Mark]:
        """The runs folder and every entry of it with their marks: another one says that a run was added, removed or replaced; compact files likewise."""
        found = names(self.runs_folder)
        with suppress(FileNotFoundError, NotADirectoryError):
            return {**found, **{f"{compact.FOLDER}/{name}": mark for name, mark in names(self.root / compact.FOLDER).items()}}
        return found

    def is_changed(self, before: Mapping[str, Mark]) -> bool:
        """Whether it is not the lake that had these `names`, with every run looked at anew: what changed inside of a run's folder counts too."""
        self.contents()
        return self.names() != before

    def run_ids(self) -> list[str]:
        """Committed runs in name order."""
        return list(self.contents().runs)

    def is_committed(self, run_id: str) -> bool:
        """Whether there is a run of that name; a link to one is none."""
        folder = self.run_folder(run_id)
        return (folder / MANIFEST).is_file() and not folder.is_symlink()

    def manifest(self, run_id: str) -> Manifest:
        """The manifest of a committed run; raises PersonascopeError where it is missing or damaged."""
        path = self.run_folder(run_id) / MANIFEST
        try:
            return read_manifest(path)
        except FileNotFoundError:
            raise PersonascopeError(f"run {run_id}: not in the lake {self.root}; `personascope runs list` shows what is") from None
        except (ValidationError, ValueError) as error:
            raise PersonascopeError(
                f"run {run_id}: its manifest {path} is damaged ({why_damaged(error)}); "
                f"put a sound copy there, or remove the run with `personascope runs delete {run_id}`"
            ) from error

    def manifests(self) -> Iterator[Manifest]:
        """The manifests of all committed runs, in name order."""
        yield from self.contents().runs.values()

    def find_run(self, prefix: str) -> str:
        """The one committed run whose id starts with `prefix`, or the folder among the runs that is left out and bears exactly this name.

        Raises PersonascopeError for none or several.
        """
        if not prefix.strip():
            raise PersonascopeError("a run's name is empty; expected a run, or the beginning of its name (is a variable unset?)")
        contents = self.contents()
        matches = [run_id for run_id in contents.runs if run_id.startswith(prefix)] or [stray.name for stray in contents.strays if stray.name == prefix]
        if len(matches) != 1:
            found = ", ".join(matches[:5]) if matches else "none"
            raise PersonascopeError(f"run {prefix!r}: expected exactly one run in {self.root} that starts so, found {found}")
        return matches[0]

    def find_committed(self, prefix: str) -> str:
        """The one committed run whose id starts with `prefix`; raises PersonascopeError for none, several, and what is left out."""
        found = self.find_run(prefix)
        if found not in (contents := self.contents()).runs:
            reason = next((stray.reason for stray in contents.strays if stray.name == found), "it is gone")
            raise PersonascopeError(f"run {found}: is left out of {self.root}: {reason}")
        return found

    def read(self, run_id: str, name: str, columns: list[str] | None = None, only: Mapping[str, Any] | None = None) -> pa.Table:
        """Rows of one table of one run in stored order, those alone whose columns have the values of `only`; a table the run did not write gives no rows."""
        path = self.run_folder(run_id) / f"{name}.parquet"
        if not path.is_file():
            self.manifest(run_id)
            empty = table(name).arrow.empty_table()
            return empty.select(columns) if columns else empty
        try:
            if only:
                return pq.read_table(path, columns=columns, filters=[(column, "=", value) for column, value in only.items()], partitioning=None)
            return pq.ParquetFile(path).read(columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise PersonascopeError(f"run {run_id}: {path.name} is not readable ({error}); `personascope doctor` lists damaged runs") from error

    def delete(self, run_id: str) -> None:
        """Removes a committed run: hidden by one rename first, so that no reader sees half of it. One that is gone already stays so.

        Raises PersonascopeError where the lake cannot be written.
        """
        try:
            discard(self.run_folder(run_id))
        except OSError as error:
            raise PersonascopeError(f"run {run_id}: cannot be removed from {self.root} ({error.strerror}); expected a lake you may write to") from error

    @overload
    def start(self, spec: RunSpec, plan: str = "", *, force: Literal[True], patience: float = 0) -> RunWriter: ...

    @overload
    def start(self, spec: RunSpec, plan: str = "", force: bool = False, patience: float = 0) -> RunWriter | None: ...

    def start(self, spec: RunSpec, plan: str = "", force: bool = False, patience: float = 0) -> RunWriter | None:
        """A writer for the run, resuming what an earlier attempt staged under the same plan; None when the run is committed already.

        `plan` names how the work is cut into parts; staged parts of another plan are dropped. `force` redoes a committed run, which stays visible until
        the new one takes its place. While another process writes the same run this one waits for `patience` seconds, then raises RunBusyError.
        """
        until = time.monotonic() + max(patience, LOOKING)
        while True:
            if self.is_committed(spec.run_id) and not force:
                return None
            try:
                return RunWriter(self.staging_folder / spec.run_id, self.run_folder(spec.run_id), spec, plan, self.tracking)
            except RunBusyError:
                if time.monotonic() >= until:
                    raise
                time.sleep(POLL)

    def clear_staging(self) -> list[str]:
        """Removes what killed runs left behind, except runs that are being written now and committed ones that stepped aside; returns the names."""
        cleared = []
        for folder in self._staged():
            in_trust = folder.name.startswith(REPLACED) and not self._is_litter(folder.name)
            if not in_trust and not folder.name.startswith((SCRATCH, DELETED)) and _discard_if_free(folder):
                cleared.append(folder.name)
        return cleared


def _discard_if_free(folder: Path) -> bool:
    """Removes a staged folder that no process writes; whether it did."""
    try:
        lock = take_lock(folder, folder.name)
    except (PersonascopeError, OSError):
        return False
    with lock:
        discard(folder)
    return True


@cache
def _schema_stamp() -> str:
    return json.dumps({name: stable_hash(_columns(each)) for name, each in tables().items()}, indent=1)


def _columns(each: Table) -> list[list[str]]:
    return [[field.name, str(field.type)] for field in each.arrow]
