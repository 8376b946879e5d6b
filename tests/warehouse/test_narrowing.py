"""Questions bound to a run, a subject or a checkpoint open the files that can hold its rows, and answer as if they opened all."""

import json
import re

import duckdb
import pyarrow.parquet as pq
import pytest
from lakes import count, write

from personascope.warehouse.asking import narrowing
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import SHARED, views
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import MANIFEST, RunSpec

NOTHING = 1 << 60  # a share of the memory that holds no table
ROLLUP = "completion_structure"
ASKED = ("ruleouts", "gate_windows", "head_deltas", "attention_fractions", "attention_delta", "paired_deltas", "partition_error", "trajectory")


@pytest.fixture
def always(monkeypatch) -> None:
    """Every question is planned, and no table is in memory, of which no file would be opened."""
    monkeypatch.setattr(narrowing, "MANY", 0)
    monkeypatch.setattr("personascope.warehouse.asking.query.IN_MEMORY", NOTHING)


def files(warehouse: Warehouse, query: str, parameters: dict | None = None) -> dict[str, int]:
    """By table the number of files of runs that a question is left with, for the tables that are narrowed."""
    script = warehouse._narrowing.script(query, parameters)
    names = [re.match(r"(?:create temp view |set variable files_of_)(\w+)", text) for text in script]
    return {name[1]: text.count(".parquet") - text.count("_schema") for name, text in zip(names, script, strict=True) if name}


@pytest.mark.slow(10)
@pytest.mark.parametrize("name", ASKED)
def test_a_bound_question_answers_as_if_all_files_were_opened(planted_lake, always, monkeypatch, name):
    warehouse = Warehouse(planted_lake.lake, kept=SHARED)
    columns = [column for column, _ in warehouse.columns(name) if column in (*narrowing.BOUND, "trained_run", "base_run")]
    for column in columns:
        for (value,) in warehouse.select(f"select distinct {column} from {name} where {column} is not null order by 1 limit 1").rows():
            query, parameters = f"select * from {name} where {column} = $value order by all", {"value": value}
            narrow = warehouse.select(query, parameters)
            with monkeypatch.context() as patch:
                patch.setattr(narrowing, "MANY", 1 << 30)
                assert warehouse.select(query, parameters).equals(narrow) and narrow.height
    assert columns


@pytest.mark.slow(2)
def test_what_a_plan_binds_is_opened_and_nothing_else(tmp_path, always):
    lake = Lake.open(tmp_path)
    runs = [write(lake, f"c{number}", number + 1) for number in range(8)]
    warehouse = Warehouse(lake)
    bound = {
        "from completions where run_id = $x": (runs[2], 1),
        "from completions where checkpoint = $x": ("c3", 1),
        "from completions where checkpoint in ('c1', $x)": ("c3", 2),
        "from completions where checkpoint = 'nobody' or checkpoint = $x": ("c3", None),
        "from completions where checkpoint = $x and exists (from completions as o where o.text = completions.text)": ("c3", None),
        "from completions where checkpoint > $x": ("c3", None),
        "from completions where persona = $x": ("c3", None),
        "from (from completions where checkpoint = 'c1' union all from completions where checkpoint = $x)": ("c3", 2),
    }
    for query, (value, expected) in bound.items():
        found = files(warehouse, query, {"x": value})
        assert found == ({"completions": expected} if expected else {}), query
    assert warehouse.select("select count(*) from completions where checkpoint = $x", {"x": "c3"}).item() == 4
    assert warehouse.select("select count(*) from completions where run_id = 'not there'").item() == 0
    there = warehouse.select("select view_name as name from duckdb_views() where not internal union all select table_name from duckdb_tables()")["name"]
    assert count(lake) == 36 and "completions" in there.to_list()


def test_a_run_whose_rows_bear_another_name_than_its_manifest_is_opened(tmp_path, always):
    lake = Lake.open(tmp_path)
    for number in range(4):
        write(lake, f"c{number}")
    with lake.start(RunSpec(kind="ingest", extractor="published", version=1, identity={}, checkpoint="mine"), force=True) as writer:
        writer.write_part("rows", {"completions": [{"example_id": "a", "checkpoint": "b0"}, {"example_id": "b", "checkpoint": "theirs"}]})
        writer.commit()
    warehouse = Warehouse(lake)
    assert files(warehouse, "from completions where checkpoint = 'theirs'") == {"completions": 1}
    assert warehouse.select("select count(*) from completions where checkpoint = 'theirs'").item() == 1
    assert warehouse.select("select count(*) from completions where checkpoint = 'it''s'").item() == 0


