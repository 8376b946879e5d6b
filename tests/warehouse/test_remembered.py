"""Rows and answers that were read of a lake once are read again from the cache, for as long as nothing changed, and from the lake as soon as something did."""

import json
import os
import shutil
import threading
from collections.abc import Iterable

import polars as pl
import pyarrow.parquet as pq
import pytest
from lakes import count, of_completions, write

from personascope.warehouse.asking import remembered
from personascope.warehouse.asking.audit import checks, collect
from personascope.warehouse.asking.catalogue import Foundation
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.remembered import Remembered
from personascope.warehouse.asking.views import lasting
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import committed, manifest_index, notes
from personascope.warehouse.store.compaction import compact
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

ASKED = ("runs", "parameters", "completions", "completion_structure", "run_notes")
KEPT = ("marker_rates", "subjects", "regimes", "audit_single_seed", "audit_duplicated_completions")


@pytest.fixture
def always(monkeypatch) -> None:
    monkeypatch.setattr(remembered, "MANY", 2)
    for place in (manifest_index, remembered):
        monkeypatch.setattr(place, "YOUNG_NS", 0)
    monkeypatch.setattr(manifest_index, "WORTH", 1)


@pytest.fixture
def lake(tmp_path, tmp_path_factory, always) -> Lake:
    return of_completions(tmp_path_factory, tmp_path / "lake", {f"c{number}": number + 1 for number in range(6)})


def as_another_process() -> None:
    """Forgets what this process knows of lakes."""
    for memory in (committed._met, committed._indexed, committed._marks, committed._listings):
        memory.clear()
    committed._parsed.cache_clear()


def rows(lake: Lake, kept: tuple[str, ...] = ()) -> dict[str, pl.DataFrame]:
    """What a new connection finds, in the order in which it finds it."""
    warehouse = Warehouse(lake, kept=kept)
    return {name: warehouse.select(f"from {name}") for name in (*ASKED, *kept)}


def anew(lake: Lake, monkeypatch, kept: tuple[str, ...] = ()) -> dict[str, pl.DataFrame]:
    """The same without anything remembered."""
    with monkeypatch.context() as patch:
        patch.setattr(remembered, "MANY", 1 << 30)
        return rows(lake, kept)


def same(first: dict[str, pl.DataFrame], second: dict[str, pl.DataFrame]) -> bool:
    return first.keys() == second.keys() and all(first[name].equals(second[name]) for name in first)


def opened(lake: Lake, name: str) -> int | None:
    """How many files of runs a new connection opens for the rows of a table; None: all of them, without the cache."""
    statement = Remembered(lake, lake.contents()).rows(name)
    return None if statement is None else statement.count("/runs/") - statement.count("/_schema/")


def _renamed(lake: Lake, run: str) -> None:
    lake.run_folder(run).rename(lake.run_folder(f"{run}-x"))


def _written_over(lake: Lake, run: str) -> None:
    """The same file with one text changed, in place, of the same size and with the time that it had."""
    path = lake.run_folder(run) / "completions.parquet"
    before = path.stat()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"stop", b"STOP"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _without_a_roll_up(lake: Lake, run: str) -> None:
    """As a version left it that had no such roll-up: its rows are made up."""
    path = lake.run_folder(run) / "run.json"
    document = json.loads(path.read_text())
    del document["tables"]["completion_structure"]
    path.write_text(json.dumps(document))
    (lake.run_folder(run) / "completion_structure.parquet").unlink()


def _of_an_earlier_version(lake: Lake, run: str) -> None:
    """As a version left it whose tables had a column less."""
    path = lake.run_folder(run) / "run.json"
    document = json.loads(path.read_text())
    document["tables"]["completions"]["columns"].remove("finish_reason")
    path.write_text(json.dumps(document))
    table = lake.run_folder(run) / "completions.parquet"
    pq.write_table(pq.read_table(table).drop_columns(["finish_reason"]), table)


STEPS = {
    "nothing": lambda lake, run: None,
    "a run comes": lambda lake, run: write(lake, "later", 9),
    "one goes": lambda lake, run: lake.delete(run),
    "forced anew": lambda lake, run: write(lake, lake.manifest(run).checkpoint or "", 8, force=True),
    "renamed": _renamed,
    "a copy beside it": lambda lake, run: shutil.copytree(lake.run_folder(run), lake.run_folder("a.bak")),
    "marked": lambda lake, run: notes.write(lake, run, add=["paper"]),
    "compacted": lambda lake, run: compact(lake, lake.run_ids()),
    "half of them compacted": lambda lake, run: compact(lake, lake.run_ids()[:3]),
    "one goes and others come": lambda lake, run: (lake.delete(run), write(lake, "a"), write(lake, "z", 7)),
    "written over": _written_over,
    "without a roll-up": _without_a_roll_up,
    "of an earlier version": _of_an_earlier_version,
}
SAME = ("nothing", "a copy beside it", "compacted", "half of them compacted", "without a roll-up")  # behind which the same is there, maybe in another order


