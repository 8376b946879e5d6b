"""The macros that look at a whole family of numbers, average ranks and false discovery rates, against scipy: in Python's engine and in a plain DuckDB shell."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

MACROS = [Path(__file__).parents[2] / "sql" / "macros" / f"{name}.sql" for name in ("ranks", "false_discovery")]
SHELL = shutil.which("duckdb", path=str(Path(sys.executable).parent)) or shutil.which("duckdb")
QUERY = """
with bounded as (
  select *, average_rank(p, {'family': family}) as place, fdr_bound(p, {'family': family}) as bound from tests
)
select number, place, fdr_adjusted(p, bound, {'family': family}) as adjusted from bounded order by number
"""
# Families by name: ties, NULLs, all equal, one row, nothing but NULL, ends of the range, an order that is no order of p.
FAMILIES: dict[str, list[float | None]] = {
    "ties": [0.04, 0.01, 0.04, 0.04, 0.5, 0.01, 0.9],
    "missing": [0.2, None, 0.01, None, 0.03, 0.2],
    "equal": [0.03, 0.03, 0.03],
    "one": [0.6],
    "nothing": [None, None],
    "ends": [0.0, 1.0, 1.0, 0.0, 5e-324, 1e-300],
    "rising": [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216, 0.222, 0.251, 0.269, 0.275, 0.34, 0.341, 0.384, 0.569, 0.594, 0.696],
}


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as connection:
        for file in MACROS:
            connection.execute(file.read_text())
        yield connection


def rows_of(families: dict[str, list[float | None]]) -> Sequence[tuple[int, str, float | None]]:
    """(number, family, p) of every member, families interleaved."""
    longest = max(map(len, families.values()))
    members = [(family, p[place]) for place in range(longest) for family, p in families.items() if place < len(p)]
    return [(number, family, p) for number, (family, p) in enumerate(members)]


def by_scipy(rows: Sequence[tuple[int, str, float | None]]) -> list[tuple[int, float | None, float | None]]:
    """Place and adjusted p of every row, each family by itself and without its NULLs."""
    expected: dict[int, tuple[float, float]] = {}
    for family in {family for _, family, _ in rows}:
        there = [(number, p) for number, name, p in rows if name == family and p is not None]
        if there:
            numbers, p = zip(*there, strict=True)
            expected |= dict(zip(numbers, zip(stats.rankdata(p), stats.false_discovery_control(p), strict=True), strict=True))
    return [(number, *expected.get(number, (None, None))) for number, _, _ in rows]


def assert_alike(found: list[tuple], expected: list[tuple]) -> None:
    """Places to the bit, adjusted p to 1e-12; NULL where scipy was asked for nothing."""
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for (number, _, value), (_, _, wanted) in zip(found, expected, strict=True):
        assert (value is None) == (wanted is None), number
        assert value is None or math.isclose(value, wanted, rel_tol=1e-12, abs_tol=0), number


def ask(con: duckdb.DuckDBPyConnection, rows: Sequence[tuple[int, str, float | None]]) -> list[tuple]:
    tests = pl.DataFrame(rows, schema={"number": pl.Int64, "family": pl.String, "p": pl.Float64}, orient="row").sample(fraction=1, shuffle=True, seed=1)
    con.register("tests", tests)
    return con.sql(QUERY).fetchall()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_alone(con, family):
    rows = rows_of({family: FAMILIES[family]})
    assert_alike(ask(con, rows), by_scipy(rows))


def test_families_do_not_see_each_other(con):
    rows = rows_of(FAMILIES)
    assert_alike(ask(con, rows), by_scipy(rows))


@pytest.mark.slow(2)
@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 20).map(lambda n: n / 20) | st.floats(0, 1)), min_size=1, max_size=40))
def test_any_families(con, members):
    rows = [(number, family, p) for number, (family, p) in enumerate(members)]
    assert_alike(ask(con, rows), by_scipy(rows))


def test_a_family_of_several_thousand(con):
    p = np.random.default_rng(0).beta(0.4, 1, 5000).round(4)
    rows = [(number, "heads", float(each)) for number, each in enumerate(p)]
    assert_alike(ask(con, rows), by_scipy(rows))


def test_numbers_outside_of_p_have_places_too(con):
    values = [3.0, -2.5, 3.0, None, 0.0, -2.5, -2.5, 1e300]
    query = "select average_rank(x, 1) from (select unnest(?::double[]) as x, unnest(range(8)) as number) order by number"
    expected = iter(stats.rankdata([each for each in values if each is not None]))
    assert [row[0] for row in con.execute(query, [values]).fetchall()] == [None if each is None else next(expected) for each in values]


def test_the_interval_of_a_median_takes_the_places_of_scipy_and_no_more(con):
    con.execute((MACROS[0].parent / "medians.sql").read_text())
    sizes = [*range(1, 61), 199, 1500]
    query = "select median_place(n), median_coverage(n), median_low(range(n + 1, 1, -1), median_place(n)), median_high(range(n + 1, 1, -1), median_place(n))"
    found = con.execute(f"{query} from (select unnest(?::integer[]) as n) order by n", [sizes]).fetchall()
    for n, (place, coverage, low, high) in zip(sizes, found, strict=True):
        interval = stats.quantile_test(np.arange(2, n + 2), p=0.5).confidence_interval(0.95)
        if place == 0:
            assert n < 6 and (coverage, low, high) == (None, None, None) and np.isnan(interval.low)
            continue
        assert (low, high) == (interval.low, interval.high) == (place + 1, n + 2 - place)
        assert coverage == pytest.approx(1 - 2 * stats.binom.cdf(place - 1, n, 0.5), abs=1e-10) and coverage >= 0.95 > 1 - 2 * stats.binom.cdf(place, n, 0.5)


def test_the_order_of_nulls_may_be_set_otherwise():
    """A shell where NULLs come first gives them no place either."""
    with duckdb.connect() as connection:
        connection.execute("set default_null_order = 'nulls_first'")
        for file in MACROS:
            connection.execute(file.read_text())
        rows = rows_of(FAMILIES)
        assert_alike(ask(connection, rows), by_scipy(rows))


def test_a_shell_of_another_version_agrees(tmp_path):
    if SHELL is None:
        pytest.skip("no duckdb shell beside this Python nor on the PATH (PyPI duckdb-cli)")
    rows = rows_of(FAMILIES)
    values = ", ".join(f"({number}, '{family}', {'null' if p is None else repr(p)}::double)" for number, family, p in rows)
    script = "\n".join([*(file.read_text() for file in MACROS), f"create table tests as from (values {values}) as t(number, family, p);", QUERY + ";"])
    done = subprocess.run([SHELL, "-json"], input=script, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    found = [(row["number"], row["place"], row["adjusted"]) for row in json.loads(done.stdout)]
    assert_alike(found, by_scipy(rows))
