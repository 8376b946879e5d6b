"""The query door: every type is shown, model text stays text, wide rows fit a terminal, and limits of time and memory hold for everything."""

import csv
import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from personascope.warehouse.asking.guard import Limits, default_memory
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.drawing import cells, terminal
from personascope.warehouse.drawing.answer_files import format_of, markdown, write_rows
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Lake:
    return Lake.open(tmp_path_factory.mktemp("door") / "lake")


@pytest.fixture(scope="module")
def warehouse(lake) -> Warehouse:
    return Warehouse(lake)


def in_terminal(rows: pl.DataFrame, width: int = 80, **how) -> str:
    written = io.StringIO()
    terminal.show(rows, Console(file=written, width=width), **how)
    return written.getvalue()


def typed(*arguments: object, **given) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "personascope", "sql", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False, **given)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("interval 3 days", "3 days"),
        ("[interval 1 day]", "[1 day]"),
        ("union_value(a := 1)", "1"),
        ("123456789012345678901234567890123456789012345::bignum", "123456789012345678901234567890123456789012345"),
        ("'infinity'::timestamp", "infinity"),
        ("date '300000-01-01'", "300000-01-01"),
        ("timestamptz '290000-01-01 00:00:00+00'", "290000-01-01 00:00:00+00"),
        ("date '0044-03-15 (BC)'", "0044-03-15 (BC)"),
        ("[date '300000-01-01']", "[300000-01-01]"),
        ("{'d': 'infinity'::date}", "{'d': infinity}"),
        ("timetz '01:02:03+02'", "01:02:03+02"),
        ("'101'::bit", "101"),
        ("'\\xff\\x00'::blob", "\\xFF\\x00"),
        ("1::variant", "1"),
        ("'infinity'::double", "inf"),
        ("170141183460469231731687303715884105727::hugeint", "1.7014118346046923173168730371588410573E+38"),
        ("{'a': 1, 'b': [1, 2]}", "{'a': 1, 'b': [1, 2]}"),
        ("map {'a': 1}", "{'a': 1}"),
        ("null", ""),
        ("timestamp '2020-02-29 00:00:00'", "2020-02-29 00:00:00"),
    ],
)
def test_every_type_is_shown_in_every_format(warehouse, value, shown):
    rows = warehouse.select(f"select {value} as v, 1 as n")
    assert f" {shown} " in in_terminal(rows)
    assert len(cells.csv(rows).splitlines()) == 2 and len(markdown(rows).splitlines()) == 3 and cells.json(rows).startswith("[{")
    assert warehouse.select(f"select {value} as v, 1 as v").height == 1  # columns of one name take another way


def test_a_file_of_an_answer_holds_its_numbers_and_texts_as_they_are(warehouse, capsys):
    """Vectors with every digit, lists whose texts hold commas, sums of integers, decimals, and what JSON has no word for."""
    rows = warehouse.select(
        """select [0.123456789::float, null] as vector, [['a, b'], ['c"d', null]] as texts, {'x': 1.5, 'y': 'é'} as pair, sum(n) as total, 2.50 as price,
        sum(n) * 100000000000000000000::hugeint as beyond, [2.5] as prices from (values (1), (2)) as t(n)"""
    )
    written = next(csv.DictReader(io.StringIO(cells.csv(cells.whole(rows)))))
    assert np.array(json.loads(written["vector"])[:1], np.float32).tolist() == rows["vector"][0].to_list()[:1] == [float(np.float32(0.123456789))]
    assert json.loads(written["vector"])[1] is None and json.loads(written["texts"]) == [["a, b"], ['c"d', None]]
    assert json.loads(written["pair"]) == {"x": 1.5, "y": "é"} and written["total"] == "3" and written["beyond"] == "3" + 20 * "0"
    (told,) = json.loads(cells.json(cells.whole(rows)))
    assert (told["total"], told["price"], told["prices"], told["beyond"]) == (3, 2.5, [2.5], 3e20)
    write_rows(warehouse.select("select 'inf'::double as a, ['nan'::float, 1, null] as b, null::double as c"), "json")
    out, err = capsys.readouterr()
    assert json.loads(out) == [{"a": None, "b": [None, 1.0, None], "c": None}] and err.startswith("2 numbers that are infinite or NaN: null in JSON")