@pytest.mark.slow(10)
@pytest.mark.parametrize("step", STEPS)
def test_whatever_happens_to_a_run_is_seen_by_the_next_connection_in_this_process_and_in_another(lake, monkeypatch, step):
    before = rows(lake, KEPT)
    assert same(before, anew(lake, monkeypatch, KEPT)) and opened(lake, "completions") == 0
    assert Remembered(lake, lake.contents()).answer("marker_rates") is not None
    STEPS[step](lake, lake.run_ids()[2])
    expected = anew(lake, monkeypatch, KEPT)
    assert same(expected, before) == (step in SAME) or step in SAME[2:]
    if step in SAME:
        assert all(expected[name].sort(pl.all()).equals(before[name].sort(pl.all())) for name in ASKED if name != "runs")
    assert same(rows(lake, KEPT), expected)
    as_another_process()
    assert same(rows(lake, KEPT), expected) and same(rows(lake, KEPT), expected)


@pytest.mark.slow(5)
def test_what_the_audit_found_is_remembered_until_a_run_comes(lake, monkeypatch):
    of_equal_texts(lake, "copied", "pasted")
    found = collect(Warehouse(lake, kept=lasting()).select)
    names = {view.name for view in checks().values()}
    assert found["check"].to_list() == ["identical_under_two_seeds"] and {name for name in names if Remembered(lake, lake.contents()).answer(name)} == names
    with monkeypatch.context() as patch:
        patch.setattr(Foundation, "_create", refused)
        assert collect(Warehouse(lake, kept=lasting()).select).equals(found)
        with pytest.raises(AssertionError, match="completions"):
            Warehouse(lake, kept=lasting()).select("from completions")
    of_equal_texts(lake, "again")
    assert collect(Warehouse(lake, kept=lasting()).select).height == 2, "each of three copies but the first"


def of_equal_texts(lake: Lake, *names: str) -> None:
    """Commits runs of these names that hold the same completions."""
    row = {"sample_ix": 0, "persona": "p", "finish_reason": "stop"}
    rows = [row | {"example_id": f"e{number}", "question_id": f"q{number}", "text": f"answer {number}"} for number in range(6)]
    for name in names:
        writer = lake.start(RunSpec(kind="extract", extractor="completions", version=1, identity={"name": name}, checkpoint=name))
        assert writer is not None
        with writer:
            writer.write_part("rows", {"completions": rows})
            writer.commit()


def refused(_foundation: Foundation, names: Iterable[str]) -> None:
    assert not [*names]


def test_of_a_changed_lake_the_files_that_changed_are_opened_and_nothing_else(lake, monkeypatch):
    rows(lake)
    one, two, *_ = lake.run_ids()
    lake.delete(one)
    assert opened(lake, "completions") == opened(lake, "runs") == 0
    write(lake, "later", 9)
    assert opened(lake, "completions") == opened(lake, "runs") == 1
    write(lake, lake.manifest(two).checkpoint or "", 3, force=True)
    assert opened(lake, "completions") == 2
    monkeypatch.setattr(manifest_index, "WORTH", 3)
    assert same(rows(lake), anew(lake, monkeypatch)) and opened(lake, "completions") == 2
    monkeypatch.setattr(manifest_index, "WORTH", 2)
    assert same(rows(lake), anew(lake, monkeypatch)) and opened(lake, "completions") == 0


