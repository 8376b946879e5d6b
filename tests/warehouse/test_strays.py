"""What lies beside the runs is left out and named, what stepped aside comes back, and a lake that changes under a reader is read again."""

import itertools
import json
import os
import shutil
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from lakes import count, write
from typer.testing import CliRunner

from personascope.cli import app
from personascope.warehouse.asking import answering, catalogue
from personascope.warehouse.asking import query as asking
from personascope.warehouse.asking.catalogue import build
from personascope.warehouse.asking.doctor import examine
from personascope.warehouse.asking.guard import Limits
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import SHARED
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import committed, exchange
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.locks import take_lock
from personascope.warehouse.store.scratch import SCRATCH, scratch

pytestmark = pytest.mark.slow(15)


def _copy(lake: Lake, name: str) -> None:
    shutil.copytree(lake.run_folder(lake.run_ids()[0]), lake.run_folder(name))


def _rename(lake: Lake, name: str) -> None:
    _copy(lake, name)
    manifest = lake.run_folder(name) / "run.json"
    manifest.write_text(manifest.read_text().replace('"name": "one"', '"name": "three"').replace('"name":"one"', '"name":"three"'))


def _half(lake: Lake, name: str) -> None:
    _copy(lake, name)
    (lake.run_folder(name) / "run.json").unlink()


def _damaged(lake: Lake, name: str) -> None:
    _copy(lake, name)
    manifest = lake.run_folder(name) / "run.json"
    manifest.write_text(manifest.read_text()[:100])


def _link(lake: Lake, name: str) -> None:
    elsewhere = lake.root / "elsewhere" / name
    shutil.copytree(lake.run_folder(lake.run_ids()[0]), elsewhere)
    lake.run_folder(name).symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("name", "make", "level", "words"),
    [
        (".ipynb_checkpoints", lambda lake, name: lake.run_folder(name).mkdir(), "note", "it has no run.json"),
        ("lost+found", lambda lake, name: lake.run_folder(name).mkdir(), "note", "it has no run.json"),
        ("completions-00.bak", _copy, "note", "a copy of completions-"),
        ("completions-renamed", _rename, "error", "rename it back"),
        ("completions-half", _half, "error", "only tables"),
        ("completions-torn", _damaged, "error", "its run.json is damaged"),
        ("completions-linked", _link, "error", "a link"),
    ],
)
def test_a_stray_folder_is_left_out_and_named_once_on_stderr_and_by_the_doctor(lake, monkeypatch, capsys, name, make, level, words):
    monkeypatch.setattr(committed, "_named", set())
    make(lake, name)
    assert count(lake) == 5 and len(lake.run_ids()) == 2
    Lake.existing(lake.root), Lake.open(lake.root)
    said = capsys.readouterr().err
    assert said.count("left out") == 1 and name in said and words in said
    found = {finding.subject: finding for finding in examine(lake)}
    assert found[name].level == level and words in found[name].message and "move it out" in found[name].remedy
    write(lake, "later")
    assert count(lake) == 7


def test_runs_that_come_and_go_beside_a_stray_are_seen_by_an_open_warehouse(lake):
    _copy(lake, "completions-00.bak")
    warehouse = Warehouse(lake)
    assert warehouse.select("select count(*) from completions").item() == 5
    third = write(lake, "three", 4)
    assert warehouse.select("select count(*) from completions").item() == 9
    lake.delete(third)
    assert warehouse.select("select count(*) from completions").item() == 5


@pytest.mark.parametrize("name", ["a [lake]", "what?", "all*", "it's", "x[1]{2}"])
def test_a_path_with_characters_of_patterns_reads_like_any_other(tmp_path, name):
    import duckdb

    lake = Lake.open(tmp_path / name)
    write(lake, "one")
    assert count(lake) == 2
    with duckdb.connect(str(build(lake)), read_only=True) as shell:
        assert shell.sql("select count(*) from completions").fetchall() == [(2,)]
    with pytest.raises(PersonascopeError, match="Permission"):
        Warehouse(lake).select(f"select * from read_text('{str(tmp_path).replace(chr(39), chr(39) * 2)}/*')")


