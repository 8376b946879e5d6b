"""Writes the Parquet files of the lake, and opens the DuckDB that sorts and sums up what does not fit in memory."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from personascope.warehouse.store.engine import kept
from personascope.warehouse.store.hashing import file_hash
from personascope.warehouse.store.manifest import TableFile
from personascope.warehouse.store.schema import Table, table

ROW_GROUP = 131_072
IN_MEMORY = 1 << 20  # bytes of Parquet that are summed up without a folder to spill to
VECTOR_ROW_GROUP = 2_048  # a vector of 8,192 numbers takes 32 KiB


def row_group(target: Table) -> int:
    """Rows that are read, sorted and written together, so that they fit a small machine's memory."""
    return VECTOR_ROW_GROUP if target.vector_columns else ROW_GROUP


def write_table(target: Table, batches: Iterable[pa.RecordBatch], folder: Path) -> TableFile:
    """Streams sorted rows into the table's file in a run folder."""
    path = folder / f"{target.name}.parquet"
    count = write_parquet(target, (batch.cast(target.arrow) for batch in batches), path)
    return TableFile(rows=count, bytes=path.stat().st_size, blake2=file_hash(path), columns=target.columns, definition=target.definition)


def write_schema_file(target: Table, path: Path) -> None:
    """A Parquet file of `target` without rows."""
    path.write_bytes(_without_rows(target.name))


@cache
def _without_rows(name: str) -> bytes:
    """A new lake holds such a file for every table: each is made once in a process."""
    made = BytesIO()
    write_parquet(table(name), [], made)
    return made.getvalue()


def write_parquet(target: Table, batches: Iterable[pa.RecordBatch], path: Path | BytesIO) -> int:
    """Names dictionary-encoded, measurements BYTE_STREAM_SPLIT, all zstd; returns the number of rows."""
    floats, vectors = target.float_columns, target.vector_columns
    rows = 0
    with pq.ParquetWriter(
        path,
        target.arrow,
        compression="zstd",
        use_dictionary=[name for name in target.columns if name not in {*floats, *vectors}],
        column_encoding=dict.fromkeys([*floats, *(f"{name}.list.element" for name in vectors)], "BYTE_STREAM_SPLIT") or None,
    ) as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=row_group(target))
            rows += batch.num_rows
    return rows


@contextmanager
def spilling(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB of its own that sorts and groups on disk, in `folder`, what does not fit in memory."""
    with duckdb.connect() as connection:
        connection.execute("set temp_directory = $folder", {"folder": str(folder)})
        connection.execute("set preserve_insertion_order = false")
        yield connection


@contextmanager
def summing(folder: Path, n_bytes: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that sums up `n_bytes` of Parquet: to a DuckDB that this process keeps where they are few, since starting one costs more than most such
    sums, else to one of its own that spills to `folder`. What it creates is to be temporary."""
    if n_bytes > IN_MEMORY:
        with spilling(folder) as connection:
            yield connection
    else:
        with kept() as connection:
            yield connection
