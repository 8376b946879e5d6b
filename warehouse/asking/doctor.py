"""Looks a lake over and names what is wrong: damaged manifests and files, leftovers of killed runs, a catalogue that does not open."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from personascope.warehouse.asking import catalogue, named
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.stored import Reading, escaped, stored_rows
from personascope.warehouse.asking.views import quoted, views
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.store import notes
from personascope.warehouse.store.committed import Contents
from personascope.warehouse.store.compact import FOLDER, Compact
from personascope.warehouse.store.hashing import file_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.locks import is_locked
from personascope.warehouse.store.manifest import MADE_OF_THE_MANIFEST, Manifest, made_of, utc_now
from personascope.warehouse.store.rollups import outdated
from personascope.warehouse.store.schema import tables
from personascope.warehouse.store.scratch import SCRATCH
from personascope.warehouse.store.staging import REPLACED

LOW_DISK_GIB = 2.0
SLACK = timedelta(minutes=1)  # by which clocks of machines differ


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `remedy` is what to type when it is not fine."""

    level: Literal["ok", "note", "error"]
    subject: str
    message: str
    remedy: str = ""


Examination = Callable[[Lake], Iterator[Finding]]


def examine(lake: Lake, more: Iterable[Examination] = ()) -> Iterator[Finding]:
    """Findings in the order they are made, those of `more` last; a damaged run does not hide the others."""
    yield from _disk(lake)
    contents, sound = lake.contents(), 0
    for stray in contents.strays:
        remedy = f"move it out of {lake.runs_folder}, or bring back what it was" if stray.is_damaged else f"move it out of {lake.runs_folder}"
        yield Finding("error" if stray.is_damaged else "note", stray.name, f"left out: {stray.reason}", remedy)
    for manifest in contents.runs.values():
        problems = list(_run(lake, manifest))
        yield from problems
        sound += not any(problem.level == "error" for problem in problems)
    yield Finding("ok", "runs", f"{sound} of {len(contents.runs)} runs are complete and unaltered")
    yield from _inputs(contents)
    yield from _clock(contents)
    yield from _rollups(lake)
    yield from _compact_files(lake, contents)
    yield from _staging(lake)
    yield from _catalogue(lake)
    yield from _queries(lake)
    yield from _notes(lake)
    for examination in more:
        yield from examination(lake)


def _disk(lake: Lake) -> Iterator[Finding]:
    free = shutil.disk_usage(lake.root).free / 2**30
    level: Literal["ok", "note"] = "note" if free < LOW_DISK_GIB else "ok"
    yield Finding(level, "disk", f"{free:.1f} GiB free under {lake.root}", "free some space before the next run" if level == "note" else "")
    probe = lake.staging_folder / ".doctor"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        yield Finding("error", "lake", f"{lake.root} cannot be written ({error.strerror})", "ask its owner, or use --lake")


def _run(lake: Lake, manifest: Manifest) -> Iterator[Finding]:
    run_id = manifest.run_id
    remedy = f"bring its folder back from a copy, or make it again: `personascope runs delete {run_id}`, then the command that made it ({manifest.command})"
    for name, file in manifest.tables.items():
        path = lake.run_folder(run_id) / f"{name}.parquet"
        if not path.is_file():
            yield Finding("error", run_id, f"{path.name} is missing", remedy)
        elif file_hash(path) != file.blake2:
            yield Finding("error", run_id, f"{path.name} is not the file that was committed ({_parquet_state(path, file.rows)})", remedy)
    for name in MADE_OF_THE_MANIFEST:
        state = _parquet_state(lake.run_folder(run_id) / f"{name}.parquet", None)
        if state != "readable":
            yield Finding("error", run_id, f"{name}.parquet: {state}", remedy)
    for name, count in manifest.nan_to_null.items():
        yield Finding("note", run_id, f"{count} NaN values of table {name} were stored as NULL")


def _parquet_state(path: object, rows: int | None) -> str:
    try:
        found = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException) as error:
        return f"not readable: {str(error).splitlines()[0]}"
    return "readable" if rows in (None, found) else f"{found} rows instead of {rows}"


def _inputs(contents: Contents) -> Iterator[Finding]:
    """Runs that others were made of and that are not here."""
    for missing in sorted({each for manifest in contents.runs.values() for each in manifest.inputs} - contents.runs.keys()):
        said = f"is not in this lake, and is an input of {made_of(contents.runs.values(), missing)}: what stands in it alone is missing"
        yield Finding("note", missing, said, f"personascope lake pull BUCKET --run {missing}, or make it again")


def _clock(contents: Contents) -> Iterator[Finding]:
    """Runs that were finished in the future: a clock here or where they were made is wrong, and which run is the newest is told by these times."""
    now = utc_now()
    ahead = max((run for run in contents.runs.values() if run.finished > now + SLACK), key=lambda run: run.finished, default=None)
    if ahead is not None:
        n = sum(run.finished > now + SLACK for run in contents.runs.values())
        said = f"{n} {'run was' if n == 1 else 'runs were'} finished later than now by this clock, {ahead.run_id} at {ahead.finished:%Y-%m-%d %H:%M} UTC"
        yield Finding("note", "clock", f"{said}: until then they count as newer than what is made now", "set this clock, or make them anew (--force)")


def _rollups(lake: Lake) -> Iterator[Finding]:
    """Runs that were committed before a roll-up existed or was defined as it is now."""
    lacking: dict[str, int] = {}
    for manifest in lake.manifests():
        missing = outdated(manifest)
        for target in missing:
            lacking[target.name] = lacking.get(target.name, 0) + 1
    for name, count in lacking.items():
        message = f"{count} {'run lacks' if count == 1 else 'runs lack'} this roll-up as it is now defined; questions make it up anew each time, which is slow"
        yield Finding("note", name, message, "personascope runs renew")