@pytest.mark.parametrize("able", [True, False])
def test_a_replacement_that_is_killed_at_any_step_leaves_the_run_readable(tmp_path, monkeypatch, able):
    """The steps of a replacement: everything that renames or removes; behind each the process ends."""
    if able and exchange._renameat2() is None:
        pytest.skip("this system cannot exchange two folders in one step")
    steps = 0
    for killed_at in range(20):
        lake = Lake.open(tmp_path / f"lake-{killed_at}")
        run_id = write(lake, "one")
        with monkeypatch.context() as patch:
            left = iter(range(killed_at))

            def step(action, _left=left):
                def stepped(*args, **kwargs):
                    if next(_left, None) is None:
                        raise KeyboardInterrupt
                    return action(*args, **kwargs)

                return stepped

            if not able:
                patch.setattr(exchange, "_exchange", lambda *_: False)
            for owner, action in ((Path, "rename"), (shutil, "rmtree"), (exchange, "_exchange")):
                patch.setattr(owner, action, step(getattr(owner, action)))
            try:
                write(lake, "one", force=True)
                killed = False
            except KeyboardInterrupt:
                killed = True
        steps += killed
        again = Lake.existing(lake.root)
        again.clear_staging()
        assert again.run_ids() == [run_id] and count(again) == 2, killed_at
        assert not any(again.staging_folder.iterdir()), killed_at
        if not killed:
            break
    assert steps >= 4 and not killed


def test_a_run_that_stepped_aside_is_brought_back_for_a_reader_and_never_cleared_away(lake):
    one, two = lake.run_ids()
    lake.run_folder(one).rename(lake.staging_folder / f"replaced-{one}")
    held = take_lock(lake.staging_folder / one, one)
    assert Lake.existing(lake.root).run_ids() == [two]  # somebody is at it
    assert lake.clear_staging() == [] and (lake.staging_folder / f"replaced-{one}").is_dir()
    held.close()
    assert Lake.existing(lake.root).run_ids() == [one, two] and count(lake) == 5


def test_a_lake_that_cannot_be_written_says_which_run_it_cannot_put_back(lake, monkeypatch, capsys):
    one, two = lake.run_ids()
    lake.run_folder(one).rename(lake.staging_folder / f"replaced-{one}")

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refused)
    assert Lake.existing(lake.root).run_ids() == [two]
    assert f"run {one} lies in" in capsys.readouterr().err
    assert lake.clear_staging() == []


