"""The catalogue of no lake: made once, made anew where it cannot be read, and made for one process where the cache cannot be written."""

import os
import shutil
import time

import duckdb
import pytest

from personascope.warehouse.asking import blank
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.shapes import view_types
from personascope.warehouse.asking.views import closure, macro_names, views
from personascope.warehouse.home import cache_root
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import tables


@pytest.fixture(autouse=True)
def _where_users_have_it(monkeypatch):
    """The suite has one catalogue for all other tests."""
    monkeypatch.setattr(blank, "cache_root", cache_root)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "own"))
    return tmp_path / "own" / blank.CATALOGUES


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake.open(tmp_path / "lake")


def names(connection):
    return {name for (name,) in connection.sql("select view_name from duckdb_views() where not internal").fetchall()}


def macros(connection):
    return {name for (name,) in connection.sql("select function_name from duckdb_functions() where function_type like '%macro' and not internal").fetchall()}


@pytest.mark.slow(10)
def test_it_is_made_once_and_made_anew_where_it_cannot_be_read(cache):
    connection = duckdb.connect()
    blank.copy_views(connection)
    assert names(connection) == set(views())
    assert macros(connection) == macro_names()
    (place,) = cache.iterdir()
    inode = place.stat().st_ino
    blank.copy_views(duckdb.connect())
    assert cache.joinpath(place.name).stat().st_ino == inode
    (place / "catalogue.duckdb").write_bytes(b"torn")
    (place / "columns.json").write_text("{")
    again = duckdb.connect()
    blank.copy_views(again)
    assert names(again) == set(views()) and [each.name for each in cache.iterdir()] == [place.name]
    assert view_types(["marker_rates"])["marker_rates"]["n_questions"] == "BIGINT"


def test_a_part_holds_what_a_question_needs_and_all_of_them_hold_everything_once():
    some, every = duckdb.connect(), duckdb.connect()
    needed = blank.parts_behind({"emergence"})
    assert blank.MACROS in needed and "audit" not in needed and blank.parts_behind({"wilson_low"}) == {blank.MACROS} and not blank.parts_behind({"runs"})
    blank.copy_views(some, parts=needed)
    assert macros(some) == macro_names() and closure({"emergence"}) <= names(some) < set(views())
    blank.copy_views(every, parts=sorted(blank.parts_behind(views())))
    assert names(every) == set(views()) and macros(every) == macro_names()


def test_a_part_that_is_torn_is_made_anew(tmp_path, monkeypatch):
    whole = blank.blank_files()[0]
    monkeypatch.setattr(blank, "_folder", lambda: tmp_path)
    monkeypatch.setattr(blank, "_forget", lambda: (tmp_path / "macros.duckdb").unlink())
    shutil.copy(whole, tmp_path)
    (tmp_path / "macros.duckdb").write_bytes(b"torn")
    connection = duckdb.connect()
    blank.copy_views(connection, parts=[blank.MACROS])
    assert macros(connection) == macro_names() and {each.name for each in tmp_path.iterdir()} == {"catalogue.duckdb", "macros.duckdb"}


def test_where_there_is_no_room_for_a_part_the_whole_is_copied(lake, monkeypatch, tmp_path):
    folder = tmp_path / "catalogues"
    shutil.copytree(blank._folder(), folder, ignore=lambda _, names: [name for name in names if name not in ("catalogue.duckdb", "columns.json")])
    monkeypatch.setattr(blank, "_folder", lambda: folder)

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(blank, "_make_part", full)
    assert Warehouse(lake).select("select count(*) from marker_rates").item() == 0
    assert {each.name for each in folder.iterdir()} == {"catalogue.duckdb", "columns.json"}


def test_versions_that_nobody_asks_for_go_and_so_does_what_a_killed_process_was_making(cache, monkeypatch):
    monkeypatch.setattr(blank, "_make", lambda place: None)
    for number in range(blank.KEPT + 2):
        (cache / f"old-{number}").mkdir(parents=True)
        os.utime(cache / f"old-{number}", (number, number))
    (cache / ".making-dead").mkdir()
    os.utime(cache / ".making-dead", (1, 1))
    (cache / ".making-alive").mkdir()
    blank.blank_files()
    assert {each.name for each in cache.iterdir()} == {".making-alive", blank.version(), *(f"old-{number}" for number in range(3, blank.KEPT + 2))}
    assert time.time() - (cache / blank.version()).stat().st_mtime < 60


@pytest.mark.slow(5)
def test_where_the_cache_cannot_be_written_the_process_makes_its_own(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "file"))
    place = blank.blank_files()[0]
    assert place.is_file() and not place.is_relative_to(tmp_path)
    assert blank.blank_files()[0] == place
    assert set(blank.table_types()) == set(tables())
