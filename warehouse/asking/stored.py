"""The tables of a lake as SQL over the files of its runs: which files, in the columns of the present version, and roll-ups made up for runs that lack them."""

import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from personascope.warehouse.asking.blank import table_types
from personascope.warehouse.asking.views import quoted
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import notes
from personascope.warehouse.store.committed import SCHEMA_RUN, Contents
from personascope.warehouse.store.compact import FOLDER
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.rollups import outdated_in
from personascope.warehouse.store.schema import Table, tables

NOTES = "run_notes"  # the table that people write, not runs
_VARIABLE = "files_of_"


@dataclass(frozen=True)
class Reading:
    """How tables read their files: as a shell does that stays open, unless it says otherwise.

    `from_behind`: rows come in the opposite order. `named_runs`: the files of each run by name, and none that come later.

    `rows_first`, for connections that are made anew when the lake changes: DuckDB takes the rows of the first file, times the files, for those of a table, and
    orders joins by that. Where the file without rows comes first, it puts together first what grows with the square of the runs.

    `variable`: where it can be, a table reads the files in the variable `files_of_TABLE` of whoever asks, if that is set; `of_few_files` sets it.
    """

    from_behind: bool = False
    named_runs: bool = False
    rows_first: bool = False
    variable: bool = False


BY_A_SHELL = Reading()
OF_FEW_RUNS = Reading(named_runs=True, rows_first=True)


def table_definitions(lake: Lake, contents: Contents, reading: Reading = BY_A_SHELL, names: Collection[str] | None = None) -> dict[str, str]:
    """By name of each table, or of these, the statement that creates it, after those it reads where it is a roll-up."""
    lacking = runs_that_lack(contents)
    script = {}
    for name, stored in stored_rows(lake, contents, reading, names).items():
        script[name] = f"create view {name} as {_completed(tables()[name], stored, lacking[name]) if name in lacking else stored};"
    return script


def of_few_files(lake: Lake, name: str, run_ids: Iterable[str]) -> str:
    """The statement that has one cursor read the files of these runs for a table's, where the table was defined with a `variable`."""
    folder = escaped(lake.runs_folder)
    return f"set variable {_VARIABLE}{name} = [{', '.join(quoted(f'{folder}/{_escaped(run_id)}/{name}.parquet') for run_id in run_ids)}];"


def has_variable(name: str, definition: str) -> bool:
    """Whether a table was defined with a `variable`."""
    return f"'{_VARIABLE}{name}'" in definition


def stored_rows(lake: Lake, contents: Contents, reading: Reading = BY_A_SHELL, names: Collection[str] | None = None) -> dict[str, str]:
    """By name of each table, or of these, the SELECT that gives the rows of its files, in the columns of the present version; of those in a variable only where
    all files have these columns and no row is made up."""
    variables = tables().keys() - runs_that_lack(contents).keys() if reading.variable else set()
    of_other_columns = _tables_of_other_columns(contents)
    stored_columns = {} if lake.schema_is_current() else _columns_of_another_version(lake)
    types_by_table, empty = table_types(), _tables_with_empty_files(lake)
    found = {}
    for name, table in tables().items():
        if names is not None and name not in names:
            continue
        if name == NOTES:
            found[name] = _noted(lake, reading.from_behind)
            continue
        there = stored_columns.get(name, set(table.columns) if not stored_columns else set())
        types = types_by_table[name]
        options, columns = "", ", ".join(_cast(column, types[column], True) if reading.rows_first else f'"{column}"' for column in table.columns)
        if name in of_other_columns or not there.issuperset(table.columns):  # whose common types may be others, too
            there |= {column for form in contents.by_form for column in form.columns.get(name, [])}
            options, columns = ", union_by_name = true", ", ".join(_cast(column, of, column in there) for column, of in types.items())
        files = _files(lake, contents, name, reading, name in empty)
        if name in variables and not options and files.startswith("["):
            files = f"coalesce(getvariable('{_VARIABLE}{name}'), {files})"
        source = f"read_parquet({files}{options})" if there else "(select 1 where false)"
        found[name] = f"select {columns} from {source}"
        if reading.from_behind and there:
            found[name] = f"select * from ({found[name]} order by filename desc, file_row_number desc)"
    return found


