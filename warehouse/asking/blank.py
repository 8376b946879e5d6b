"""The catalogue of no lake: every macro and view, made once for each version of them and kept in the cache, to be copied wherever a lake is asked.

DuckDB binds a view when it is created, with all that it reads, which takes seconds for all of them. One that is copied is bound when it is asked. Beside the
whole lie its parts, the macros and the views of each folder of `sql/`, made when first needed: most questions need two of them, at a third of what all cost.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

import duckdb

from personascope.warehouse.asking.views import closure, macro_names, macros, quoted, views
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.home import cache_root
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.parquet import write_schema_file
from personascope.warehouse.store.schema import tables

STORAGE_VERSION = "v1.5.0"
MACROS = "macros"  # the part of the catalogue that every other one needs
CATALOGUES = "catalogues"  # folder of the cache
KEPT = 8  # versions in the cache, those used last
_CATALOGUE, _COLUMNS, _OF_TABLES, _OF_VIEWS = "catalogue.duckdb", "columns.json", "tables", "views"
_MAKING, _AN_HOUR = ".making-", 3600


def copy_views(connection: duckdb.DuckDBPyConnection, database: str = "memory", parts: Collection[str] | None = None) -> None:
    """Creates every macro and view in a database of the connection that has none, or those of the `parts` alone that it lacks; what they read is looked up when
    they are asked.

    Raises PersonascopeError where a view asks for what its tables do not have, and OSError where there is no room to write a part.
    """
    wanted: Collection[str | None] = [None] if parts is None else parts
    for part in wanted:
        try:
            _copy(_file(part), connection, database)
        except duckdb.IOException:  # a file that lost its end when the machine went down, or was cleared beside us
            _forget()
            _copy(_file(part), connection, database)


def parts_behind(names: Collection[str]) -> set[str]:
    """The parts of the catalogue that a question with these words needs: those of the views among them and of what these read; none for one that names neither
    a view nor a macro."""
    folders = {views()[name].folder for name in closure(names)}
    return folders | {MACROS} if folders or not macro_names().isdisjoint(names) else set()


def _copy(file: Path, connection: duckdb.DuckDBPyConnection, database: str) -> None:
    connection.execute(f"attach {quoted(str(file))} as blank (read_only)")
    try:
        connection.execute(f"copy from database blank to {database}")
    finally:
        connection.execute("detach blank")


def table_types() -> dict[str, dict[str, str]]:
    """DuckDB type by column of every table, as DuckDB reads it from a Parquet file."""
    return _columns()[_OF_TABLES]


def all_view_types() -> dict[str, dict[str, str]]:
    """DuckDB type by column of every view; raises PersonascopeError where a view asks for what its tables do not have."""
    return _columns()[_OF_VIEWS]


def as_table(name: str, types: Mapping[str, str]) -> str:
    """The statement that makes an empty table of these columns."""
    columns = ", ".join(f'"{column}" {of}' for column, of in types.items())
    return f"create table {name} ({columns});"


def types_of(relation: duckdb.DuckDBPyRelation) -> dict[str, str]:
    """DuckDB type by column of a relation."""
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def _columns() -> dict[str, dict[str, dict[str, str]]]:
    try:
        return _read(_folder() / _COLUMNS)
    except (OSError, ValueError):
        _forget()
        return _read(_folder() / _COLUMNS)


@cache
def _read(file: Path) -> dict[str, dict[str, dict[str, str]]]:
    columns: dict[str, dict[str, dict[str, str]]] = json.loads(file.read_text(encoding="utf-8"))
    return columns


def blank_files() -> list[Path]:
    """The catalogue, made if there is none of these views yet, and where its parts lie: in the cache, or for this process alone where that is not writable."""
    return [_folder() / _CATALOGUE, *(_place(_folder(), part) for part in (MACROS, *_folders()))]


def _file(part: str | None) -> Path:
    whole = _folder() / _CATALOGUE
    if part is None:
        return whole
    if not (file := _place(whole.parent, part)).is_file():
        making = file.with_name(f"{_MAKING}{uuid4().hex}")
        try:
            _make_part(whole, part, making)
            making.replace(file)
        finally:
            making.unlink(missing_ok=True)
    return file


@cache
def _place(folder: Path, part: str) -> Path:
    file = folder / f"{part}.duckdb"
    return file if file.is_file() or os.access(folder, os.W_OK) else Path(_alone().name) / f"{folder.name}-{file.name}"


@cache
def _folders() -> tuple[str, ...]:
    return tuple(sorted({view.folder for view in views().values()}))


def _folder() -> Path:
    return _made(cache_root() / CATALOGUES, version())


@cache
def version() -> str:
    """A hash of every table, macro and view, and of the program that binds them."""
    texts = {name: table.sql for name, table in tables().items()} | {name: view.sql for name, view in views().items()}
    return stable_hash([STORAGE_VERSION, duckdb.__version__, macros(), texts])


@cache
def _made(room: Path, version: str) -> Path:
    place = room / version
    if place.is_dir():
        with suppress(OSError):
            os.utime(place)
        return place
    making = room / f"{_MAKING}{uuid4().hex}"
    try:
        making.mkdir(parents=True)
    except OSError:
        making = Path(_alone().name) / version
        making.mkdir()
        _make(making)
        return making
    try:
        _make(making)
        with suppress(OSError):  # where another process was faster
            making.rename(place)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    _drop_old(room)
    return place


def _forget() -> None:
    """Has the catalogue made anew."""
    shutil.rmtree(_folder(), ignore_errors=True)
    for kept in (_made, _read, _place):
        kept.cache_clear()


def _drop_old(room: Path) -> None:
    """Removes the versions that were not asked for longest, and what a killed process was making."""
    with suppress(OSError):
        by_age = sorted(room.iterdir(), key=lambda place: place.stat().st_mtime)
        old = [place for place in by_age if not place.name.startswith(_MAKING)][:-KEPT]
        litter = [place for place in by_age if place.name.startswith(_MAKING) and time.time() - place.stat().st_mtime > _AN_HOUR]
        for place in [*old, *litter]:
            shutil.rmtree(place, ignore_errors=True)


@cache
def _alone() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="personascope-")


def _make(place: Path) -> None:
    """Writes catalogue and columns: each view is bound while what it reads are empty tables, so that the cost grows with their number and not their depth."""
    of_tables, of_views = _types_of_tables(), {}
    with duckdb.connect() as connection:
        connection.execute(f"attach {quoted(str(place / _CATALOGUE))} as made (storage_version '{STORAGE_VERSION}'); use made")
        connection.execute("\n".join([macros(), *(as_table(name, types) for name, types in of_tables.items())]))
        for name, view in views().items():
            try:
                of_views[name] = types_of(connection.sql(view.sql))
            except duckdb.Error as error:
                raise PersonascopeError(f"{name}: the view cannot be planned: {one_line(error)}") from error
            connection.execute(as_table(name, of_views[name]))
        connection.execute("\n".join(f"drop table {name}; create view {name} as {views()[name].sql};" for name in reversed(views())))
        connection.execute("\n".join(f"drop table {name};" for name in of_tables))
        connection.execute("use memory; detach made")
    (place / _COLUMNS).write_text(json.dumps({_OF_TABLES: of_tables, _OF_VIEWS: of_views}), encoding="utf-8")


def _make_part(whole: Path, part: str, file: Path) -> None:
    """Writes the catalogue without what is of other parts; raises OSError where there is no room for it."""
    gone = [f"drop view {name};" for name, view in views().items() if view.folder != part]
    with duckdb.connect() as connection:
        connection.execute(f"attach {quoted(str(whole))} as whole (read_only)")
        if part != MACROS:
            kinds = connection.execute("select distinct function_name, function_type from duckdb_functions() where database_name = 'whole'").fetchall()
            gone += [f"drop macro {'table ' if kind == 'table_macro' else ''}{name};" for name, kind in kinds]
        script = [f"attach {quoted(str(file))} as part (storage_version '{STORAGE_VERSION}'); copy from database whole to part; use part; begin;", *gone]
        try:
            connection.execute("\n".join([*script, "commit; use memory; detach part"]))
        except duckdb.IOException as error:
            raise OSError(f"{file}: {one_line(error)}") from error


def _types_of_tables() -> dict[str, dict[str, str]]:
    with tempfile.TemporaryDirectory() as elsewhere, duckdb.connect() as connection:
        files = {name: Path(elsewhere) / f"{name}.parquet" for name in tables()}
        for name, file in files.items():
            write_schema_file(tables()[name], file)
        return {name: types_of(connection.read_parquet(str(file))) for name, file in files.items()}
