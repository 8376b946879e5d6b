"""Rows of whatever kind as a table of the lake: exactly its columns and types, constants filled in, NULL for NaN."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.schema import Table

Rows: TypeAlias = pa.Table | pl.DataFrame | list[dict[str, Any]]


def conform(target: Table, values: Rows, constants: Mapping[str, Any]) -> tuple[pa.Table, int]:
    """`values` with exactly the columns and types of `target`, and how many NaN became NULL."""
    given = _to_arrow(target, values)
    there = set(given.column_names)
    unknown = sorted(there - set(target.columns))
    if unknown:
        raise PersonascopeError(f"table {target.name}: unknown column {unknown[0]!r}; expected some of {', '.join(target.columns)}")
    columns, nulled = [], 0
    for field in target.arrow:
        if field.name in there:
            try:
                column = given.column(field.name).cast(field.type)
            except pa.ArrowException as error:
                raise PersonascopeError(f"table {target.name}, column {field.name}: {error}; expected {field.type}") from error
            if pa.types.is_floating(field.type):
                nan = pc.is_nan(column)
                count = pc.sum(nan).as_py() or 0
                if count:
                    column, nulled = pc.if_else(nan, pa.scalar(None, field.type), column), nulled + count
        else:
            column = pa.repeat(pa.scalar(constants.get(field.name), field.type), given.num_rows)
        columns.append(column)
    return pa.table(columns, schema=target.arrow), nulled


def _to_arrow(target: Table, values: Rows) -> pa.Table:
    if isinstance(values, pl.DataFrame):
        return values.to_arrow()
    if isinstance(values, pa.Table):
        return values
    names = list(dict.fromkeys(name for row in values for name in row))
    known = set(target.columns)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise PersonascopeError(f"table {target.name}: unknown column {unknown[0]!r}; expected some of {', '.join(target.columns)}")
    try:
        return pa.table({name: pa.array([row.get(name) for row in values], target.arrow.field(name).type) for name in names})
    except pa.ArrowException as error:
        raise PersonascopeError(f"table {target.name}: {error}") from error
