"""The catalogue: views over a lake, in memory for the app and the CLI, in `warehouse.duckdb` for any DuckDB shell."""

import os
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from personascope.warehouse.asking.blank import STORAGE_VERSION, copy_views, parts_behind, table_types, version
from personascope.warehouse.asking.views import quoted, views
from personascope.warehouse.errors import PersonascopeError, one_line, printable
from personascope.warehouse.store import notes
from personascope.warehouse.store.committed import SCHEMA_RUN, Contents
from personascope.warehouse.store.compact import FOLDER, Compact
from personascope.warehouse.store.compaction import drop
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import MADE_OF_THE_MANIFEST, Manifest, TableFile
from personascope.warehouse.store.rollups import outdated_of
from personascope.warehouse.store.schema import Table, tables
from personascope.warehouse.store.scratch import scratch
from personascope.warehouse.store.staging import is_disk_full

_DEFINITION = "catalogue_definition"
NOTES = "run_notes"  # the table that people write, not runs
_OF_A_MANIFEST = 2 * 1024  # bytes of rows that a table made of the manifest holds of a run
_FOOTER = 14 * 1024  # bytes of its file beside them
_OF_A_VALUE = 64  # bytes, at most, of which a file of many rows takes far fewer
_IN_MEMORY_OF_A_VALUE, _TEXT_UNPACKED = 16, 3  # bytes of a value once it is read, and times the bytes of a file that its texts take then
_UNPACKED = 8  # times its Parquet that a table takes in memory, where that is told by its files
_COMMENT_LINES = re.compile(r"^\s*--.*$", re.MULTILINE)
_FOOTERS_KEPT = "set parquet_metadata_cache = true"  # a file that was replaced since is read anew
_EXTENSIONS_OFF = "set autoinstall_known_extensions = false; set autoload_known_extensions = false"
_told: dict[Path, tuple[tuple[int, int, int], str | None]] = {}  # catalogues seen by this process and what they say they are: opening one takes 0.1 s
_NO_PULLUP = "set disabled_optimizers = 'projection_pullup'"  # of many views in one query it takes minutes, and gains nothing here


def connect(lake: Lake) -> duckdb.DuckDBPyConnection:
    """An in-memory connection with every table, macro and view over the lake; it never waits for a lock. Use one `cursor()` per thread."""
    connection = duckdb.connect()
    copy_views(connection)
    _execute(connection, [_settings(), *table_definitions(lake, lake.contents()).values()])
    return connection


def build(lake: Lake) -> Path:
    """Writes `warehouse.duckdb` beside the old one and renames it into place, unless the old one says the same; its readers keep what they have.

    Compact files that no longer stand for their runs are removed behind it, and named on stderr.
    """
    contents = lake.contents()
    _write(lake, [_settings(), *table_definitions(lake, contents).values()])
    for name, reason in contents.stale.items():
        print(printable(f"compact files {name} are removed: {reason}; `personascope runs compact` writes them anew"), file=sys.stderr)
    drop(lake, contents.stale)
    if contents.compacts and lake.contents().compacts != contents.compacts:  # changed by another process, which may have written its catalogue before
        return build(lake)
    return lake.catalogue_path


def uncompact(lake: Lake, run_ids: Collection[str]) -> list[Compact]:
    """Removes the compact files that stand for any of these runs, ahead of what deletes the runs, so that no shell shows rows of a deleted run; gives those."""
    gone = [compact for compact in lake.contents().compacts if not compact.runs.keys().isdisjoint(run_ids)]
    if gone:
        drop(lake, [compact.name for compact in gone])
        build(lake)
    return gone


