"""Queries: one SELECT and nothing else reaches the lake, damage is named, the catalogue is replaced under open readers."""

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from personascope.warehouse.asking import catalogue
from personascope.warehouse.asking import query as asking
from personascope.warehouse.asking.doctor import examine
from personascope.warehouse.asking.guard import Limits
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import closure, views
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import notes
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.schema import tables

SHELL = Path(sys.executable).parent / "duckdb"


@pytest.fixture
def lake(tmp_path):
    lake = Lake.open(tmp_path / "a lake")
    commit(lake, 1)
    return lake


def commit(lake, number):
    writer = lake.start(RunSpec(kind="extract", extractor="attention", version=1, identity={"n": number}, checkpoint=f"c{number}", subject=f"c{number}"))
    writer.write_part("0", {"attention": [{"example_id": "a/q0", "sample_ix": 0, "position": 3, "layer": 0, "head": head, "system": 0.25} for head in (0, 1)]})
    return writer.commit().run_id


def test_a_view_that_is_kept_is_computed_when_first_needed_and_only_then(lake):
    run_id = commit(lake, 2)
    kept, question = Warehouse(lake, kept=("lake_state",)), "select * from lake_state order by all"
    assert kept.select("select count(*) from attention").item() == 4
    before = Warehouse(lake).select(question)
    assert before.height and kept.select(question).equals(before)
    lake.delete(run_id)
    assert kept.select(question).equals(before) and not Warehouse(lake).select(question).equals(before)


def test_damage_is_named_when_a_view_that_is_kept_is_computed(lake):
    (run_id,) = lake.run_ids()
    (lake.run_folder(run_id) / "runs.parquet").write_bytes(b"no Parquet file, but long enough to be taken for one")
    with pytest.raises(PersonascopeError, match=r"runs\.parquet is not readable"):
        Warehouse(lake, kept=("lake_state",)).select("select * from lake_state")


def test_select_answers_and_new_runs_are_seen_at_once(lake):
    warehouse = Warehouse(lake)
    assert warehouse.select("select count(*) as n from attention")["n"].to_list() == [2]
    commit(lake, 2)
    assert warehouse.select("select count(*) as n from attention where subject = $s", {"s": "c2"})["n"].to_list() == [2]