def test_a_query_beside_which_a_run_goes_is_asked_again(lake, monkeypatch):
    warehouse = Warehouse(lake)
    one, two = lake.run_ids()
    asked = []

    def ask(cursor, query, parameters):
        asked.append(query)
        if len(asked) == 1:
            shutil.rmtree(lake.run_folder(one))
            raise asking.duckdb.IOException(f'IO Error: Cannot open file "{lake.run_folder(one)}/completions.parquet": No such file or directory')
        return rows(cursor, query, parameters)

    rows = asking.rows
    monkeypatch.setattr(asking, "rows", ask)
    assert warehouse.select("select distinct run_id from completions")["run_id"].to_list() == [two]
    assert len(asked) == 2
    (lake.run_folder(two) / "completions.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(PersonascopeError, match=f"run {two}: completions.parquet is not readable; `personascope doctor`") as told:
        Warehouse(lake).select("select count(text) from completions")
    assert "delete" not in str(told.value)


def test_a_query_beside_which_runs_keep_coming_is_answered_of_the_runs_of_one_moment(lake, monkeypatch):
    asked: list[str] = []

    def ask(cursor, query, parameters):
        write(lake, f"later {len(asked)}")
        asked.append(query)
        return rows(cursor, query, parameters)

    rows = asking.rows
    monkeypatch.setattr(asking, "rows", ask)
    assert Warehouse(lake).select("select count(distinct run_id) from completions").item() == 3  # one came beside the first asking, none counts of the second
    assert len(asked) == 2


def test_the_old_side_of_a_finished_replacement_is_litter_and_not_held_in_trust(lake):
    one = lake.run_ids()[0]
    shutil.copytree(lake.run_folder(one), lake.staging_folder / f"replaced-{one}")
    assert lake.set_aside() == []
    assert Lake.open(lake.root).run_ids() == lake.run_ids() and not any(lake.staging_folder.iterdir())


def test_readers_beside_a_writer_that_replaces_and_deletes_see_whole_runs(lake):
    """Both tables of a run change together: a reader that joins them never meets one without the other."""
    over = threading.Event()

    def churn():
        while not over.is_set():
            write(lake, "one", force=True)
            lake.delete(write(lake, "passing"))

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        for _ in range(12):
            found = Warehouse(lake).select("select (select count(distinct run_id) from completions) = (select count(*) from runs), count(*) from runs").row(0)
            assert found[0] and found[1] in (2, 3), found
    finally:
        over.set()
        writer.join()


def test_what_dead_processes_left_in_the_making_goes_and_what_living_ones_make_stays(lake, monkeypatch):
    with scratch(lake.staging_folder) as making:
        dead = lake.staging_folder / making.name.replace(f"-{os.getpid()}-", "-99999999-")
        dead.mkdir()
        elsewhere = lake.staging_folder / f"{SCRATCH}another.host-1-abc"
        elsewhere.mkdir()
        old = [lake.root / ".warehouse-99999999.duckdb", lake.root / ".warehouse-99999999.duckdb.wal", lake.runs_folder / "_schema" / "schema.txt.99999999"]
        mine = lake.root / f".warehouse-{os.getpid()}.duckdb"
        for file in [*old, mine]:
            file.touch()
        Lake.existing(lake.root)
        assert making.is_dir() and elsewhere.is_dir() and mine.is_file()
        assert not dead.exists() and not any(file.exists() for file in old)
    assert not making.exists()
    os.utime(elsewhere, (0, 0))
    Lake.existing(lake.root)
    assert not elsewhere.exists()


def _of_another_version(lake: Lake) -> None:
    """The lake as an older version left it: without a table of today's, and with one column less in a table and in its rows."""
    schema = lake.runs_folder / "_schema"
    for table in ("completion_structure", "capability"):
        (schema / f"{table}.parquet").unlink()
    (schema / "schema.txt").write_text("{}")
    for run_id in lake.run_ids():
        manifest = lake.run_folder(run_id) / "run.json"
        document = json.loads(manifest.read_text())
        document["tables"]["completions"]["columns"].remove("finish_reason")
        manifest.write_text(json.dumps(document))
    for file in lake.runs_folder.glob("*/completions.parquet"):
        pl.read_parquet(file).drop("finish_reason").write_parquet(file)


@pytest.mark.parametrize("beside", [None, "completions-00.bak"])
def test_a_lake_of_another_version_that_cannot_be_written_is_read(lake, monkeypatch, beside):
    _of_another_version(lake)
    if beside:
        _copy(lake, beside)

    def refused(*_):
        raise PersonascopeError("lake: cannot be written (Read-only file system)")

    monkeypatch.setattr(Lake, "open", refused)
    warehouse = Warehouse(Lake.existing(lake.root))
    assert warehouse.select("select count(*), count(text), count(finish_reason) from completions").row(0) == (5, 5, 0)
    assert warehouse.select("select count(*) from completion_structure").item() == 2  # a roll-up is made up
    assert warehouse.select("select count(*) from capability").item() == 0
    assert dict(warehouse.columns("completions"))["finish_reason"] == "VARCHAR"
    assert warehouse.select("select count(*) from marker_rates").item() == 0


def test_a_run_that_cannot_be_removed_is_a_sentence_and_stays(lake, monkeypatch):
    def refused(*_):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(PersonascopeError, match=r"cannot be removed from .* \(Read-only file system\)"):
        lake.delete(lake.run_ids()[0])
    assert len(lake.run_ids()) == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        asking.duckdb.IOException("IO Error: No space left on device"),
        asking.duckdb.TransactionException("TransactionContext Error: Failed to commit: Could not write file: No space left on device"),
    ],
)
def test_a_full_disk_at_the_catalogue_costs_the_catalogue_alone_and_a_deletion_says_what_it_did(lake, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(catalogue, "_execute", full)
    one, two = lake.run_ids()
    found = CliRunner().invoke(app, ["runs", "delete", one, "--yes", "--lake", str(lake.root)])
    assert isinstance(found.exception, PersonascopeError) and found.stderr == f"deleted {one}\n"
    assert "warehouse.duckdb: cannot be written (the disk is full); what was committed is" in str(found.exception)
    assert lake.run_ids() == [two] and not any(lake.staging_folder.iterdir())


def test_a_damaged_run_can_be_deleted_by_its_full_name_and_a_link_loses_nothing_behind_it(lake, monkeypatch):
    _damaged(lake, "completions-torn")
    _link(lake, "completions-linked")
    for name in ("completions-torn", "completions-linked"):
        with pytest.raises(PersonascopeError, match="exactly one run"):
            lake.find_run(name[:-1])
        assert CliRunner().invoke(app, ["runs", "delete", name, "--yes", "--lake", str(lake.root)]).exit_code == 0
        assert not os.path.lexists(lake.run_folder(name))
    assert json.loads((lake.root / "elsewhere" / "completions-linked" / "run.json").read_text())["checkpoint"] == "one"


def test_a_folder_that_rests_is_listed_once_and_whatever_changes_in_it_is_seen(lake, monkeypatch):
    monkeypatch.setattr(committed, "RESTS", 0.0)
    lake.contents(), lake.names()
    listed: list[str] = []
    scandir = os.scandir

    def noted(place):
        listed.append(str(place))
        return scandir(place)

    with monkeypatch.context() as patch:
        patch.setattr("os.scandir", noted)
        assert lake.names() == lake.names() and str(lake.runs_folder) not in listed
    half = lake.run_folder("completions-half")
    steps = (
        lambda: write(lake, "three"),
        lambda: write(lake, "three", 4, force=True),
        lambda: lake.delete(write(lake, "comes and goes")),
        half.mkdir,
        (half / "completions.parquet").touch,  # a run that is being copied, file by file
    )
    seen = [lake.names()]
    for step in steps:
        time.sleep(0.02)  # the clock of file systems ticks in milliseconds
        step()
        seen.append(lake.names())
    lake.contents()
    assert all(before != after for before, after in itertools.pairwise(seen)) and lake.names() == seen[-1]
    time.sleep(0.02)
    (lake.run_folder(lake.run_ids()[0]) / "completions.parquet").unlink()
    assert lake.names() == seen[-1] and lake.is_changed(seen[-1])


def test_a_connection_with_views_kept_that_knew_a_table_to_be_empty_is_given_up_when_it_gets_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(committed, "RESTS", 0.0)
    lake, lakes = Lake.open(tmp_path), answering._Lakes()
    asked = {"lake": str(lake.root), "kept": sorted(SHARED), "from_behind": False}
    for n_rows in (0, 2, 5):
        if n_rows:
            write(lake, f"of {n_rows}", n_rows)
        warehouse = lakes.open(asked, Limits())
        assert warehouse.select("select count(*) from completions").item() == n_rows + (2 if n_rows == 5 else 0)
        assert lakes.open(asked, Limits()) is warehouse and ("completions" in warehouse._foundation.empty) == (not n_rows)


def test_a_run_that_stayed_as_it_was_is_not_looked_at_again(lake, monkeypatch):
    runs = lake.contents().runs
    met: list[str] = []
    look_at = committed._run_or_stray

    def noted(folder, *others):
        met.append(folder.name)
        return look_at(folder, *others)

    monkeypatch.setattr(committed, "_run_or_stray", noted)
    assert lake.contents().runs == runs and not met
    first = next(iter(runs))
    manifest = lake.run_folder(first) / "run.json"
    manifest.write_text(manifest.read_text().replace("{", "{ ", 1))
    assert lake.contents().runs == runs and met == [first]
    manifest.write_text("{")
    assert first not in lake.contents().runs and met == [first, first]
