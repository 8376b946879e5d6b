"""Asks the warehouse: one read-only statement in, rows out, whatever the text of the statement tries."""

import re
import threading
import warnings
from collections.abc import Collection

import duckdb
import polars as pl

from personascope.warehouse.asking.catalogue import Foundation, define_views, unreadable
from personascope.warehouse.asking.views import closure, views
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

TIME_LIMIT_MS = 60_000
CATALOGUE = ("duckdb_", "information_schema", "pg_", "sqlite_", "show")  # beginnings of words by which a query asks what there is to ask
warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)  # the copy of the rows costs less than planning twice


class Warehouse:
    """A locked-down connection to a lake: SELECT only, no other files, no settings, no extensions, a time limit per statement.

    Views named in `kept` are computed once, when a query first needs them: for a connection that is given up when the lake changes.
    """

    def __init__(self, lake: Lake, time_limit_ms: int = TIME_LIMIT_MS, kept: Collection[str] = (), from_behind: bool = False) -> None:
        self.lake = lake
        self._kept = frozenset(kept)
        self._connection = duckdb.connect()
        self._foundation = Foundation(self._connection, lake, from_behind)
        self._reversed: Warehouse | None = None
        self._defined: set[str] = set()
        self._defining = threading.Lock()
        folder = str(lake.runs_folder).replace("'", "''")
        self._seconds = time_limit_ms / 1000
        self._connection.execute(f"set allowed_directories = ['{folder}']; set enable_external_access = false; set lock_configuration = true")

    def select(self, query: str, parameters: list[object] | dict[str, object] | None = None) -> pl.DataFrame:
        """The rows of one SELECT statement; raises PersonascopeError with DuckDB's reason for anything else."""
        self._define(query)
        cursor = self._connection.cursor()
        # DuckDB's own max_execution_time is a setting of one connection that neither cursors inherit nor relations obey.
        limit = threading.Timer(self._seconds, cursor.interrupt)
        limit.start()
        try:
            statements = cursor.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise PersonascopeError("the query must be exactly one SELECT statement (also WITH or FROM ...); the lake is read-only")
            try:
                return _rows(cursor, query, parameters)
            except duckdb.CatalogException:  # a name that is not there: with every table there, the nearest one is named
                self._define("show")
                return _rows(cursor, query, parameters)
        except duckdb.InterruptException as error:
            raise PersonascopeError(f"the query ran longer than {self._seconds:g} s and was stopped; ask for less of it") from error
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise unreadable(error) from error
        except duckdb.Error as error:
            reason = str(error).partition("\n\nLINE ")[0].strip()  # behind it the statement is quoted, with an arrow under the place
            raise PersonascopeError(f"the query failed: {reason}") from error
        finally:
            limit.cancel()
            cursor.close()

    def reversed(self) -> "Warehouse":
        """The same lake whose rows come from behind, the last run first, and by another number of threads: what it answers differently hangs on their order."""
        if self._reversed is None:
            self._reversed = Warehouse(self.lake, int(self._seconds * 1000), self._kept, from_behind=True)
        return self._reversed

    def _define(self, query: str) -> None:
        """Creates the views, tables and macros that the query names and those they read: all of them would cost more than most queries."""
        words = set(re.findall(r"\w+", query))
        everything = any(word.lower().startswith(CATALOGUE) for word in words)
        wanted = set(views()) if everything else closure(words)
        with self._defining:
            try:
                if everything:
                    self._foundation.lay_all()
                else:
                    self._foundation.lay([query, *(views()[name].sql for name in wanted - self._defined)])
                define_views(self._connection, wanted - self._defined, self._kept)
            except duckdb.Error as error:
                raise PersonascopeError(f"the query failed: {str(error).strip()}") from error
            self._defined |= wanted

    def columns(self, view: str) -> list[tuple[str, str]]:
        """Name and type of every column of a table or view."""
        return [(row[0], row[1]) for row in self.select(f"select column_name, column_type from (describe {view})").rows()]


def _rows(cursor: duckdb.DuckDBPyConnection, query: str, parameters: list[object] | dict[str, object] | None) -> pl.DataFrame:
    """The rows of a query that is planned once; a relation is planned when it is made and when it is read, which only columns of one name need."""
    names = [column[0] for column in cursor.execute(query, parameters).description or ()]
    if len(set(names)) < len(names):
        cursor.abort()
        return cursor.sql(query, params=parameters).pl()
    found = pl.from_arrow(cursor.to_arrow_table(), rechunk=False)
    assert isinstance(found, pl.DataFrame)
    return found