def test_small_tables_are_read_once_and_large_ones_where_they_are_asked(lake, monkeypatch):
    question = "select count(*) as n, any_value(c.checkpoint) as checkpoint from attention join runs as c using (run_id)"
    answers: list[list[dict]] = []
    for share, in_memory in ((asking.IN_MEMORY, {"attention", "runs"}), (Limits().bytes // 20_000, {"attention"}), (2 * Limits().bytes, set[str]())):
        monkeypatch.setattr(asking, "IN_MEMORY", share)
        warehouse = Warehouse(lake)
        answers.append(warehouse.select(question).to_dicts())
        assert {name for (name,) in warehouse._connection.sql("select table_name from duckdb_tables()").fetchall()} & {"attention", "runs"} == in_memory
        lasting = Warehouse(lake, kept=("lake_state",))._foundation  # many questions follow: what a manifest says takes less than its file
        assert ("runs" in lasting._small) == bool(in_memory)
    commit(lake, 2)
    assert answers == [[{"n": 2, "checkpoint": "c1"}]] * 3 and warehouse.select(question)["n"].item() == 4


def test_tables_are_created_when_they_are_named_and_a_mistyped_one_is_answered_with_the_nearest(lake):
    warehouse = Warehouse(lake)
    assert warehouse.select("select wilson_low(count(*), 4) > 0 as positive from attention").to_dicts() == [{"positive": True}]
    names = {name for (name,) in warehouse._connection.sql("select table_name from duckdb_tables()").fetchall()}
    assert "attention" in names and len(names & tables().keys()) < 5  # a column may bear the name of a table
    assert warehouse.select("select count(*) as n from query_table('marker_' || 'rates')")["n"].to_list() == [0]  # named by no word of the query
    with pytest.raises(PersonascopeError, match=r'Table with name attentoin does not exist!\s+Did you mean "attention"'):
        warehouse.select("from attentoin")


def test_columns_of_one_name_are_told_apart_and_a_mistake_is_one_sentence(planted_lake):
    warehouse = Warehouse(planted_lake.lake)
    assert warehouse.select("select 1 as a, $second as a", {"second": "two"}).to_dicts() == [{"a": 1, "a_1": "two"}]
    beyond = warehouse.select("select interval 1 day as a, 'infinity'::date as a, 2 as A, 3 as a_1")
    assert beyond.to_dicts() == [{"a": "1 day", "a_1": "infinity", "A_2": 2, "a_1_1": 3}]
    with pytest.raises(PersonascopeError, match=r'^the query failed: Parser Error: syntax error at or near "order"$'):
        warehouse.select("select from runs where order by")


@pytest.mark.parametrize(
    "query",
    [
        "copy (select 1) to 'x.csv'",
        "explain analyze copy (select 1) to 'x.csv'",
        "select 1; select 2",
        "attach 'other.duckdb'",
        "set threads = 1",
        "install httpfs",
        "create table t (a int)",
        "pragma database_list",
        "",
    ],
)
def test_anything_but_one_select_is_refused(lake, query):
    with pytest.raises(PersonascopeError, match="exactly one SELECT"):
        Warehouse(lake).select(query)


@pytest.mark.parametrize("query", ["select * from read_csv('/etc/passwd')", "select * from read_text('../secret')", "select * from glob('/*')"])
def test_other_files_are_out_of_reach(lake, query):
    with pytest.raises(PersonascopeError, match="the query failed: Permission"):
        Warehouse(lake).select(query)


def test_no_setting_can_be_changed_even_by_a_statement_that_got_through(lake):
    warehouse = Warehouse(lake)
    with pytest.raises(duckdb.InvalidInputException, match="configuration has been locked"):
        warehouse._connection.cursor().execute("set threads = 1")
    asked = "select current_setting('lock_configuration'), current_setting('enable_external_access')"
    assert warehouse._connection.cursor().execute(asked).fetchall() == [(True, False)]


def test_a_query_that_runs_too_long_is_stopped(lake):
    with pytest.raises(PersonascopeError, match=r"ran longer than 0.2 s"):
        Warehouse(lake, Limits(seconds=0.2)).select("select count(*) from range(100000000) a, range(100000) b where a.range % 7 = b.range % 5")


def test_a_damaged_file_is_named_and_found_by_the_doctor(lake):
    run_id = lake.run_ids()[0]
    path = lake.run_folder(run_id) / "attention.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PersonascopeError, match=f"run {run_id}: attention.parquet is not readable"):
        Warehouse(lake).select("select sum(system) from attention")
    errors = [finding for finding in examine(lake) if finding.level == "error"]
    assert any(finding.subject == run_id and "attention.parquet" in finding.message and run_id in finding.remedy for finding in errors)


def test_torn_bytes_that_duckdb_names_no_file_for_lead_to_the_doctor_who_does(lake):
    path = lake.run_folder(lake.run_ids()[0]) / "attention.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\x1f" * 8 + whole[12:])  # the header of the first page
    with pytest.raises(PersonascopeError, match=r"meets a file that is not readable \([^\n]+\); `personascope doctor` says which"):
        Warehouse(lake).select("from attention")
    assert any("attention.parquet" in finding.message for finding in examine(lake) if finding.level == "error")


def test_a_damaged_manifest_is_named_and_found_by_the_doctor(lake):
    run_id = lake.run_ids()[0]
    (lake.run_folder(run_id) / "run.json").write_text("{")
    with pytest.raises(PersonascopeError, match=f"run {run_id}: its manifest .* is damaged"):
        lake.manifest(run_id)
    assert any(finding.level == "error" and finding.subject == run_id for finding in examine(lake))


@pytest.mark.slow(5)
def test_the_doctor_finds_nothing_wrong_with_a_sound_lake_and_sees_leftovers(lake):
    assert {finding.level for finding in examine(lake)} == {"ok"}
    lake.start(RunSpec(kind="extract", extractor="attention", version=1, identity={"n": 9})).close()
    assert [finding.level for finding in examine(lake) if finding.subject.startswith("attention-")] == ["note"]
    assert len(lake.clear_staging()) == 1


@pytest.mark.slow(5)
def test_the_catalogue_opens_in_a_plain_shell_from_another_directory_and_is_replaced_under_readers(lake, monkeypatch):
    catalogue.build(lake)
    reader = duckdb.connect(str(lake.catalogue_path), read_only=True)
    monkeypatch.setattr(catalogue, "_FOOTERS_KEPT", "set parquet_metadata_cache = false")
    catalogue.build(lake)
    assert reader.execute("select count(*) from attention").fetchall() == [(2,)]
    answer = subprocess.run(
        [SHELL, "-csv", "-noheader", str(lake.catalogue_path), "select subject, sum(system) from attention group by 1"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == ["c1,0.5"]


@pytest.mark.slow(5)
def test_a_catalogue_that_was_copied_with_its_lake_is_told_as_one_of_another_place(lake, tmp_path):
    """Its views name files by their paths: a shell on the copy would answer of the lake that it was copied from."""

    def told(of: Lake) -> list[tuple[str, str]]:
        return [(finding.level, finding.message) for finding in examine(of) if finding.subject == "catalogue"]

    catalogue.build(lake)
    (tmp_path / "link").symlink_to(lake.root)
    assert told(lake) == [("ok", "warehouse.duckdb opens")] and told(Lake(tmp_path / "link"))[0][0] != "error"
    copied = Lake(shutil.copytree(lake.root, tmp_path / "it's [a copy]"))
    ((level, message),) = told(copied)
    assert level == "error" and f"reads the runs of another place ({lake.root})" in message
    catalogue.build(copied)
    assert told(copied) == [("ok", "warehouse.duckdb opens")]
    commit(copied, 3)
    copied.delete(copied.run_ids()[0])
    assert told(copied) == [("ok", "warehouse.duckdb opens")]
    notes.write(copied, copied.run_ids()[0], add=["kept"])
    assert told(copied) == [("note", "warehouse.duckdb is older than the lake or this version")]


def test_runs_written_under_other_columns_stay_readable(lake, monkeypatch):
    import pyarrow.parquet as pq

    run_id = commit(lake, 3)
    path = lake.run_folder(run_id) / "attention.parquet"
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["bos"]), path)
    manifest = lake.manifest(run_id)
    manifest.tables["attention"].columns.remove("bos")
    (lake.run_folder(run_id) / "run.json").write_text(manifest.model_dump_json())
    assert Warehouse(lake).select("select count(*) as n, count(bos) as b from attention").rows() == [(4, 0)]


@pytest.mark.slow(5)
def test_the_catalogue_is_written_anew_only_when_it_would_say_something_else(lake, monkeypatch):
    first = catalogue.build(lake).stat()
    assert catalogue.build(lake).stat().st_ino == first.st_ino
    lake.catalogue_path.write_bytes(b"damaged")
    catalogue.build(lake)
    assert duckdb.connect(str(lake.catalogue_path), read_only=True).sql("select count(*) > 0 from attention").fetchall() == [(True,)]
    second = lake.catalogue_path.stat()
    monkeypatch.setattr(catalogue, "_FOOTERS_KEPT", "set parquet_metadata_cache = false")
    assert catalogue.build(lake).stat().st_ino != second.st_ino


def test_a_question_creates_the_views_of_the_rooms_behind_it_alone(lake):
    warehouse = Warehouse(lake)
    warehouse.select("select count(*) from marker_rates")
    made = {name for (name,) in warehouse._connection.execute("select view_name from duckdb_views() where not internal").fetchall()}
    rooms = {views()[name].folder for name in closure({"marker_rates"})}
    assert {name for name in made if name in views()} == {name for name, view in views().items() if view.folder in rooms} and "audit" not in rooms


def test_a_view_that_is_named_in_a_comment_may_be_kept(lake):
    warehouse = Warehouse(lake, kept=["head_worths", "circuit_runs"])
    assert warehouse.select("-- of heads and head_worths\nselect count(*) as n from marker_rates").rows() == [(0,)]


def test_a_view_that_is_kept_is_a_table_of_the_same_columns(lake):
    connection = catalogue.connect(lake)
    catalogue.keep(connection, ["subject_pairs"])
    assert connection.sql("select table_name from duckdb_tables()").fetchall() == [("subject_pairs",)]
    assert connection.sql("select count(*) from diff_of_diffs").fetchall() == [(0,)]
    assert connection.sql("from subject_pairs").types == duckdb.connect(str(catalogue.build(lake)), read_only=True).sql("from subject_pairs").types


def test_a_table_is_not_read_since_the_path_of_another_s_files_holds_its_name(lake):
    warehouse = Warehouse(lake)
    warehouse.select("select count(*) from completions")
    assert "runs" in warehouse.lake.runs_folder.parts and "runs" not in warehouse._foundation.held and "completions" in warehouse._foundation.held
    assert warehouse.select("select count(*) from runs").item() == len(lake.run_ids())


def test_the_doctor_names_the_run_of_a_table_that_does_not_answer_wherever_the_table_stands(lake):
    names = [name for name in tables() if (lake.run_folder(lake.run_ids()[0]) / f"{name}.parquet").is_file()]
    for name in names:
        damaged = lake.run_folder(lake.run_ids()[0]) / f"{name}.parquet"
        whole = damaged.read_bytes()
        damaged.write_bytes(b"PAR1 torn")
        said = [finding.message for finding in examine(lake) if finding.subject == "views"]
        damaged.write_bytes(whole)
        assert len(said) == 1 and f"{name}.parquet is not readable" in said[0], (name, said)
    assert len(names) > 2 and [finding.level for finding in examine(lake) if finding.subject == "views"] == ["ok"]