def _noted(lake: Lake, from_behind: bool) -> str:
    """The rows of people's notes, which stand in no run: a few short texts, so that the view holds them itself."""
    rows = [
        f"({quoted(run_id)}, [{', '.join(map(quoted, each.tags))}]::varchar[], {quoted(each.note) if each.note else 'null'})"
        for run_id, each in sorted(notes.read(lake).items(), reverse=from_behind)
    ]
    columns, types = ", ".join(tables()[NOTES].columns), table_types()[NOTES]
    if not rows:
        return no_rows(NOTES)
    return f"select {', '.join(f'{name}::{of} as {name}' for name, of in types.items())} from (values {', '.join(rows)}) as noted({columns})"


def no_rows(name: str) -> str:
    """A table of the present version without rows, which is planned without a file."""
    return f"select {', '.join(_cast(column, of, False) for column, of in table_types()[name].items())} where false"


def _cast(column: str, of: str, is_there: bool) -> str:
    """A column as the present version has it: of its type, NULL where no file holds it."""
    return f'"{column}"::{of} as "{column}"' if is_there else f'null::{of} as "{column}"'


def _columns_of_another_version(lake: Lake) -> dict[str, set[str]]:
    """Columns by table as the version knew them that last wrote the lake: one that cannot be written keeps its schema files."""
    found = {}
    folder = lake.runs_folder / SCHEMA_RUN
    for file in folder.glob("*.parquet"):
        with suppress(OSError, pa.ArrowException):
            footer = None if file.is_symlink() or folder.is_symlink() or not file.is_file() else pq.read_metadata(file)
            if footer is None or footer.num_rows:
                raise PersonascopeError(
                    f"lake {lake.root}: {file} is not a file without rows of its own, and the lake cannot be written; expected {SCHEMA_RUN} as written"
                )
            found[file.stem] = set(footer.schema.to_arrow_schema().names)
    return found or {"": set()}


def _tables_with_empty_files(lake: Lake) -> set[str]:
    """The tables of which a file without rows lies in the lake."""
    with suppress(OSError), os.scandir(lake.runs_folder / SCHEMA_RUN) as entries:
        return {entry.name.removesuffix(".parquet") for entry in entries if entry.name.endswith(".parquet") and entry.is_file()}
    return set()


def _files(lake: Lake, contents: Contents, name: str, reading: Reading, has_empty: bool) -> str:
    """The files of a table: all there are in the runs folder, those of runs that come later too; each by name where something else lies there, or compact files
    stand for runs. `has_empty`: one of them is that without rows."""
    own = contents.own_files.get(name, [])
    empty = [lake.runs_folder / SCHEMA_RUN] if has_empty else []
    if contents.strays or contents.compacts or reading.named_runs:
        folders = [lake.root / FOLDER / compact.name for compact in contents.compacts if name in compact.tables]
        patterns = [escaped(folder) for folder in [*folders, *(lake.runs_folder / run_id for run_id in own)]]
    elif reading.rows_first and own and empty:
        patterns = [f"{escaped(lake.runs_folder)}/[!_]*"]
    else:
        return quoted(f"{escaped(lake.runs_folder)}/*/{name}.parquet")
    without = [escaped(folder) for folder in empty]
    files = [f"{folder}/{name}.parquet" for folder in ([*patterns, *without] if reading.rows_first else [*without, *patterns])]
    return f"[{', '.join(map(quoted, files))}]"


def escaped(path: Path) -> str:
    """A path in which DuckDB finds no pattern."""
    return _escaped(str(path))


def _escaped(text: str) -> str:
    return re.sub(r"([\[\]?*])", r"[\1]", text)


def _completed(table: Table, stored: str, runs: list[str]) -> str:
    """The stored rows of a roll-up, and those of the runs that lack it or hold it by another definition, made up from the tables it sums up."""
    of_runs = f"run_id in ({', '.join(quoted(run) for run in runs)})"
    parents = ", ".join(f"{parent} as (select * from main.{parent} where {of_runs})" for parent in table.rollup_of)
    return f"{stored} where not {of_runs} union all by name (with {parents} select * from (\n{table.sql}))"


def _tables_of_other_columns(contents: Contents) -> set[str]:
    """Tables of which some run holds a file written under another set of columns; only those pay for union_by_name."""
    known = _present_columns()
    return {name for form in contents.by_form for name, columns in form.columns.items() if columns != known.get(name, columns)}


@cache
def _present_columns() -> dict[str, list[str]]:
    return {name: table.columns for name, table in tables().items()}


def runs_that_lack(contents: Contents) -> dict[str, list[str]]:
    """By name of a roll-up, the runs that should hold it as it is defined now and do not."""
    return contents.having({form: [target.name for target in outdated_in(form)] for form in contents.by_form})
