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
    """The rows of a query that is planned once; twice where columns bear one name or hold what polars has not. Raises duckdb.Error."""
    description: Any = cursor.execute(query, parameters).description or ()
    types = {column[0]: str(column[1]) for column in description}
    if len(types) < len(description) or any(map(_is_foreign, types.values())):
        cursor.abort()
    else:
        table: Any = cursor.to_arrow_table()
        if not _beyond(table, types):
            return _framed(table)
    relation = _told_apart(cursor.sql(query, params=parameters))
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    foreign = [name for name, kind in types.items() if _is_foreign(kind)]
    table = _as_text(relation, foreign).to_arrow_table()
    beyond = _beyond(table, {name: kind for name, kind in types.items() if name not in foreign})
    return _framed(_as_text(relation, [*foreign, *beyond]).to_arrow_table() if beyond else table)


def _framed(table: pa.Table) -> pl.DataFrame:
    found = pl.from_arrow(table, rechunk=False)
    assert isinstance(found, pl.DataFrame)
    return found


def _told_apart(relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """The relation with a number behind the name of every column whose name stands before it, or before it in other letters."""
    names: list[str] = []
    known: set[str] = set()
    numbers: dict[str, int] = {}
    for name in relation.columns:
        told = name
        while told.lower() in known:
            numbers[name] = numbers.get(name, 0) + 1
            told = f"{name}_{numbers[name]}"
        known.add(told.lower())
        names.append(told)
    if names == relation.columns:
        return relation
    return relation.project(", ".join(f"#{place} as {_quoted(name)}" for place, name in enumerate(names, 1)))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _as_text(relation: duckdb.DuckDBPyRelation, columns: list[str]) -> duckdb.DuckDBPyRelation:
    """The rows of a relation with these columns as DuckDB writes their values."""
    if not columns:
        return relation
    as_text = ", ".join(f"{_quoted(name)}::varchar as {_quoted(name)}" for name in columns)
    return relation.project(f"* replace ({as_text})")


def _beyond(table: pa.Table, types: dict[str, str]) -> list[str]:
    """The columns of moments that hold one which polars cannot write."""
    return [name for name, kind in types.items() if _MOMENT.fullmatch(kind.removesuffix(" WITH TIME ZONE")) and _is_beyond(table[name])]


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