def _write(lake: Lake, tables_script: list[str]) -> None:
    definition = stable_hash([version(), tables_script])
    if _definition_of(lake.catalogue_path) == definition:
        return
    try:
        with scratch(lake.staging_folder) as making, TemporaryDirectory() as elsewhere, duckdb.connect() as connection:
            made = making / lake.catalogue_path.name
            if "?" in str(made):  # DuckDB takes what follows for the query of an address when it names its journal
                made = Path(elsewhere) / made.name
            connection.execute(f"attach {quoted(str(made))} as catalogue (storage_version '{STORAGE_VERSION}'); use catalogue")
            copy_views(connection, "catalogue")
            _execute(connection, ["begin;", *tables_script, f"create macro {_DEFINITION}() as {quoted(definition)};", "commit;"])
            connection.execute("use memory; detach catalogue")
            shutil.move(made, making / made.name)
            _told[lake.catalogue_path] = (_mark(making / made.name), definition)
            (making / made.name).replace(lake.catalogue_path)
    except (OSError, duckdb.IOException, duckdb.TransactionException) as error:
        reason = "the disk is full" if is_disk_full(error) else getattr(error, "strerror", None) or one_line(error)
        raise PersonascopeError(f"{lake.catalogue_path}: cannot be written ({reason}); what was committed is, and the next command writes it") from error


def _definition_of(file: Path) -> str | None:
    """The hash of everything a catalogue was made from; None for a file that cannot tell."""
    if file.is_symlink() or not file.is_file():
        return None
    mark = _mark(file)
    if (known := _told.get(file)) is None or known[0] != mark:
        known = _told[file] = (mark, _asked(file))
    return known[1]


