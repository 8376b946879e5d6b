"""The catalogue: views over a lake, in memory for the app and the CLI, in `warehouse.duckdb` for any DuckDB shell."""

import re
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from personascope.warehouse.asking.blank import STORAGE_VERSION, copy_views, parts_behind, version
from personascope.warehouse.asking.remembered import Remembered
from personascope.warehouse.asking.stored import NOTES, Reading, has_variable, no_rows, table_definitions
from personascope.warehouse.asking.views import quoted, views
from personascope.warehouse.errors import PersonascopeError, one_line, printable
from personascope.warehouse.store.committed import Contents
from personascope.warehouse.store.compact import FOLDER, Compact
from personascope.warehouse.store.compaction import drop
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import MADE_OF_THE_MANIFEST
from personascope.warehouse.store.met import Form, Met
from personascope.warehouse.store.rollups import outdated_in
from personascope.warehouse.store.schema import tables
from personascope.warehouse.store.scratch import scratch
from personascope.warehouse.store.staging import is_disk_full

_DEFINITION = "catalogue_definition"
_OF_A_MANIFEST = 2 * 1024  # bytes of rows that a table made of the manifest holds of a run
_FOOTER = 14 * 1024  # bytes of its file beside them
_OF_A_VALUE = 64  # bytes, at most, of which a file of many rows takes far fewer
_IN_MEMORY_OF_A_VALUE, _TEXT_UNPACKED = 16, 3  # bytes of a value once it is read, and times the bytes of a file that its texts take then
_UNPACKED = 8  # times its Parquet that a table takes in memory, where that is told by its files
_READ_OF = re.compile(r"'((?:[^']|'')*?)/(?:runs|compact)/[^/']*/runs\.parquet'")
_COMMENT_LINES = re.compile(r"^\s*--.*$", re.MULTILINE)
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_FOOTERS_KEPT = "set parquet_metadata_cache = true"  # a file that was replaced since is read anew
_EXTENSIONS_OFF = "set autoinstall_known_extensions = false; set autoload_known_extensions = false"
_told: dict[Path, tuple[tuple[int, int, int], str | None]] = {}  # catalogues seen by this process and what they say they are: opening one takes 0.1 s
_NO_PULLUP = "set disabled_optimizers = 'projection_pullup'"  # of many views in one query it takes minutes, and gains nothing here


def connect(lake: Lake) -> duckdb.DuckDBPyConnection:
    """An in-memory connection with every table, macro and view over the lake; it never waits for a lock. Use one `cursor()` per thread."""
    before = lake.names()
    connection = duckdb.connect()
    copy_views(connection)
    try:
        _execute(connection, [_settings(), *table_definitions(lake, lake.contents()).values()])
    except UnreadableError:
        if lake.names() == before:
            raise
        return connect(lake)  # a run or compact files went while they were bound
    return connection


def build(lake: Lake, without: Collection[str] = ()) -> Path:
    """Writes `warehouse.duckdb` beside the old one and renames it into place, unless the old one says the same; its readers keep what they have.

    Compact files that no longer stand for their runs are removed behind it, and named on stderr; those in `without` are about to be, and not read any more.
    """
    before, contents = lake.names(), lake.contents()
    contents = replace(contents, compacts=tuple(compact for compact in contents.compacts if compact.name not in without))
    try:
        _write(lake, [_settings(), *table_definitions(lake, contents).values()])
    except UnreadableError:
        if lake.names() == before:
            raise
        return build(lake, without)  # a run or compact files went while they were bound
    for name, reason in contents.stale.items():
        print(printable(f"compact files {name} are removed: {reason}; `personascope runs compact` writes them anew"), file=sys.stderr)
    drop(lake, contents.stale)
    if not without and contents.compacts and lake.contents().compacts != contents.compacts:  # by another process, which may have written its own before
        return build(lake)
    return lake.catalogue_path


