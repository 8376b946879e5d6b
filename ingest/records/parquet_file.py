"""Parquet files, a row group's piece at a time."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from personascope.ingest.records.columns import ColumnNames, Record, find_columns
from personascope.warehouse.errors import PersonascopeError, one_line

ROWS = 1024


class ParquetFile:
    """The records of a Parquet file, read while they are asked for; only the columns that are known are read."""

    def __init__(self, path: Path, known: ColumnNames) -> None:
        self.path = path
        try:
            self.header = names = pq.read_schema(path).names
        except FileNotFoundError:
            raise PersonascopeError(f"{path}: no such file") from None
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise PersonascopeError(f"{path}: cannot be read as Parquet ({one_line(error)})") from error
        places, self.notes = find_columns(path, names, known)
        self._names = {names[place]: own for place, own in places.items()}
        self.columns = list(self._names.values())

    def __iter__(self) -> Iterator[Record]:
        number = 0
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(ROWS, columns=list(self._names)):
                    for row in batch.to_pylist():
                        number += 1
                        yield Record(f"row {number}", {self._names[key]: value for key, value in row.items()})
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise PersonascopeError(f"{self.path}: cannot be read behind row {number} ({one_line(error)})") from error