def test_files_of_one_question_are_those_of_no_other(tmp_path, always):
    lake = Lake.open(tmp_path / "a [lake]?")
    for number in range(4):
        write(lake, f"c{number}", number + 1)
    warehouse = Warehouse(lake)
    bound = "select count(*) from completions where checkpoint = $x"
    assert [warehouse.select(bound, {"x": f"c{number}"}).item() for number in range(4)] == [1, 2, 3, 4]
    assert files(warehouse, bound, {"x": "c1"}) == {"completions": 1}
    assert warehouse.select("select count(*) from completions").item() == 10
    with pytest.raises(PersonascopeError, match="settings of the machine"):
        warehouse.select("select getvariable('files_of_completions')")


def test_files_of_another_version_and_roll_ups_that_are_made_up_answer_alike(tmp_path, always, monkeypatch):
    lake = Lake.open(tmp_path)
    runs = [write(lake, f"c{number}", number + 1) for number in range(4)]
    old = lake.run_folder(runs[3]) / "completions.parquet"
    pq.write_table(pq.read_table(old).drop_columns(["finish_reason"]), old)
    for run_id, change in ((runs[3], lambda tables: tables["completions"]["columns"].remove("finish_reason")), (runs[2], lambda tables: tables.pop(ROLLUP))):
        manifest = json.loads((lake.run_folder(run_id) / MANIFEST).read_text())
        change(manifest["tables"])
        (lake.run_folder(run_id) / MANIFEST).write_text(json.dumps(manifest))
    (lake.run_folder(runs[2]) / f"{ROLLUP}.parquet").unlink()
    warehouse = Warehouse(lake)
    for run_id in runs:
        for table in ("completions", ROLLUP):
            query = f"select * from {table} where run_id = $x order by all"
            narrow = warehouse.select(query, {"x": run_id})
            with monkeypatch.context() as patch:
                patch.setattr(narrowing, "MANY", 1 << 30)
                assert warehouse.select(query, {"x": run_id}).equals(narrow)
    assert warehouse.select("select count(*) from completions where run_id = $x", {"x": runs[3]}).item() == 4
    both = f"select (select count(*) from completions where run_id = $x) + (select count(*) from {ROLLUP} where run_id = $y)"
    assert warehouse.select(both, {"x": runs[0], "y": runs[2]}).item() == 2
    bound = f"select count(*) from {ROLLUP} where run_id = $y and checkpoint = $checkpoint"
    assert warehouse.select(bound, {"y": runs[2], "checkpoint": "c2"}).item() == 1
    named = f"select count(*) from {ROLLUP} where run_id = $y and not exists (from completions where false)"
    assert warehouse.select(named, {"y": runs[2]}).item() == 1
    assert files(warehouse, "from completions where run_id = $x", {"x": runs[3]}) == {"completions": 1}


def test_a_run_that_comes_later_is_read_too(tmp_path, always):
    lake = Lake.open(tmp_path)
    for number in range(4):
        write(lake, f"c{number}")
    warehouse = Warehouse(lake)
    query = "select count(*) from completions where checkpoint = 'c9'"
    assert warehouse.select(query).item() == 0
    write(lake, "c9")
    assert warehouse.select(query).item() == 2


def test_a_question_is_planned_under_the_same_lock(tmp_path, always):
    lake = Lake.open(tmp_path)
    write(lake, "c0")
    warehouse = Warehouse(lake)
    assert files(warehouse, "from completions where checkpoint = 'nobody'") == {"completions": 0}
    (planner,) = warehouse._narrowing._planners.values()
    for statement in ("from read_csv('/etc/passwd')", "set memory_limit = '9GB'", "set enable_external_access = true"):
        with pytest.raises(duckdb.Error, match=r"disabled|locked|cannot be|Cannot"):
            planner.execute(statement)
    with pytest.raises(PersonascopeError, match="the query failed"):
        warehouse.select("from read_csv('/etc/passwd')")


def test_no_plan_is_made_for_what_is_in_memory_or_in_few_files(tmp_path, monkeypatch):
    lake = Lake.open(tmp_path)
    for number in range(4):
        write(lake, f"c{number}")
    query = "select count(*) from completions where checkpoint = 'c1'"
    for many, share, planned in ((0, 64, False), (0, NOTHING, True), (12, NOTHING, False)):
        monkeypatch.setattr(narrowing, "MANY", many)
        monkeypatch.setattr("personascope.warehouse.asking.query.IN_MEMORY", share)
        warehouse = Warehouse(lake)
        assert warehouse.select(query).item() == 2
        assert bool(warehouse._narrowing._planners) == planned, (many, share)


