"""Columns and types of every table and view, told by binding each view against empty tables: once per process, and no lake is needed."""

import re
import tempfile
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import duckdb

from personascope.warehouse.asking.views import closure, macros, views
from personascope.warehouse.store.parquet import write_schema_file
from personascope.warehouse.store.schema import tables

_ASKING = threading.Lock()
_VIEWS: dict[str, dict[str, str]] = {}


@cache
def table_types() -> dict[str, dict[str, str]]:
    """DuckDB type by column of every table, as DuckDB reads it from a Parquet file."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        files = {name: Path(folder) / f"{name}.parquet" for name in tables()}
        for name, file in files.items():
            write_schema_file(tables()[name], file)
        return {name: _types(connection.read_parquet(str(file))) for name, file in files.items()}


def view_types(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """DuckDB type by column of each of these views; raises duckdb.Error where a view asks for what its tables do not have."""
    wanted = list(names)
    needed = closure(wanted)
    with _ASKING:
        for name in [name for name in views() if name in needed and name not in _VIEWS]:
            shape = _types(_empty().sql(views()[name].sql))
            _empty().execute(as_table(name, shape))
            _VIEWS[name] = shape
    return {name: _VIEWS[name] for name in wanted}


def as_table(name: str, types: dict[str, str]) -> str:
    """The statement that makes an empty table of these columns."""
    columns = ", ".join(f'"{column}" {of}' for column, of in types.items())
    return f"create table {name} ({columns});"


@cache
def _empty() -> duckdb.DuckDBPyConnection:
    """A connection that knows the macros, every table without rows, and as a table without rows each view that was asked for."""
    connection = duckdb.connect()
    connection.execute("\n".join([macros(), *(as_table(name, types) for name, types in table_types().items())]))
    return connection


def _types(relation: duckdb.DuckDBPyRelation) -> dict[str, str]:
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def query_columns(query: str, parameters: Mapping[str, object] | None = None) -> dict[str, str]:
    """DuckDB type by column of what a query would give; raises duckdb.Error where it asks for a view or column that there is not.

    `parameters` are sample values of those that the query may name.
    """
    words = set(re.findall(r"\w+", query))
    view_types(closure(words))
    named = {name: value for name, value in (parameters or {}).items() if f"${name}" in query}
    with _ASKING:
        return _types(_empty().sql(query, params=named or None))