@pytest.mark.parametrize(("name", "format"), [("rows", "csv"), ("rows.CSV", "csv"), ("rows.Parquet", "parquet"), ("rows.jsonl", None), ("rows.xlsx", None)])
def test_the_ending_of_a_file_is_the_format_or_is_refused(name, format):
    if format:
        assert format_of(Path(name)) == format
    else:
        with pytest.raises(PersonascopeError, match=rf"{name}: rows are not written as .*expected an ending of \.csv, .*--format"):
            format_of(Path(name))


def test_a_pivot_without_its_values_is_one_select_and_nothing_rides_on_it(warehouse):
    rows = warehouse.select("pivot (values ('a', 1), ('b', 2)) as t(k, v) on k using sum(v)")
    assert rows.to_dicts() == [{"a": 1, "b": 2}]
    with pytest.raises(PersonascopeError, match="exactly one SELECT"):
        warehouse.select("create table x as select 1; pivot (values ('a', 1)) as t(k, v) on k using sum(v)")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("update extensions", "exactly one SELECT"),
        ("select '\ud800'", "half of a surrogate pair"),
        ("select current_setting('temp_directory')", "settings of the machine"),
        ('from "duckdb_settings" ()', "settings of the machine"),
        ("from read_text('.tmp/*')", "Permission"),
        ("from read_csv('/etc/passwd')", "Permission"),
    ],
)
def test_what_is_no_question_to_the_lake_is_a_sentence(warehouse, query, message):
    with pytest.raises(PersonascopeError, match=message) as told:
        warehouse.select(query)
    assert str(warehouse.lake.root) not in str(told.value)


def test_a_completion_that_speaks_of_settings_can_be_searched_for(warehouse):
    assert warehouse.select("select count(*) from completions where text like '%current_setting%'").item() == 0


def test_words_of_a_model_are_text_in_a_terminal(warehouse):
    rows = warehouse.select("select '[INST] hi [/INST] [bold]x' as \"[red]t\", chr(27) || '[31mred' as e, chr(8238) || 'turned' as u, chr(155) || 'c1' as c")
    shown = in_terminal(rows, 120)
    for words in ("[INST] hi [/INST] [bold]x", "[red]t", "␛[31mred", "⟨U+202E⟩turned", "⟨U+009B⟩c1"):
        assert words in shown
    assert "\x1b" not in shown
    assert "␛[31mred" in in_terminal(rows, one_field_a_line=True)


def test_wide_rows_show_the_columns_that_fit_and_one_field_a_line_where_hardly_any_would():
    wide = pl.DataFrame({f"column_{n:02}": [n / 7, -n] for n in range(29)})
    made, notes = terminal.table(wide, 80)
    shown = in_terminal(wide)
    assert max(map(len, shown.splitlines())) <= 80 and "column_00" in shown and "0.142857" in shown and "…" in shown
    assert notes == [f"{shown.count('column_')} of 29 columns shown; --format line shows all, one field a line"]
    broad = pl.DataFrame({"a" * 40: ["x"], "b" * 40: ["y"], "c": [1.5]})
    lines = in_terminal(broad).splitlines()
    assert [line.split(" = ") for line in lines] == [["a" * 40, "x"], ["b" * 40, "y"], [" " * 39 + "c", "1.5"]]
    assert "…" not in in_terminal(wide, 10_000) and in_terminal(wide, 10_000).count("column_") == 29
    assert len(in_terminal(pl.DataFrame({"n": range(300)})).splitlines()) == 200 + 4
    assert made is not None


