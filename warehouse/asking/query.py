"""Asks the warehouse: one read-only statement in, rows out, whatever the text of the statement tries."""

import re
import threading
import warnings
from collections.abc import Collection, Iterable, Mapping, Set

import duckdb
import polars as pl

from personascope.warehouse.asking.answers import Parameters, rows
from personascope.warehouse.asking.blank import blank_files
from personascope.warehouse.asking.catalogue import Foundation, UnreadableError, is_of_a_file, keep, unreadable
from personascope.warehouse.asking.guard import GIB, Limits, Stopped, watched
from personascope.warehouse.asking.narrowing import PIVOT, Narrowing
from personascope.warehouse.asking.stored import NOTES, escaped
from personascope.warehouse.asking.views import OF_GENERATIONS, SHARED, closure, quoted, views
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import notes
from personascope.warehouse.store.compact import FOLDER
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.looked_at import Mark
from personascope.warehouse.store.scratch import spill_folder

TOGETHER = 3  # checks of the audit that one query plans; of more, each is computed by itself
IN_MEMORY = 64  # a share of the memory a query may take: Parquet that tables are read of once, which takes some ten times as much there
TRIED = 20  # times a query is asked at most, in a lake that changes meanwhile
_TELLING = re.compile(r'\b(current_setting|duckdb_settings|getenv|getvariable)"?\s*\(', re.IGNORECASE)  # calls that tell paths of the machine
CATALOGUE = ("duckdb_", "information_schema", "pg_", "sqlite_", "show")  # beginnings of words by which a query asks what there is to ask
warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)  # the copy of the rows costs less than planning twice


