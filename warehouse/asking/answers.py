"""Rows of a query as polars holds them: what DuckDB knows and polars does not (intervals, unions, bits, days beyond 9999) comes as DuckDB writes it."""

import re
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

_FOREIGN = re.compile(r"\b(INTERVAL|UNION|BIGNUM|BIT|BLOB|VARIANT|GEOMETRY|TIME WITH TIME ZONE)\b")
_MOMENT = re.compile(r"\b(DATE|TIMESTAMP\w*)\b")
Parameters = list[object] | dict[str, object] | None


def rows(cursor: duckdb.DuckDBPyConnection, query: str, parameters: Parameters) -> pl.DataFrame:
    """The rows of a query that is planned once; twice where columns bear one name or are of a type that polars has not. Raises duckdb.Error."""
    description: Any = cursor.execute(query, parameters).description or ()
    types = {column[0]: str(column[1]) for column in description}
    if len(types) < len(description):
        cursor.abort()
        relation = cursor.sql(query, params=parameters)
        return rows_as_text(relation, [name for name, kind in zip(relation.columns, map(str, relation.types), strict=True) if _is_foreign(kind)])
    if foreign := [name for name, kind in types.items() if _is_foreign(kind)]:
        cursor.abort()
        return rows_as_text(cursor.sql(query, params=parameters), foreign)
    table: Any = cursor.to_arrow_table()
    if beyond := [name for name, kind in types.items() if _MOMENT.fullmatch(kind.removesuffix(" WITH TIME ZONE")) and _is_beyond(table[name])]:
        return rows_as_text(cursor.sql(query, params=parameters), beyond)
    found = pl.from_arrow(table, rechunk=False)
    assert isinstance(found, pl.DataFrame)
    return found


def rows_as_text(relation: duckdb.DuckDBPyRelation, columns: list[str]) -> pl.DataFrame:
    """The rows of a relation with these columns as DuckDB writes their values."""
    if not columns:
        return relation.pl()
    quoted = [name.replace('"', '""') for name in columns]
    as_text = ", ".join(f'"{name}"::varchar as "{name}"' for name in quoted)
    return relation.project(f"* replace ({as_text})").pl()


def _is_foreign(kind: str) -> bool:
    """Whether a type is, or holds, what polars or its writers cannot take; a moment inside of another value may be any."""
    nested = kind.endswith("]") or "(" in kind
    return bool(_FOREIGN.search(kind)) or (nested and bool(_MOMENT.search(kind)))


def _is_beyond(column: pa.ChunkedArray) -> bool:
    """Whether a moment lies outside of the years 1 to 9999, as infinity does."""
    if len(column) == column.null_count:
        return False
    found = pc.min_max(column.cast(pa.int64() if pa.types.is_timestamp(column.type) else pa.int32()))
    unit = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit] if pa.types.is_timestamp(column.type) else 1 / 86400
    return not -62_135_596_800 * unit <= found["min"].as_py() or not found["max"].as_py() < 253_402_300_800 * unit