def why_outdated(lake: Lake) -> tuple[bool, str] | None:
    """Why `warehouse.duckdb` is not what this version would write now, in words, and whether it then answers of another lake; None where it is.

    Its views name the files they read by their paths, so one that was moved or copied with its lake reads those of the old place.
    """
    if _definition_of(lake.catalogue_path) == _definition([_settings(), *table_definitions(lake, lake.contents()).values()]):
        return None
    with duckdb.connect(str(lake.catalogue_path), read_only=True, config={"enable_external_access": False}) as connection:
        (read,) = connection.execute("select sql from duckdb_views() where view_name = 'runs'").fetchone() or ("",)
    for place in _READ_OF.findall(read):
        if not _is_same(re.sub(r"\[([\[\]?*])\]", r"\1", place.replace("''", "'")), lake.root):
            return True, f"reads the runs of another place ({place}): it was made before the lake was moved or copied here"
    return False, "is older than the lake or this version"


def _is_same(place: str, root: Path) -> bool:
    with suppress(OSError):
        return Path(place).samefile(root)
    return False


def uncompact(lake: Lake, run_ids: Collection[str]) -> list[Compact]:
    """Removes the compact files that stand for any of these runs, ahead of what deletes the runs, so that no shell shows rows of a deleted run; gives those."""
    gone = [compact for compact in lake.contents().compacts if not compact.runs.keys().isdisjoint(run_ids)]
    if gone:
        names = [compact.name for compact in gone]
        build(lake, without=names)
        drop(lake, names)
        build(lake)
    return gone


def _write(lake: Lake, tables_script: list[str]) -> None:
    definition = _definition(tables_script)
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


def _definition(tables_script: list[str]) -> str:
    return stable_hash([version(), tables_script])


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
        self._small, self.empty = _small_tables(contents, room, lasting)
        self.held: frozenset[str] = frozenset()  # the tables that are read once, in memory or known to have no rows
        self.is_of_named_runs = named_runs or bool(contents.strays or contents.compacts)  # else runs that come later are read too
        self._waiting = table_definitions(lake, contents, Reading(from_behind, named_runs, rows_first=True, variable=True))
        self.variable = frozenset(name for name, definition in self._waiting.items() if has_variable(name, definition))  # tables whose files a cursor may set
        self.remembered = None if from_behind else Remembered(lake, contents)
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
            unread += [_LITERAL.sub("", self._waiting[name]) for name in named]  # the paths of its files hold words, too
        self._create([name for name in self._waiting if name in wanted])

    def lay_all(self) -> None:
        """Creates everything, without reading a row."""
        self._lay_views(views().keys())
        self._small = frozenset()
        self._create(list(self._waiting))

    @property
    def small(self) -> frozenset[str]:
        """The tables that are read once, now or when they are first named."""
        return self.held | self._small

    @property
    def holds_rows(self) -> bool:
        """Whether it knows of the runs that were there when it was connected, and of no others, what rows they hold or that they hold none of a table."""
        return bool(self.held or self.empty)

    def known(self, names: Iterable[str]) -> dict[str, str]:
        """The SELECT that gives the answer of each of these views that was computed before, in this state of the lake."""
        if self.remembered is None:
            return {}
        return {name: answer for name in names if (answer := self.remembered.answer(name)) is not None}

    def remember(self, names: Iterable[str]) -> None:
        """Keeps what was read and these answers for the next connection to this state of the lake, which has not changed meanwhile."""
        if self.remembered is not None:
            self.remembered.keep_rows(self._connection)
            self.remembered.keep_answers(self._connection, names)

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
                doubted, self.remembered = self.remembered, None
                if doubted is None:
                    self._create(names)
                    return
                self._small |= frozenset(small)
                self._create(names)
                if self.held.issuperset(small):  # read from the runs' own files
                    doubted.forget()
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
        if self.remembered is not None and (rows := self.remembered.rows(name)) is not None:
            return f"create table {name} as {rows};"
        return self._waiting[name].replace("create view", "create table", 1)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", _COMMENT_LINES.sub("", text).lower()))