class Warehouse:
    """A locked-down connection to a lake: SELECT only, no other files, no settings, no extensions, limits of time and memory for every statement.

    Views named in `kept` are computed once, when a query first needs them: for a connection that is given up when the lake changes. `looks_behind`: a query
    about few runs of many does not wait for those OF_GENERATIONS of all runs, and its figures may differ in the last digit from those it has later.
    """

    def __init__(self, lake: Lake, limits: Limits | None = None, kept: Collection[str] = (), from_behind: bool = False, looks_behind: bool = False) -> None:
        self.lake = lake
        self._kept = frozenset(kept)
        self._limits = limits or Limits()
        self._from_behind, self._looks_behind = from_behind, looks_behind
        self._reversed: Warehouse | None = None
        self._defining = threading.Lock()
        self._connect()

    def _connect(self, named_runs: bool = False) -> None:
        self._names, self._notes = self.lake.names(), notes.mark(self.lake)
        self._connection = duckdb.connect()
        self._foundation = Foundation(self._connection, self.lake, self._from_behind, named_runs, self._limits.bytes // IN_MEMORY, bool(self._kept))
        self._defined: set[str] = set()
        self._narrowing = Narrowing(self.lake, self._foundation.contents, self._limits.bytes, self._foundation.empty, self._foundation.variable)
        remembered = self._foundation.remembered
        places = (self.lake.runs_folder, self.lake.root / FOLDER, *((remembered.folder,) if remembered else ()))
        folders = {spelt for place in places for spelt in (str(place), escaped(place))}  # DuckDB compares patterns as they stand
        allowed = ", ".join(quoted(folder) for folder in sorted(folders))
        blank = ", ".join(quoted(f"{file}{suffix}") for file in blank_files() for suffix in ("", ".wal"))
        self._connection.execute(
            f"set temp_directory = {quoted(str(spill_folder(self.lake.staging_folder)))}; set memory_limit = '{self._limits.bytes}B'; "
            f"set allowed_directories = [{allowed}]; "
            f"set allowed_paths = [{blank}]; set enable_external_access = false; set lock_configuration = true"
        )

    def select(self, query: str, parameters: Parameters = None) -> pl.DataFrame:
        """The rows of one SELECT statement; raises PersonascopeError with DuckDB's reason for anything else.

        A query beside which runs were added, replaced or removed is asked again, of the runs that are there then and no others, so that it sees all of a run or
        nothing. A lake that loses runs faster than they are read is tried TRIED times.
        """
        if NOTES in query.lower() and notes.mark(self.lake) != self._notes:
            self._connect(self._foundation.is_of_named_runs)
        for left in reversed(range(TRIED)):
            before = self.lake.names()
            if before != self._names and (self._foundation.is_of_named_runs or (self._foundation.holds_rows and not self._kept)):
                self._connect()
            try:
                found = self._ask(query, parameters, before)
            except UnreadableError:
                if not left or (before == self._names and not self.lake.is_changed(before)):
                    raise
                self._connect(named_runs=True)  # a pattern that matches nothing any more is an error, too
            else:
                if not left or self._foundation.is_of_named_runs or self.lake.names() == before:
                    return found
                self._connect(named_runs=True)
        raise AssertionError

    def _ask(self, query: str, parameters: Parameters, names: Mapping[str, Mark]) -> pl.DataFrame:
        if _TELLING.search(query):
            raise PersonascopeError("the query asks for settings of the machine, which the warehouse does not tell; ask for tables and views")
        connection = self._connection
        cursor = connection.cursor()
        stopped, computed = Stopped(), False

        def interrupt() -> None:
            connection.interrupt()
            cursor.interrupt()
            self._narrowing.interrupt()

        try:
            # DuckDB's own max_execution_time is a setting of one connection that neither cursors inherit nor relations obey.
            with watched(interrupt, self._limits) as stopped:
                self._expect_select(cursor, query)
                of_few = self._few_files(query, parameters, names)
                computed = self._define(query, aside=of_few is not None)
                for statement in self._fewer_files(query, parameters, names) if of_few is None else of_few:
                    cursor.execute(statement)
                try:
                    return rows(cursor, query, parameters)
                except duckdb.CatalogException:  # a name that is not there: with every table there, the nearest one is named
                    self._define("show")
                    return rows(cursor, query, parameters)
        except duckdb.InterruptException as error:
            raise PersonascopeError(stopped.reason) if stopped.reason else KeyboardInterrupt from error
        except duckdb.OutOfMemoryException as error:
            least = f"{self._limits.bytes / GIB:.3g} GiB"
            raise PersonascopeError(f"the query does not fit the {least} of memory it may take; ask for less of it, or allow it more (--memory)") from error
        except UnicodeDecodeError as error:
            raise PersonascopeError("the query meets a text that is not UTF-8, in a damaged file; `personascope doctor` says which") from error
        except duckdb.Error as error:
            if is_of_a_file(error):
                raise unreadable(error) from error
            reason = str(error).partition("\n\nLINE ")[0].strip()  # behind it the statement is quoted, with an arrow under the place
            raise PersonascopeError(f"the query failed: {reason}") from error
        finally:
            cursor.close()
            if computed:
                self._connect(self._foundation.is_of_named_runs)

    def _few_files(self, query: str, parameters: Parameters, names: Mapping[str, Mark]) -> list[str] | None:
        """What has the cursor open few files for a question to views OF_GENERATIONS that are kept and were not computed yet, of all runs, which takes longer.
        None for a question that looks behind no such view, and for one that is not bound so."""
        words = set(_words(query))
        if not self._looks_behind or names != self._names or _asks_what_there_is(words):
            return None
        with self._defining:
            there = self._defined & self._kept
            there |= self._foundation.known(closure(words, there) & self._kept - there).keys()
        passed = self._kept.intersection(OF_GENERATIONS) - there
        looked_at = closure(words, there)
        if passed.isdisjoint(looked_at) or not passed.isdisjoint(closure(looked_at & self._kept - passed - there, there)):
            return None
        return self._narrowing.script_of_few(query, parameters, self._foundation.small, self._kept.difference(OF_GENERATIONS))

    def _fewer_files(self, query: str, parameters: Parameters, names: Mapping[str, Mark]) -> list[str]:
        """What has the cursor of this question open the files alone that it is bound to; nothing while runs come and go."""
        if self._from_behind or names != self._names or _asks_what_there_is(_words(query)):
            return []
        return self._narrowing.script(query, parameters, self._foundation.held, self._kept)

    def _expect_select(self, cursor: duckdb.DuckDBPyConnection, query: str) -> None:
        """Raises PersonascopeError for anything but one SELECT; a pivot is one, which DuckDB makes of several."""
        try:
            query.encode()
            kinds = [statement.type for statement in cursor.extract_statements(query)]
        except UnicodeEncodeError as error:
            raise PersonascopeError(f"the query is not text: character {error.start + 1} is half of a surrogate pair; expected UTF-8") from error
        except ValueError:  # a kind of statement that the client library has no name for
            kinds = []
        if kinds == [duckdb.StatementType.MULTI] and PIVOT.search(query):
            return
        if kinds != [duckdb.StatementType.SELECT]:
            raise PersonascopeError("the query must be exactly one SELECT statement (also WITH or FROM ...); the lake is read-only")

    def reversed(self) -> "Warehouse":
        """The same lake whose rows come from behind, the last run first, and by another number of threads: what it answers differently hangs on their order."""
        if self._reversed is None:
            self._reversed = Warehouse(self.lake, self._limits, self._kept, from_behind=True)
        return self._reversed

    def _define(self, query: str, aside: bool = False) -> bool:
        """Creates the tables behind what the query names, since all of them would cost more than most queries, and computes what is kept.

        DuckDB takes several times as long to plan the checks of the audit as one query as it takes to plan and run them in turn: where a query reads many, each
        becomes a table. Gives whether that was so: then the next query needs another connection. `aside`: nothing is kept for this query that is not known.
        """
        words = set(_words(query))
        everything = _asks_what_there_is(words)
        wanted = set(views()) if everything else closure(words)
        checks = {name for name in wanted if views()[name].severity}
        in_turn = checks | set(SHARED) if len(checks) > TOGETHER and not everything else set()
        kept = self._kept | in_turn
        with self._defining:
            there = self._defined & kept
            new = (wanted if everything else closure(words, there)) - self._defined
            known = self._foundation.known(new & kept)
            kept = kept.difference(OF_GENERATIONS) | there | known.keys() if aside else kept
            try:
                try:
                    self._lay(query, known, new if everything else closure(words, there | known.keys()) - self._defined, kept, everything)
                except (duckdb.IOException, duckdb.InvalidInputException, PersonascopeError):  # what was known may be damaged
                    if not known:
                        raise
                    doubted, self._foundation.remembered = self._foundation.remembered, None
                    self._lay(query, {}, new, kept, everything)
                    if doubted is not None:
                        doubted.forget()
            except duckdb.InterruptException:
                raise
            except duckdb.Error as error:
                raise PersonascopeError(f"the query failed: {str(error).strip()}") from error
        return bool(in_turn - self._kept)

    def _lay(self, query: str, known: Mapping[str, str], wanted: set[str], kept: Set[str], everything: bool) -> None:
        """Creates the tables behind a query and the views it wants, those that are kept as tables: what lies behind an answer that is `known` is not wanted."""
        if everything:
            self._foundation.lay_all()
        else:
            self._foundation.lay(query, wanted - known.keys())
        keep(self._connection, wanted & kept, known)
        self._defined |= wanted - (self._kept - kept)
        if self.lake.names() == self._names:
            self._foundation.remember(wanted & kept - known.keys())

    def columns(self, view: str) -> list[tuple[str, str]]:
        """Name and type of every column of a table or view."""
        return [(row[0], row[1]) for row in self.select(f"select column_name, column_type from (describe {view})").rows()]


def _words(query: str) -> list[str]:
    return re.findall(r"\w+", query)


def _asks_what_there_is(words: Iterable[str]) -> bool:
    return any(word.lower().startswith(CATALOGUE) for word in words)
