"""Opens a file of records by its name's ending."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from personascope.ingest.records.columns import ColumnNames, Record
from personascope.ingest.records.csv_file import CsvFile
from personascope.ingest.records.eval_log import EvalLog
from personascope.ingest.records.json_lines import JsonLines
from personascope.ingest.records.parquet_file import ParquetFile
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.pointers import refuse_pointer


class RecordFile(Protocol):
    """A file of records: iterated as often as wanted, `header` as it is written, `columns` by the project's names, `notes` for what a reader should know."""

    path: Path
    header: list[str]
    columns: list[str]
    notes: list[str]

    def __iter__(self) -> Iterator[Record]: ...


TABLES: dict[str, Callable[[Path, ColumnNames], RecordFile]] = {".csv": CsvFile, ".tsv": CsvFile, ".jsonl": JsonLines, ".parquet": ParquetFile}
"""Files whose rows are records, by ending."""
GENERATIONS: dict[str, Callable[[Path, ColumnNames], RecordFile]] = TABLES | {".eval": EvalLog}


def open_records(path: Path, known: ColumnNames, kinds: dict[str, Callable[[Path, ColumnNames], RecordFile]] = TABLES) -> RecordFile:
    """The records of a file; raises PersonascopeError naming file, line or row for whatever is wrong with it."""
    kind = kinds.get(path.suffix.casefold())
    if kind is None:
        raise PersonascopeError(f"{path}: its name ends with {path.suffix or 'nothing'!r}; expected one of {', '.join(kinds)}")
    refuse_pointer(path)
    return kind(path, known)
