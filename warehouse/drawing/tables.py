"""Which columns of a query's rows a table shows, in the app and in a report."""

import polars as pl


def with_values(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows without columns in which nothing is known; no rows keep all columns."""
    return rows.select(column.name for column in rows if column.null_count() < rows.height) if rows.height else rows