def test_what_hangs_on_tables_that_no_run_holds_is_not_read(planted_lake, monkeypatch):
    lake = planted_lake.lake
    monkeypatch.setattr("personascope.warehouse.asking.query.IN_MEMORY", NOTHING)
    warehouse = Warehouse(lake)
    assert "published_deltas" in warehouse._foundation.empty
    assert warehouse.select("select count(*) from attention_delta").item()
    cursor = warehouse._connection.cursor()
    (_, plan), *_ = cursor.execute("explain (format json) from attention_delta where run_id = 'x' and layer = 1").fetchall()
    assert plan.count('"READ_PARQUET ') + plan.count('"name": "READ_PARQUET') == 1 and "EMPTY_RESULT" in plan
    for name, times in (("paired_deltas", 1), ("diff_of_diffs_summary", 2)):
        scans = warehouse._narrowing._scans(f"from {name} where trained_run = 'x' and base_run = 'y'", None) or {}
        assert [scan["run_id"] for scan in scans["attention_contrasts"]] == times * [{"x"}, {"y"}]


def test_what_is_named_and_not_scanned_opens_no_file(planted_lake, always):
    warehouse = Warehouse(planted_lake.lake)
    run_id = warehouse.select("select min(run_id) from attention_contrasts").item()
    found = files(warehouse, "from attention_delta where run_id = $run", {"run": run_id})
    assert found["completions"] == found["positions"] == 0 and found["attention_contrasts"] == 1  # published rows alone are joined to completions
    in_rows = "from (unpivot (select layer, delta from attention_delta where run_id = $run) on delta into name what value number)"
    assert files(warehouse, in_rows, {"run": run_id})["attention_contrasts"] == 1
    asked = "from (pivot (from completions) on finish_reason using count(*) group by persona)"
    assert files(warehouse, asked) == {} and warehouse.select(asked).height == warehouse.select("select count(distinct persona) from completions").item()


@pytest.mark.slow(10)
def test_every_view_can_be_planned(planted_lake, always):
    """The plan of a filter of several terms has them in a list, that of one has it by itself."""
    warehouse = Warehouse(planted_lake.lake, kept=SHARED)
    unplanned = [name for name in views() if name != "audit" and warehouse._narrowing._scans(f"from {name}", None, frozenset(SHARED)) is None]
    assert not unplanned


@pytest.mark.slow(2)
@pytest.mark.parametrize("view", ["partition_error", "trajectory"])
def test_a_filter_that_stands_above_a_scan_binds_it_too(planted_lake, always, view):
    warehouse = Warehouse(planted_lake.lake)
    run_id = warehouse.select(f"select min(run_id) from {view} where origin = 'extracted'").item()
    found = files(warehouse, f"from {view} where run_id = $run", {"run": run_id})
    assert found["attention_mean"] == found["positions"] == 1


@pytest.mark.parametrize(
    ("expression", "terms"),
    [
        ("(run_id = 'a b')", ["(run_id = 'a b')"]),
        ("((n > 3) AND (run_id IN ('a', 'b')) AND (persona = 'c'))", ["(run_id IN ('a', 'b'))", "(persona = 'c')"]),
        ("((persona = 'c') OR (run_id = 'a'))", []),
        ("(((persona = 'c') AND (run_id = 'a')) OR (n = 4))", []),
        ("(NOT (run_id = 'a'))", []),
        ("((text = ' AND ') AND (run_id = 'a'))", ["(run_id = 'a')"]),
        ("(text = 'it''s (run_id = ''b'')')", []),
    ],
)
def test_terms_of_a_filter_are_those_that_all_have_to_hold(expression, terms):
    assert narrowing._terms(expression) == terms


def test_a_plan_knows_how_many_rows_there_are(planted_lake, monkeypatch):
    monkeypatch.setattr("personascope.warehouse.asking.query.IN_MEMORY", NOTHING)
    warehouse = Warehouse(planted_lake.lake)
    there = warehouse.select("select count(*) from attention_mean").item()
    (_, plan), *_ = warehouse._connection.cursor().execute("explain (format json) from attention_mean").fetchall()
    (estimate,) = {int(each) for each in re.findall(r'"Estimated Cardinality": "(\d+)"', plan)}
    assert there / 10 < estimate < there * 10


def test_files_are_found_by_value_range_and_want_of_statistics():
    of = {
        "one": (("a", "a"), ("c", "c")),
        "wide": (("a", "b"), ("x", "z")),
        "untold": None,
        "empty": (),
        "mixed": (("a", "a"), ("k", "m")),
    }
    reach = narrowing._Reach(of)
    asked = {"a": {"one", "wide", "mixed"}, "b": {"wide"}, "c": {"one"}, "l": {"mixed"}, "y": {"wide"}, "0": set()}
    assert {value: reach.those({value}) - {"untold"} for value in asked} == asked
    assert reach.those({"b", "c"}) == {"one", "wide", "untold"} and reach.those(set()) == {"untold"}