def _mark(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _asked(file: Path) -> str | None:
    try:
        with duckdb.connect(str(file), read_only=True, config={"enable_external_access": False}) as connection:
            told = connection.execute("select macro_definition from duckdb_functions() where function_name = ?", [_DEFINITION]).fetchall()
    except duckdb.Error:
        return None
    return str(told[0][0]).strip("'") if told else None  # read and not called: a stranger's could do anything


def _settings() -> str:
    return f"{_EXTENSIONS_OFF}; {_NO_PULLUP}; {_FOOTERS_KEPT};"


class Foundation:
    """What a connection knows, created when something that names it is asked for, since all of it costs more than most queries: macros and views together, each
    table by itself.

    Small tables, `room` bytes in all, are read once into memory: a view over files is bound, opened and read anew at every place of a query that names it, and
    the checks of the audit name some tables a hundred times. They are measured by their files, or by their rows where many questions follow (`lasting`), so
    that the manifests of thousands of runs are read once. `from_behind`: rows come in the opposite order, by another number of threads.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, lake: Lake, from_behind: bool = False, named_runs: bool = False, room: int = 0, lasting: bool = False
    ) -> None:
        self._connection = connection
        self.contents = contents = lake.contents()
        self._small, self.empty = _small_tables(list(contents.runs.values()), room, lasting)
        self.held: frozenset[str] = frozenset()  # the tables that are read once, in memory or known to have no rows
        self.is_of_named_runs = named_runs or bool(contents.strays or contents.compacts)  # else runs that come later are read too
        self._waiting = table_definitions(lake, contents, from_behind, named_runs, rows_first=True)
        self._parts: set[str] = set()  # of the catalogue of macros and views, as far as it was needed
        _execute(connection, [_settings()])
        if from_behind:
            (threads,) = connection.execute("select current_setting('threads')").fetchone() or (1,)
            _execute(connection, [f"set threads = {1 if threads > 1 else 2};"])

    def lay(self, query: str, behind: Collection[str] = ()) -> None:
        """Creates the tables that a query and the views `behind` it name, with those behind them, and the macros and views of the query where it names one. A
        word of a view's text that is a view's name may be anything: what a view reads is behind the query."""
        self._lay_views(_words(query) | set(behind))
        wanted: set[str] = set()
        unread = [query, *(views()[name].sql for name in behind)]
        while unread:
            words = _words(unread.pop())
            self._lay_views(words - views().keys())
            named = words & self._waiting.keys() - wanted
            wanted |= named
            unread += [self._waiting[name] for name in named]
        self._create([name for name in self._waiting if name in wanted])

    def lay_all(self) -> None:
        """Creates everything, without reading a row."""
        self._lay_views(views().keys())
        self._small = frozenset()
        self._create(list(self._waiting))

    @property
    def holds_rows(self) -> bool:
        """Whether it knows of the runs that were there when it was connected, and of no others, what rows they hold or that they hold none of a table."""
        return bool(self.held or self.empty)

    def _lay_views(self, words: Collection[str]) -> None:
        for part in sorted(parts_behind(words) - self._parts):
            try:
                copy_views(self._connection, parts=[part])
            except OSError:  # a full disk holds the whole, but no part of it
                if self._parts:
                    raise
                copy_views(self._connection)
                self._parts = parts_behind(views())
                return
            self._parts.add(part)

    def _create(self, names: Sequence[str]) -> None:
        small = [name for name in names if name in self._small]
        if small:
            self._small -= frozenset(small)
            try:
                _execute(self._connection, ["begin;", *(self._once(name) if name in small else self._waiting[name] for name in names), "commit;"])
            except duckdb.InterruptException:
                raise
            except (duckdb.Error, PersonascopeError):  # a damaged file, or no memory left: what matters of that is told by the query that reads it
                self._create(names)
                return
            self.held |= frozenset(small)
        elif names:
            _execute(self._connection, ["begin;", *(self._waiting[name] for name in names), "commit;"])
        for name in names:
            del self._waiting[name]

    def _once(self, name: str) -> str:
        """The statement that reads a table into memory; one that no run holds is known to be empty by every plan, which leaves out what hangs on it."""
        if name in self.empty:
            return f"create view {name} as {no_rows(name)};"
        return self._waiting[name].replace("create view", "create table", 1)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", _COMMENT_LINES.sub("", text).lower()))


def _small_tables(manifests: list[Manifest], room: int, lasting: bool) -> tuple[frozenset[str], frozenset[str]]:
    """The tables whose files take at most `room` bytes together, the smallest first, and those of them that no run holds; a roll-up that a run lacks takes
    what it is made of.

    Where many questions follow, those with the least in a file come first, since every question pays for files, and what counts is what they take in memory.
    """
    sizes = dict.fromkeys(tables(), 0) | dict.fromkeys(MADE_OF_THE_MANIFEST, (_OF_A_MANIFEST + (0 if lasting else _FOOTER)) * len(manifests))
    n_files = dict.fromkeys(tables(), 1) | dict.fromkeys(MADE_OF_THE_MANIFEST, max(1, len(manifests)))
    lacked = outdated_of(manifests)
    for manifest in manifests:
        lacking = {target.name: target.rollup_of for target in (lacked.get(manifest.run_id, []) if lacked else [])}
        for name in sizes.keys() & {*manifest.tables, *lacking}:
            files = [manifest.tables[each] for each in lacking.get(name, [name]) if each in manifest.tables]
            sizes[name] += sum(_bytes_in_memory(file) if lasting else file.bytes for file in files)
            n_files[name] += 1
    small, left = set(), room * _UNPACKED if lasting else room
    for name in sorted(sizes, key=lambda name: (sizes[name] / n_files[name] if lasting else sizes[name], name)):
        if sizes[name] <= left:
            small.add(name)
            left -= sizes[name]
        elif not lasting:
            break
    return frozenset(small), frozenset(name for name in small if not sizes[name]) - {NOTES}


def _bytes_in_memory(file: TableFile) -> int:
    """About what the rows of a file take once they are read; a file of few rows is footer for the most part."""
    values = file.rows * len(file.columns)
    return max(1, _IN_MEMORY_OF_A_VALUE * values, _TEXT_UNPACKED * min(file.bytes, _OF_A_VALUE * values))


def table_definitions(
    lake: Lake, contents: Contents, from_behind: bool = False, named_runs: bool = False, rows_first: bool = False, names: Collection[str] | None = None
) -> dict[str, str]:
    """By name of each table, or of these, the statement that creates it, after those it reads where it is a roll-up; `from_behind`, with its rows in the
    opposite order.

    `rows_first`, for connections that are made anew when the lake changes: DuckDB takes the rows of the first file, times the files, for those of a table, and
    orders joins by that. Where the file without rows comes first, it puts together first what grows with the square of the runs.
    """
    lacking = _runs_that_lack(list(contents.runs.values()))
    script = {}
    for name, stored in stored_rows(lake, contents, from_behind, named_runs, rows_first, names).items():
        script[name] = f"create view {name} as {_completed(tables()[name], stored, lacking[name]) if name in lacking else stored};"
    return script


def stored_rows(
    lake: Lake, contents: Contents, from_behind: bool = False, named_runs: bool = False, rows_first: bool = False, names: Collection[str] | None = None
) -> dict[str, str]:
    """By name of each table, or of these, the SELECT that gives the rows of its files, in the columns of the present version."""
    manifests = list(contents.runs.values())
    of_other_columns = _tables_of_other_columns(manifests)
    stored_columns = {} if lake.schema_is_current() else _columns_of_another_version(lake)
    types_by_table, empty = table_types(), _tables_with_empty_files(lake)
    found = {}
    for name, table in tables().items():
        if names is not None and name not in names:
            continue
        if name == NOTES:
            found[name] = _noted(lake, from_behind)
            continue
        there = stored_columns.get(name, set(table.columns) if not stored_columns else set())
        types = types_by_table[name]
        options, columns = "", ", ".join(_cast(column, types[column], True) if rows_first else f'"{column}"' for column in table.columns)
        if name in of_other_columns or not there.issuperset(table.columns):  # whose common types may be others, too
            there |= {column for manifest in manifests if name in manifest.tables for column in manifest.tables[name].columns}
            options, columns = ", union_by_name = true", ", ".join(_cast(column, of, column in there) for column, of in types.items())
        source = f"read_parquet({_files(lake, contents, name, named_runs, rows_first, name in empty)}{options})" if there else "(select 1 where false)"
        found[name] = f"select {columns} from {source}"
        if from_behind and there:
            found[name] = f"select * from ({found[name]} order by filename desc, file_row_number desc)"
    return found


def _noted(lake: Lake, from_behind: bool) -> str:
    """The rows of people's notes, which stand in no run: a few short texts, so that the view holds them itself."""
    rows = [
        f"({quoted(run_id)}, [{', '.join(map(quoted, each.tags))}]::varchar[], {quoted(each.note) if each.note else 'null'})"
        for run_id, each in sorted(notes.read(lake).items(), reverse=from_behind)
    ]
    columns, types = ", ".join(tables()[NOTES].columns), table_types()[NOTES]
    if not rows:
        return no_rows(NOTES)
    return f"select {', '.join(f'{name}::{of} as {name}' for name, of in types.items())} from (values {', '.join(rows)}) as noted({columns})"


def no_rows(name: str) -> str:
    """A table of the present version without rows, which is planned without a file."""
    return f"select {', '.join(_cast(column, of, False) for column, of in table_types()[name].items())} where false"


def _cast(column: str, of: str, is_there: bool) -> str:
    """A column as the present version has it: of its type, NULL where no file holds it."""
    return f'"{column}"::{of} as "{column}"' if is_there else f'null::{of} as "{column}"'


def _columns_of_another_version(lake: Lake) -> dict[str, set[str]]:
    """Columns by table as the version knew them that last wrote the lake: one that cannot be written keeps its schema files."""
    found = {}
    folder = lake.runs_folder / SCHEMA_RUN
    for file in folder.glob("*.parquet"):
        with suppress(OSError, pa.ArrowException):
            footer = None if file.is_symlink() or folder.is_symlink() or not file.is_file() else pq.read_metadata(file)
            if footer is None or footer.num_rows:
                raise PersonascopeError(
                    f"lake {lake.root}: {file} is not a file without rows of its own, and the lake cannot be written; expected {SCHEMA_RUN} as written"
                )
            found[file.stem] = set(footer.schema.to_arrow_schema().names)
    return found or {"": set()}


def _tables_with_empty_files(lake: Lake) -> set[str]:
    """The tables of which a file without rows lies in the lake."""
    with suppress(OSError), os.scandir(lake.runs_folder / SCHEMA_RUN) as entries:
        return {entry.name.removesuffix(".parquet") for entry in entries if entry.name.endswith(".parquet") and entry.is_file()}
    return set()


def _files(lake: Lake, contents: Contents, name: str, named_runs: bool, rows_first: bool, has_empty: bool) -> str:
    """The files of a table: all there are in the runs folder, those of runs that come later too; each by name where something else lies there, or compact files
    stand for runs. `has_empty`: one of them is that without rows."""
    own = contents.own_files.get(name, [])
    empty = [lake.runs_folder / SCHEMA_RUN] if has_empty else []
    if contents.strays or contents.compacts or named_runs:
        folders = [lake.root / FOLDER / compact.name for compact in contents.compacts if name in compact.tables]
        patterns = [escaped(folder) for folder in [*folders, *(lake.runs_folder / run_id for run_id in own)]]
    elif rows_first and own and empty:
        patterns = [f"{escaped(lake.runs_folder)}/[!_]*"]
    else:
        return quoted(f"{escaped(lake.runs_folder)}/*/{name}.parquet")
    without = [escaped(folder) for folder in empty]
    files = [f"{folder}/{name}.parquet" for folder in ([*patterns, *without] if rows_first else [*without, *patterns])]
    return f"[{', '.join(map(quoted, files))}]"


def escaped(path: Path) -> str:
    """A path in which DuckDB finds no pattern."""
    return re.sub(r"([\[\]?*])", r"[\1]", str(path))


def _completed(table: Table, stored: str, runs: list[str]) -> str:
    """The stored rows of a roll-up, and those of the runs that lack it or hold it by another definition, made up from the tables it sums up."""
    of_runs = f"run_id in ({', '.join(quoted(run) for run in runs)})"
    parents = ", ".join(f"{parent} as (select * from main.{parent} where {of_runs})" for parent in table.rollup_of)
    return f"{stored} where not {of_runs} union all by name (with {parents} select * from (\n{table.sql}))"


def keep(connection: duckdb.DuckDBPyConnection, names: Iterable[str]) -> None:
    """Makes tables of these views, which stay as they are computed now; the tables they read are there."""
    wanted = set(names)
    script = [f"drop view {name}; create table {name} as {view.sql};" for name, view in views().items() if name in wanted]
    if script:
        _execute(connection, ["begin;", *script, "commit;"])


def _execute(connection: duckdb.DuckDBPyConnection, script: list[str]) -> None:
    try:
        connection.execute("\n".join(script))
    except duckdb.Error as error:
        with suppress(duckdb.TransactionException):  # where the script had begun one
            connection.rollback()
        if isinstance(error, duckdb.IOException | duckdb.InvalidInputException):
            raise unreadable(error) from error
        raise


class UnreadableError(PersonascopeError):
    """A file of a run that cannot be read: damaged, or gone with its run since the query began."""


def unreadable(error: duckdb.Error) -> PersonascopeError:
    """A Parquet file that cannot be read as one sentence that names the run."""
    if match := re.search(rf"/{FOLDER}/([^/'\"]+)/(\w+\.parquet)", str(error)):
        return UnreadableError(
            f"compact files {match[1]}: {match[2]} is not readable; `personascope runs compact --undo` has the runs read from their own files"
        )
    match = re.search(r"/runs/([^/'\"]+)/(\w+\.parquet)", str(error))
    if match is None:
        return PersonascopeError(f"the query failed: {str(error).splitlines()[0]}")
    run_id, file = match.groups()
    return UnreadableError(f"run {run_id}: {file} is not readable; `personascope doctor` says what is wrong with it and what to do")


def _tables_of_other_columns(manifests: list[Manifest]) -> set[str]:
    """Tables of which some run holds a file written under another set of columns; only those pay for union_by_name."""
    known = {name: table.columns for name, table in tables().items()}
    return {name for manifest in manifests for name, file in manifest.tables.items() if file.columns != known.get(name, file.columns)}


def _runs_that_lack(manifests: list[Manifest]) -> dict[str, list[str]]:
    """By name of a roll-up, the runs that should hold it as it is defined now and do not."""
    found: dict[str, list[str]] = {}
    for run_id, targets in outdated_of(manifests).items():
        for target in targets:
            found.setdefault(target.name, []).append(run_id)
    return found