def _compact_files(lake: Lake, contents: Contents) -> Iterator[Finding]:
    """Compact files beside the runs they stand for: the same rows, run by run; a lake without any says nothing."""
    for name, reason in contents.stale.items():
        yield Finding("note", f"{FOLDER}/{name}", f"is not read: {reason}", "the next command that writes removes it")
    for compact in contents.compacts:
        problems = list(_why_not_of_runs(lake, contents, compact))
        if problems and compact not in lake.contents().compacts:
            yield Finding("note", f"{FOLDER}/{compact.name}", "was removed, or stands for its runs no more, since another process changed the lake meanwhile")
            continue
        for problem in problems:
            yield Finding("error", f"{FOLDER}/{compact.name}", problem, "personascope runs compact --undo, then compact them again")
        if not problems:
            yield Finding("ok", f"{FOLDER}/{compact.name}", f"holds the rows of {len(compact.runs)} runs once more, unaltered")


def _why_not_of_runs(lake: Lake, contents: Contents, compact: Compact) -> Iterator[str]:
    """What is wrong with compact files, by their hashes and by a hash of the rows of each run."""
    alone = Contents(contents.runs.only(compact.runs), contents.strays)
    of_runs = stored_rows(lake, alone, Reading(named_runs=True))
    with duckdb.connect() as connection:
        for name, file in compact.tables.items():
            path = lake.root / FOLDER / compact.name / f"{name}.parquet"
            try:
                if file_hash(path) != file.blake2:
                    yield f"{path.name} is not the file that was written"
                    continue
            except OSError as error:
                yield f"{path.name} cannot be read ({error.strerror})"
                continue
            columns = ", ".join(f'"{column}"' for column in file.columns)
            digests = " union all ".join(
                f"select run_id, count(*) as n, sum(hash({columns})::hugeint) as digest from ({rows}) group by run_id"
                for rows in (of_runs[name], f"select {columns} from read_parquet({quoted(escaped(path))})")
            )
            try:
                unequal = connection.execute(
                    f"select distinct run_id from (select run_id from ({digests}) group by run_id, n, digest having count(*) = 1)"
                ).fetchall()
            except duckdb.Error as error:
                yield f"{path.name} cannot be compared with its runs ({one_line(error)})"
                continue
            if unequal:
                yield f"{path.name} holds other rows than {len(unequal)} of its runs, {min(unequal)[0]} among them"


def _staging(lake: Lake) -> Iterator[Finding]:
    for run_id in lake.set_aside():
        yield Finding("error", run_id, "stepped aside for a replacement that never came, and cannot be put back: the lake cannot be written", "ask its owner")
    for folder in sorted(entry for entry in lake.staging_folder.iterdir() if entry.is_dir()):
        if folder.is_symlink():
            yield Finding("error", folder.name, "a link in staging, which is neither read nor cleared: it leads out of the lake", f"remove {folder}")
            continue
        if folder.name.startswith((REPLACED, SCRATCH)):
            continue
        if not os.access(folder, os.R_OK | os.X_OK):
            yield Finding("note", folder.name, "belongs to another user and cannot be looked into", "ask its owner")
        elif is_locked(folder):
            yield Finding("note", folder.name, "is being written now")
        else:
            yield Finding("note", folder.name, "was interrupted; the same command resumes it", "personascope doctor --clear removes what is staged")


def _catalogue(lake: Lake) -> Iterator[Finding]:
    try:
        warehouse = Warehouse(lake)
        warehouse.select(" union all ".join(f"select count(*) from (select * from {name} limit 0)" for name in tables()))
        warehouse.select("select count(*) from duckdb_views()")  # defines every view, which fails where one asks for what is not there
        yield Finding("ok", "views", f"{len(tables())} tables and {len(views())} views answer")
    except PersonascopeError as error:
        yield Finding("error", "views", str(error))
    if lake.catalogue_path.is_file():
        try:
            outdated = catalogue.why_outdated(lake)
            if outdated is None:
                yield Finding("ok", "catalogue", f"{lake.catalogue_path.name} opens")
            else:
                yield Finding("error" if outdated[0] else "note", "catalogue", f"{lake.catalogue_path.name} {outdated[1]}", "personascope runs renew")
        except duckdb.Error as error:
            yield Finding("error", "catalogue", str(error).splitlines()[0], "delete the file; `personascope runs renew` writes it anew")


def _queries(lake: Lake) -> Iterator[Finding]:
    """Queries that were saved into the lake; a lake without any says nothing."""
    for name, reason in named.strays(lake):
        yield Finding("note", f"{named.FOLDER}/{name}", f"left out: {reason}", f"rename it, or move it out of {lake.root / named.FOLDER}")
    if found := named.saved(lake):
        yield Finding("ok", named.FOLDER, f"{len(found)} saved {'query' if len(found) == 1 else 'queries'}; `personascope sql --list` shows them")


def _notes(lake: Lake) -> Iterator[Finding]:
    """Tags and notes about runs; a lake without any says nothing."""
    for name, reason in notes.strays(lake):
        yield Finding("note", f"{notes.FOLDER}/{name}", f"left out: {reason}", f"put it right, or move it out of {lake.root / notes.FOLDER}")
    if found := notes.read(lake):
        yield Finding("ok", notes.FOLDER, f"{len(found)} {'run has' if len(found) == 1 else 'runs have'} tags or a note; `personascope runs list` shows them")