def _small_tables(contents: Contents, room: int, lasting: bool) -> tuple[frozenset[str], frozenset[str]]:
    """The tables whose files take at most `room` bytes together, the smallest first, and those of them that no run holds; a roll-up that a run lacks takes
    what it is made of.

    Where many questions follow, those with the least in a file come first, since every question pays for files, and what counts is what they take in memory.
    """
    n_runs = len(contents.runs)
    sizes = dict.fromkeys(tables(), 0) | dict.fromkeys(MADE_OF_THE_MANIFEST, (_OF_A_MANIFEST + (0 if lasting else _FOOTER)) * n_runs)
    n_files = dict.fromkeys(tables(), 1) | dict.fromkeys(MADE_OF_THE_MANIFEST, max(1, n_runs))
    for form, runs in contents.by_form.items():
        lacking = {target.name: target.rollup_of for target in outdated_in(form)}
        taken = _bytes_of_tables(form, [contents.runs.met[run_id] for run_id in runs], lasting)
        for name in sizes.keys() & {*form.columns, *lacking}:
            sizes[name] += sum(taken.get(each, 0) for each in lacking.get(name, [name]))
            n_files[name] += len(runs)
    small, left = set(), room * _UNPACKED if lasting else room
    for name in sorted(sizes, key=lambda name: (sizes[name] / n_files[name] if lasting else sizes[name], name)):
        if sizes[name] <= left:
            small.add(name)
            left -= sizes[name]
        elif not lasting:
            break
    return frozenset(small), frozenset(name for name in small if not sizes[name]) - {NOTES}


def _bytes_of_tables(form: Form, runs: Sequence[Met], lasting: bool) -> dict[str, int]:
    """By table of a form what the files of these runs take."""
    n_rows, n_bytes = zip(*(run.rows for run in runs), strict=True), zip(*(run.bytes for run in runs), strict=True)
    if not lasting:
        return dict(zip(form.columns, map(sum, n_bytes), strict=True))
    by_table = zip(form.columns.items(), n_rows, n_bytes, strict=True)
    return {name: sum(map(_bytes_in_memory, rows, sizes, repeat(len(columns)))) for (name, columns), rows, sizes in by_table}


def _bytes_in_memory(n_rows: int, n_bytes: int, n_columns: int) -> int:
    """About what the rows of a file take once they are read; a file of few rows is footer for the most part."""
    values = n_rows * n_columns
    return max(1, _IN_MEMORY_OF_A_VALUE * values, _TEXT_UNPACKED * min(n_bytes, _OF_A_VALUE * values))


def keep(connection: duckdb.DuckDBPyConnection, names: Collection[str], known: Mapping[str, str] | None = None) -> None:
    """Makes tables of these views, which stay as they are computed now; the tables they read are there, but for those whose answers are `known`."""
    known = known or {}
    script = [f"drop view {name}; create table {name} as {known.get(name, view.sql)};" for name, view in views().items() if name in names]
    if script:
        _execute(connection, ["begin;", *script, "commit;"])


def _execute(connection: duckdb.DuckDBPyConnection, script: list[str]) -> None:
    try:
        connection.execute("\n".join(script))
    except duckdb.Error as error:
        with suppress(duckdb.TransactionException):  # where the script had begun one
            connection.rollback()
        if is_of_a_file(error):
            raise unreadable(error) from error
        raise


class UnreadableError(PersonascopeError):
    """A file of a run that cannot be read: damaged, or gone with its run since the query began."""


def is_of_a_file(error: duckdb.Error) -> bool:
    """Whether DuckDB may have met a file that cannot be read; what its decoder of Parquet says of torn bytes has no kind and names no file."""
    return isinstance(error, duckdb.IOException | duckdb.InvalidInputException) or type(error) is duckdb.Error


def unreadable(error: duckdb.Error) -> PersonascopeError:
    """A Parquet file that cannot be read as one sentence that names the run, where the error does."""
    if match := re.search(rf"/{FOLDER}/([^/'\"]+)/(\w+\.parquet)", str(error)):
        return UnreadableError(
            f"compact files {match[1]}: {match[2]} is not readable; `personascope runs compact --undo` has the runs read from their own files"
        )
    match = re.search(r"/runs/([^/'\"]+)/(\w+\.parquet)", str(error))
    if match is None and type(error) is duckdb.Error:
        reason = printable(str(error).splitlines()[0].rstrip(": "))
        return UnreadableError(f"the query meets a file that is not readable ({reason}); `personascope doctor` says which")
    if match is None:
        return PersonascopeError(f"the query failed: {str(error).splitlines()[0]}")
    run_id, file = match.groups()
    return UnreadableError(f"run {run_id}: {file} is not readable; `personascope doctor` says what is wrong with it and what to do")
