"""What a run's folder must be before its rows are read: a lake that came from elsewhere may hold anything under the name of a run."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from personascope.warehouse.documents import parse_json
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.store.manifest import MADE_OF_THE_MANIFEST, MANIFEST, Manifest
from personascope.warehouse.store.schema import Table, tables

LARGEST_MANIFEST = 16 << 20  # bytes; those of this program take some ten thousand
LONGEST_RUN_ID = 200
_TABLE_NAME = re.compile(r"[A-Za-z]\w*")
# The schema of a sound file of each table with these columns, what it says of itself, and the place of run_id: nearly all of a lake's files have the same.
_sound_schemas: dict[tuple[str, tuple[str, ...]], tuple[pq.ParquetSchema, dict[bytes, bytes] | None, int]] = {}


def is_name(text: str) -> bool:
    """Whether a text can be the name of a run's folder, and of nothing outside the runs folder."""
    return 0 < len(text) <= LONGEST_RUN_ID and text[0] not in ".-_~" and text.isprintable() and not set(text) & set("/\\")


def why_unsound(folder: Path, manifest: Manifest, thorough: bool = False) -> str | None:
    """Why the files of a run are not read, in a few words; None where nothing speaks against it. Raises OSError where they cannot be looked at.

    Looks at names, kinds of files and the footers of the Parquet files, not at their bytes: a damaged file is the business of whoever reads it.
    `thorough`: reads of whom the rows are, where otherwise the statistics in the footers are believed.
    """
    try:
        document = parse_json((folder / MANIFEST).read_bytes())
    except PersonascopeError as error:
        return f"its {MANIFEST} is damaged ({one_line(error)})"
    if (said := document.get("run_id", manifest.run_id)) != manifest.run_id:
        return f"its {MANIFEST} calls it {str(said)[:80]!r}, which is not the name of what it describes"
    if (bad := next((name for name in manifest.tables if not _TABLE_NAME.fullmatch(name)), None)) is not None:
        return f"its {MANIFEST} lists a table {bad[:80]!r}; expected a name of letters, digits and _"
    listed = {*manifest.tables, *MADE_OF_THE_MANIFEST}
    return _why_not_files(folder, listed) or next(
        filter(None, (_why_not_table(folder, name, manifest, thorough) for name in sorted(listed & tables().keys()))), None
    )


def why_unsound_schema(folder: Path) -> str | None:
    """The same of the folder of files without rows, which give the tables their types."""
    if not folder.is_dir() or folder.is_symlink():
        return "no folder"
    if reason := _why_not_files(folder, tables()):
        return reason
    for name, table in tables().items():
        try:
            footer = pq.read_metadata(folder / f"{name}.parquet")
            if footer.num_rows or not footer.schema.to_arrow_schema().equals(table.arrow):
                return f"{name}.parquet is not the table's"
        except (OSError, pa.ArrowException):
            return f"{name}.parquet is not readable"
    return None


def _why_not_files(folder: Path, listed: Iterable[str]) -> str | None:
    """What lies in the folder that should not, or does not and should."""
    wanted = {f"{name}.parquet" for name in listed}
    there = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                return f"it holds a link, {entry.name}; expected the file itself, since nothing outside the lake is read"
            is_table = entry.name.endswith(".parquet") and entry.name.removesuffix(".parquet") in tables()
            if (is_table or entry.name in wanted) and not entry.is_file(follow_symlinks=False):
                return f"its {entry.name} is no regular file"
            if is_table and entry.name not in wanted:
                return f"it holds {entry.name}, which its {MANIFEST} does not list"
            there.add(entry.name)
    return f"its {min(missing)} is missing" if (missing := wanted - there) else None


def _why_not_table(folder: Path, name: str, manifest: Manifest, thorough: bool) -> str | None:
    """What is wrong with the columns of a file, or with whose rows it says that it holds."""
    path, table = folder / f"{name}.parquet", tables()[name]
    try:
        footer = pq.read_metadata(path)
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    expected = ("run_id", *(manifest.tables[name].columns if name in manifest.tables else table.columns))
    stored, said = footer.schema, footer.metadata
    known = _sound_schemas.get((name, expected))
    if known is None or known[1] != said or not known[0].equals(stored):
        try:
            found = stored.to_arrow_schema()
        except (pa.ArrowException, ValueError) as error:
            return f"the schema of its {path.name} is not readable ({one_line(error)})"
        if missing := next((column for column in expected if column not in found.names), None):
            return f"its {path.name} lacks the column {missing[:80]}"
        if (reason := _why_not_columns(found, table)) is not None:
            return f"its {path.name} {reason}"
        known = _sound_schemas[name, expected] = stored, said, [stored.column(index).path for index in range(len(stored))].index("run_id")
    if name == "runs" and footer.num_rows != 1:
        return f"its {path.name} has {footer.num_rows} rows; expected the one that describes it"
    try:
        is_of = _is_of(path, footer, known[2], manifest.run_id, thorough)
    except UnicodeDecodeError:
        return f"its {path.name} holds a run_id that is not UTF-8"
    return None if is_of else f"its {path.name} holds rows of another run"


def _why_not_columns(found: pa.Schema, table: Table) -> str | None:
    by_name: dict[str, pa.DataType] = {}
    for field in found:
        if field.name.lower() in by_name:
            return f"holds the column {field.name[:80]} twice"
        by_name[field.name.lower()] = field.type
    for field in table.arrow:
        if (kind := by_name.get(field.name)) is not None and not _may_be(kind, field.type):
            return f"holds {str(kind)[:80]} in the column {field.name}; expected {field.type}"
    return None


def _may_be(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether values of a stored type are of the kind of the table's: its width may be another, as versions have changed it."""
    if pa.types.is_dictionary(found):
        found = found.value_type
    if found.equals(expected) or pa.types.is_null(found):
        return True
    if _is_list(found) and _is_list(expected):
        return _may_be(found.value_type, expected.value_type)
    if pa.types.is_floating(expected):
        return pa.types.is_floating(found) or pa.types.is_integer(found)
    same: list[Any] = [pa.types.is_integer, pa.types.is_boolean, pa.types.is_timestamp, _is_text]
    return any(of(found) and of(expected) for of in same)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_of(path: Path, footer: pq.FileMetaData, place: int, run_id: str, thorough: bool) -> bool:
    """Whether all rows bear the name of the run, which stands in the column at `place`: rows under another name would count for that one."""
    if not thorough:
        seen = (footer.row_group(index).column(place).statistics for index in range(footer.num_row_groups))
        if all(each is not None and each.has_min_max and each.min == each.max == run_id for each in seen):
            return True
    try:
        names = pq.ParquetFile(path).read(columns=["run_id"])["run_id"].unique().to_pylist()
    except (OSError, pa.ArrowException):
        return True  # damaged, which whoever reads it is told
    return set(names) <= {run_id}
