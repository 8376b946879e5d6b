"""Compact files: the rows of many runs once more in one file per table, read in the place of the runs' own small files, which stay the store of record;
tables whose files are large are left as they are.

`LAKE/compact/NAME/` holds `compact.json` and a Parquet file per table, and comes by one rename. It stands for its runs as long as every one of them is in
the lake as it was; where one was deleted, made anew or renewed, the whole of it is stale: nobody reads it, and the next catalogue removes it. So whatever
is done with runs needs to know nothing of compact files.
"""

import os
import stat
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from personascope.warehouse.errors import one_line
from personascope.warehouse.store.looked_at import AT_ONCE, Looked, mark_of
from personascope.warehouse.store.manifest import MADE_OF_THE_MANIFEST, Manifest, TableFile
from personascope.warehouse.store.met import Runs
from personascope.warehouse.store.schema import tables
from personascope.warehouse.store.soundness import LARGEST_MANIFEST, is_name

FOLDER = "compact"
SAYS = "compact.json"
LARGE = 1 << 20  # bytes of a table in a run, on average


class Compact(BaseModel):
    """What a folder of compact files says of itself: of which study it is (None: of runs that were named, or of no study), for which runs in which state it
    stands, in the order of their rows, and its files."""

    name: str
    study: str | None
    made: datetime
    runs: dict[str, str]
    tables: dict[str, TableFile]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.tables.values())


def tables_of(runs: Mapping[str, Manifest]) -> list[str]:
    """The tables of the present version that hold rows of these runs in small files, in the order of the schema.

    A file of more than LARGE bytes costs many times more to read than to open, so that nothing is gained where files of a table are of that size.
    """
    sizes: dict[str, list[int]] = {name: [0] for name in MADE_OF_THE_MANIFEST}
    for run in Runs.of(runs).met.values():
        for name, n_bytes in zip(run.form.columns, run.bytes, strict=True):
            sizes.setdefault(name, []).append(n_bytes)
    return [name for name in tables() if name in sizes and sum(sizes[name]) <= LARGE * len(sizes[name])]


def look(folder: Path, runs: Runs) -> tuple[tuple[Compact, ...], dict[str, str]]:
    """The compact files that stand for runs, no run in two of them, and by name of the others why they are not read."""
    found, stale = [], {}
    for entry in _entries(folder):
        compact = _read(entry)
        if isinstance(compact, str):
            stale[entry.name] = compact
        else:
            found.append(compact)
    standing: list[Compact] = []
    taken: set[str] = set()
    looked = Looked(folder)
    for compact in sorted(found, key=lambda each: (each.made, each.name), reverse=True):
        reason = _why_stale(compact, runs, taken) or _why_unsound(folder / compact.name, compact, runs, looked)
        if reason is None:
            standing.append(compact)
            taken |= compact.runs.keys()
        else:
            stale[compact.name] = reason
    if standing:
        looked.keep()
    return tuple(sorted(standing, key=lambda each: each.name)), stale


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(place: Path) -> Compact | str:
    path = place / SAYS
    try:
        state = path.lstat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > LARGEST_MANIFEST:
            return f"its {SAYS} is no file of its own of at most {LARGEST_MANIFEST:,} bytes"
        found = _parsed(str(path), state.st_ino, state.st_mtime_ns, state.st_size)
    except OSError as error:
        return f"its {SAYS} cannot be read ({error.strerror})"
    except (ValidationError, ValueError) as error:
        return f"its {SAYS} is damaged ({one_line(error)})"
    return found if found.name == place.name else f"its {SAYS} is of another folder"


@lru_cache(maxsize=64)
def _parsed(path: str, _inode: int, _changed: int, _size: int) -> Compact:
    return Compact.model_validate_json(Path(path).read_bytes())


def _why_stale(compact: Compact, runs: Runs, taken: set[str]) -> str | None:
    """Why a compact file does not stand for its runs as they are, in a few words."""
    for run_id, state in compact.runs.items():
        if run_id not in runs:
            return f"run {run_id[:80]} was deleted" if is_name(run_id) else "it names what can be no run"
        if runs.met[run_id].state != state:
            return f"run {run_id} was made anew or renewed"
        if run_id in taken:
            return f"run {run_id} is compact in a later one"
    known = tables()
    if any(name not in known or file.columns != known[name].columns for name, file in compact.tables.items()):
        return "its tables have other columns in this version"
    missing = set(tables_of(runs.only(compact.runs))) - compact.tables.keys()
    return f"it lacks the table {min(missing)}" if missing else None


def _why_unsound(place: Path, compact: Compact, runs: Mapping[str, Manifest], looked: Looked) -> str | None:
    """Why the files of a compact folder are not read: looked at once, by their names, kinds and footers."""
    try:
        mark = mark_of(place.lstat())
        if mark not in looked:
            with os.scandir(place) as entries:
                there = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
            if there != dict.fromkeys([SAYS, *(f"{name}.parquet" for name in compact.tables)], True):
                return f"it holds other files than its {SAYS} lists, or what is no file of its own"
            for name in compact.tables:
                if reason := _why_not_table(place / f"{name}.parquet", compact, runs):
                    return reason
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    looked.add(mark, worth=AT_ONCE)
    return None


def _why_not_table(path: Path, compact: Compact, runs: Mapping[str, Manifest]) -> str | None:
    name = path.stem
    try:
        footer = pq.read_metadata(path)
        found = footer.schema.to_arrow_schema()
    except (pa.ArrowException, ValueError) as error:
        return f"its {path.name} is not readable ({one_line(error)})"
    expected = compact.tables[name].rows
    if name not in MADE_OF_THE_MANIFEST:
        expected = sum(runs[run_id].tables[name].rows for run_id in compact.runs if name in runs[run_id].tables)
    if not found.equals(tables()[name].arrow) or footer.num_rows != expected:
        return f"its {path.name} has other columns or another number of rows than its runs"
    return None
