"""What was read of a lake of many runs once: rows of small tables, and answers that connections keep, in Parquet files of the user's cache folder.

A scan costs some tenths of a millisecond for every file, whatever it holds. The rows of a run's file are read from the cache for as long as the file has the
inode, the times and the size that it had when it was read; an answer, for as long as that holds of every file behind it and none came or went. So nothing
needs to be told to the cache, and whoever cannot write it or finds it damaged reads the runs. Files come by one rename.
"""

import json
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json

from personascope.warehouse.asking.blank import table_types, version
from personascope.warehouse.asking.stored import OF_FEW_RUNS, runs_that_lack, table_definitions
from personascope.warehouse.asking.views import quoted, tables_behind
from personascope.warehouse.home import cache_root
from personascope.warehouse.store import notes
from personascope.warehouse.store.committed import Contents
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest_index import YOUNG_NS, is_worth_writing

FOLDER = "rows"
MANY = 200  # files of a table; fewer are read as fast
KEPT = 10  # lakes, those written last
_FORMAT = 1  # to be raised where tables or what is kept of them is made otherwise by the program and not by `sql/`, of which the digests know
_SAYS = "personascope"  # key of what a file says of itself
_YOUNG = ""  # the state of a file that may change once more and look the same, or that is gone
_MAKING, _AN_HOUR = ".making-", 3600