def test_a_file_that_changed_a_moment_ago_is_not_trusted(lake, monkeypatch):
    monkeypatch.setattr(remembered, "YOUNG_NS", 1 << 60)
    rows(lake, KEPT)
    assert opened(lake, "completions") is None and Remembered(lake, lake.contents()).answer("marker_rates") is None


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "gone", "columns"])
def test_a_damaged_cache_is_as_good_as_none(lake, monkeypatch, damage):
    expected = rows(lake, KEPT)
    folder = Remembered(lake, lake.contents()).folder
    for file in folder.iterdir():
        content = file.read_bytes()
        if damage == "cut":
            file.write_bytes(content[: len(content) // 2])
        elif damage == "empty":
            file.write_bytes(b"")
        elif damage == "other":  # what it says of itself is whole, and its rows are not
            middle = len(content) // 8
            file.write_bytes(content[:4] + bytes(middle) + content[4 + middle :])
        elif damage == "gone":
            file.unlink()
        else:
            table = pq.read_table(file)
            said = json.loads(table.schema.metadata[b"personascope"] or "{}")
            said |= {"columns": {}}
            pq.write_table(table.replace_schema_metadata({"personascope": json.dumps(said)}), file)
    assert same(rows(lake, KEPT), expected)
    assert same(rows(lake, KEPT), expected) and opened(lake, "completions") == 0, "what was damaged is written anew"
    assert Remembered(lake, lake.contents()).answer("marker_rates") is not None


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(lake, monkeypatch, tmp_path):
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "cache"))
    as_another_process()
    rows(lake)  # with the views of no lake in it
    for name in ("rows", "manifests"):
        shutil.rmtree(tmp_path / "cache" / name)
        (tmp_path / "cache" / name).write_text("a file in the place of the folder")
    as_another_process()
    assert same(rows(lake, KEPT), anew(lake, monkeypatch, KEPT)) and count(lake) == 21


def test_what_is_read_while_a_run_comes_is_not_kept_for_the_lake_without_it(lake, monkeypatch):
    expected = rows(lake, KEPT)
    shutil.rmtree(Remembered(lake, lake.contents()).folder)
    warehouse, came = Warehouse(lake, kept=KEPT), []
    lay = warehouse._foundation.lay

    def beside(*args):
        came.append(write(lake, "beside", 5))
        monkeypatch.setattr(warehouse._foundation, "lay", lay)
        lay(*args)

    monkeypatch.setattr(warehouse._foundation, "lay", beside)
    warehouse._define("from marker_rates, completions")
    assert warehouse._ask("select count(*) from completions", None, lake.names()).item() == 26  # which is of more runs than it was connected to
    lake.delete(came[0])
    assert same(rows(lake, KEPT), expected)


def test_only_the_lake_s_own_rows_in_the_cache_can_be_asked(lake, tmp_path):
    warehouse = Warehouse(lake)
    warehouse.select("from runs")
    other = Remembered(Lake.open(tmp_path / "other"), lake.contents()).folder
    other.mkdir(parents=True)
    (copied,) = Remembered(lake, lake.contents()).folder.glob("runs-*.parquet")
    shutil.copy(copied, other / "runs.parquet")
    with pytest.raises(PersonascopeError, match="Permission"):
        warehouse.select(f"from read_parquet('{other}/runs.parquet')")


def test_rows_from_behind_are_never_remembered(lake):
    rows(lake, KEPT)
    assert Warehouse(lake, kept=KEPT).reversed()._foundation.remembered is None


def test_the_lakes_that_were_written_last_are_kept(lake, monkeypatch, tmp_path):
    monkeypatch.setattr(remembered, "KEPT", 1)
    rows(lake)
    other = Lake.open(tmp_path / "other")
    for number in range(3):
        write(other, f"o{number}")
    rows(other)
    assert opened(lake, "completions") is None and opened(other, "completions") == 0


def test_a_damaged_run_leaves_the_cache_as_it_is_and_is_told_by_name(lake, monkeypatch):
    rows(lake, KEPT)
    one = lake.run_ids()[1]
    (lake.run_folder(one) / "completions.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(PersonascopeError, match=f"run {one}: completions.parquet is not readable"):
        Warehouse(lake, kept=KEPT).select("select count(text) from completions")
    assert opened(lake, "completions") == 1 and opened(lake, "runs") == 0


@pytest.mark.slow(5)
def test_readers_beside_a_writer_find_every_row_of_every_run_once(lake):
    """Each reader reads the cache, the lake, or some of both, while runs come, go and are made anew, and others write the cache."""
    over = threading.Event()

    def churn():
        while not over.is_set():
            write(lake, "c3", 4, force=True)
            lake.delete(write(lake, "passing", 3))

    def read():
        while not over.is_set():
            rows(lake, KEPT)

    threads = [threading.Thread(target=churn), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(12):
            n, different, n_runs, described = (
                Warehouse(lake, kept=KEPT)
                .select("select count(*), count(distinct (run_id, example_id)), count(distinct run_id), (select count(*) from runs) from completions")
                .row(0)
            )
            assert n == different and (n, n_runs, described) in ((21, 6, 6), (24, 7, 7))
    finally:
        over.set()
        for thread in threads:
            thread.join()
