"""Columns and types of tables, views and questions, told without a lake."""

import threading
from collections.abc import Iterable, Mapping
from functools import cache

import duckdb

from personascope.warehouse.asking.blank import all_view_types, as_table, table_types, types_of
from personascope.warehouse.asking.views import macros

_ASKING = threading.Lock()


def view_types(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """DuckDB type by column of each of these views; raises PersonascopeError where a view asks for what its tables do not have."""
    return {name: all_view_types()[name] for name in names}


def query_columns(query: str, parameters: Mapping[str, object] | None = None) -> dict[str, str]:
    """DuckDB type by column of what a query would give; raises duckdb.Error where it asks for a view or column that there is not.

    `parameters` are sample values of those that the query may name.
    """
    named = {name: value for name, value in (parameters or {}).items() if f"${name}" in query}
    with _ASKING:
        return types_of(_empty().sql(query, params=named or None))


@cache
def _empty() -> duckdb.DuckDBPyConnection:
    """A connection that knows the macros, and every table and view as a table without rows."""
    connection = duckdb.connect()
    known = table_types() | all_view_types()
    connection.execute("\n".join([macros(), *(as_table(name, types) for name, types in known.items())]))
    return connection