class Remembered:
    """The rows and answers of one state of a lake; `folder` is where they lie."""

    def __init__(self, lake: Lake, contents: Contents) -> None:
        self._lake, self._contents = lake, contents
        self.folder = cache_root() / FOLDER / stable_hash(str(lake.root))
        self._files: dict[str, dict[str, str]] = {}
        self._keys: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._n_new: dict[str, int] = {}

    def rows(self, name: str) -> str | None:
        """The SELECT that gives the rows of a table in the order of its files, most of them from the cache; None where all are read from the files."""
        runs = self._contents.own_files.get(name, [])
        if len(runs) < MANY or self._contents.compacts or name in self._made_up or not self._lake.schema_is_current():
            return None
        place, kept = self._kept(name)
        same = {run_id for run_id in runs if (state := self._states(name)[run_id]) != _YOUNG and kept.get(run_id) == state}
        new = [run_id for run_id in runs if run_id not in same]
        self._n_new[name] = len(new)
        if place is None or len(new) > len(same):
            return None
        columns = ", ".join(f'"{column}"::{of} as "{column}"' for column, of in table_types()[name].items())
        found = f"select {columns} from read_parquet({quoted(str(place))})"
        if gone := kept.keys() - same:
            found += f" where run_id not in ({', '.join(map(quoted, sorted(gone)))})"
        if new:
            few = Contents(self._contents.runs.only(new), self._contents.strays)
            made = table_definitions(self._lake, few, OF_FEW_RUNS, [name])[name]
            parts = (found, made.partition(" as ")[2].rstrip(";"))
            numbered = " union all ".join(f'select *, row_number() over () as "number" from ({part})' for part in parts)
            found = f"""select * exclude "number" from ({numbered}) order by run_id || '/', "number\""""
        return found

    def keep_rows(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Writes the rows of the tables that were asked for and that the connection holds, where many of them came from the runs' own files; for a lake in
        which no run came or went meanwhile."""
        for name, n_new in self._n_new.items():
            if is_worth_writing(n_new, len(self._states(name))) and self._states(name) == Remembered(self._lake, self._contents)._states(name):
                says = json.dumps({"format": _FORMAT, "columns": table_types()[name], "files": self._states(name)}, separators=(",", ":"))
                self._write(connection, name, name, stable_hash(says), says)
        self._n_new.clear()

    def answer(self, view: str) -> str | None:
        """The SELECT that gives what a view answers in this state of the lake; None where that is not known."""
        key = self._key(view)
        place = self._place(f"{view}.answer", key)
        return f"from read_parquet({quoted(str(place))})" if key and place.is_file() else None

    def keep_answers(self, connection: duckdb.DuckDBPyConnection, names: Iterable[str]) -> None:
        """Writes what these views answer, which were asked for and which the connection holds; for a lake in which no run came or went meanwhile."""
        now = Remembered(self._lake, self._contents)
        for view in names:
            if (key := self._key(view)) and key == now._key(view):
                self._write(connection, view, f"{view}.answer", key)

    def _key(self, view: str) -> str:
        """Changes with whatever a view can read; empty for a lake of few runs, and where a file behind it changed a moment ago."""
        if len(self._contents.runs) < MANY or not self._lake.schema_is_current():
            return ""
        if view not in self._keys:
            behind = sorted(tables_behind([view]))
            compacts = [[compact.name, compact.made.isoformat()] for compact in self._contents.compacts]
            made_up = {name: runs for name, runs in self._made_up.items() if name in behind}
            states = [self._digest(name) for name in behind]
            self._keys[view] = stable_hash([_FORMAT, version(), notes.mark(self._lake), compacts, made_up, behind, states]) if all(states) else ""
        return self._keys[view]

    def _states(self, name: str) -> dict[str, str]:
        """By run a digest of what changes where its file of a table does; told once, before the rows are read."""
        if name not in self._files:
            old = time.time_ns() - YOUNG_NS
            self._files[name] = {run_id: _state(f"{self._lake.runs_folder}/{run_id}/{name}.parquet", old) for run_id in self._contents.holders.get(name, [])}
        return self._files[name]

    def _digest(self, name: str) -> str:
        """The states of all files of a table as one; empty where one of them is young."""
        if name not in self._digests:
            states = self._states(name)
            self._digests[name] = "" if _YOUNG in states.values() else stable_hash(states)
        return self._digests[name]

    @cached_property
    def _made_up(self) -> dict[str, list[str]]:
        return runs_that_lack(self._contents)

    def forget(self) -> None:
        """Removes what the cache holds of the lake: some of it is damaged."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kept(self, name: str) -> tuple[Path | None, dict[str, str]]:
        """Where rows of a table lie in the cache, and by run the states of the files that they are of."""
        with suppress(OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            place = max(self.folder.glob(f"{name}-*.parquet"), key=lambda each: each.stat().st_mtime_ns, default=None)
            said = from_json(pq.read_metadata(place).metadata[_SAYS.encode()]) if place is not None else {}
            if (said.get("format"), said.get("columns")) == (_FORMAT, table_types()[name]):
                return place, said["files"]
        return None, {}

    def _place(self, stem: str, digest: str) -> Path:
        """A file bears the digest of what it holds, since another process may put a newer one beside it between two looks."""
        return self.folder / f"{stem}-{digest}.parquet"

    def _write(self, connection: duckdb.DuckDBPyConnection, name: str, stem: str, digest: str, says: str = "") -> None:
        making = self.folder / f"{_MAKING}{uuid4().hex}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            connection.execute(f"copy (from {name}) to {quoted(str(making))} (format parquet, compression zstd, kv_metadata {{{_SAYS}: {quoted(says)}}})")
            making.replace(self._place(stem, digest))
            for older in self.folder.glob(f"{stem}-*.parquet"):
                if older != self._place(stem, digest):
                    older.unlink(missing_ok=True)
            self._drop_old()
        except duckdb.InterruptException:
            raise
        except (OSError, duckdb.Error):  # no room, or no leave to write: the next process reads the runs, too
            with suppress(OSError):
                making.unlink(missing_ok=True)

    def _drop_old(self) -> None:
        """Removes what lakes left behind that were not written longest, and what a killed process was making."""
        os.utime(self.folder)
        for old in sorted(self.folder.parent.iterdir(), key=lambda each: each.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        for litter in self.folder.glob(f"{_MAKING}*"):
            if time.time() - litter.stat().st_mtime > _AN_HOUR:
                litter.unlink(missing_ok=True)


def _state(path: str, old: int) -> str:
    try:
        file = os.lstat(path)
    except OSError:
        return _YOUNG
    if max(file.st_ctime_ns, file.st_mtime_ns) > old:
        return _YOUNG
    return f"{file.st_ino:x} {file.st_ctime_ns:x} {file.st_mtime_ns:x} {file.st_size:x}"