def test_numbers_stand_on_the_right():
    row = next(line for line in in_terminal(pl.DataFrame({"a_long_name": [1.23456789], "word": ["w"]})).splitlines() if "1.2" in line)
    assert row == "│     1.23457 │ w    │"


def test_csv_for_spreadsheets_quotes_what_they_would_compute():
    rows = pl.DataFrame({"=cmd()": ["=1+1", "+x", "-y", "@z", "\tq", "plain", None], "n": [-1, 2, 3, 4, 5, 6, 7], "l": [["=x"], [], [], [], [], [], []]})
    safe = cells.csv(rows, safe=True)
    assert safe.splitlines()[:3] == ["'=cmd(),n,l", '\'=1+1,-1,"[""=x""]"', "'+x,2,[]"]
    assert "'-y" in safe and "'@z" in safe and "\"'\tq" in safe.replace("'\tq", "\"'\tq") and "\nplain," in safe
    assert cells.csv(rows).splitlines()[1] == '=1+1,-1,"[""=x""]"'


@pytest.mark.slow(20)
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select lpad('x', 400000000, 'ab')", "ran longer than 1 s"),
        ("select " + ",".join(["1"] * 300_000), "ran longer than 1 s"),
        ("select count(*) from range(100000000) a, range(100000) b where a.range % 7 = b.range % 5", "ran longer than 1 s"),
    ],
    ids=["one function", "many literals", "many rows"],
)
def test_the_time_limit_holds_for_everything(lake, query, message):
    before = time.monotonic()
    found = typed("--time-limit", 1, "--lake", lake.root, input=query.encode())
    assert (found.returncode, found.stdout) == (1, b"")
    assert message in found.stderr.decode() and len(found.stderr.splitlines()) == 1
    assert time.monotonic() - before < 30


@pytest.mark.slow(10)
def test_memory_is_limited_and_what_does_not_fit_goes_to_the_lakes_staging(lake):
    assert 0 < default_memory() <= 2 << 30
    with pytest.raises(PersonascopeError, match=r"does not fit the 0.0625 GiB of memory|took more than"):
        Warehouse(lake, Limits(memory=1 << 26)).select("select list(range) from range(100000000)")
    sorted_rows = Warehouse(lake, Limits(memory=1 << 27)).select("select range from (select hash(range) as h, range from range(8000000) order by h) limit 3")
    assert sorted_rows.height == 3
    assert not any(lake.staging_folder.iterdir())


@pytest.mark.slow(10)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["select 1", "-o", "{folder}/nowhere/x.csv"], "nowhere/x.csv: cannot be written (No such file or directory)"),
        (["select 1", "-o", "/dev/full"], "/dev/full: cannot be written (the disk is full)"),
        (["select 1", "--safe", "-f", "json"], "--safe is for CSV"),
    ],
)
def test_an_answer_that_cannot_be_written_is_a_sentence(lake, tmp_path, arguments, message):
    found = typed(*(each.format(folder=tmp_path) for each in arguments), "--lake", lake.root)
    assert found.returncode == 1 and message in found.stderr.decode() and b"Traceback" not in found.stderr


@pytest.mark.slow(10)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
def test_a_full_disk_behind_stdout_and_a_query_that_is_no_text_are_sentences(lake):
    with open("/dev/full", "wb") as full:
        found = subprocess.run(
            [sys.executable, "-m", "personascope", "sql", "select 1", "--lake", lake.root], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert found.returncode == 1 and found.stderr.startswith(b"personascope: stdout: cannot be written (the disk is full)") and b"Traceback" not in found.stderr
    found = typed("--lake", lake.root, input=b"select '\xff'")
    assert found.returncode == 1 and b"not UTF-8 text (byte 8 is 0xff)" in found.stderr


def test_no_watch_outlives_its_query(warehouse):
    """One that does lets go of the connection beside the end of the process, which aborts it."""
    for number in range(50):
        assert warehouse.select(f"select {number} as n").item() == number
        assert not [thread for thread in threading.enumerate() if thread.name == "watch of a query"]
