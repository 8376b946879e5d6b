"""The statistics macros as functions of SQL: every one is covered, takes any argument in any place, and says the same in a plain DuckDB shell."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from distribution_macros import FAMILIES, MACROS, call, load
from scipy import stats

# One call of every public macro, with arguments inside its domain.
CALLS = {
    "student_t_p": (2.5, 11.3),
    "student_t_cdf": (-1.5, 7.0),
    "student_t_quantile": (0.975, 27.0),
    "pearson_p": (0.4, 28.0),
    "normal_p": (1.7,),
    "normal_cdf": (-0.3,),
    "normal_quantile": (0.01,),
    "incomplete_beta": (0.3, 2.5, 4.0),
    "binomial_cdf": (7.0, 20.0, 0.4),
    "binomial_two_sided_p": (3.0, 20.0, 0.4),
    "sign_test_p": (10.0, 28.0),
    "wilson_low": (3.0, 40.0, 1.5),
    "wilson_high": (3.0, 40.0, 1.5),
    "fisher_low": (0.4, 28.0, 1.5),
    "fisher_high": (0.4, 28.0, 1.5),
}


def test_every_public_macro_is_covered(con):
    """Helpers aside, each macro of these files appears in CALLS, so that the checks over CALLS miss none."""
    defined = {name for family in FAMILIES for name in re.findall(r"create or replace macro (\w+)", (MACROS / f"{family}.sql").read_text())}
    assert defined - set(CALLS) == {
        "incomplete_beta_list",
        "binomial_possible",
        "student_t_log1p",
        "student_t_density_at_zero",
        "student_t_nodes",
        "student_t_tail_integral",
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_each_file_loads_alone_and_twice(family):
    with duckdb.connect() as connection:
        for _ in range(2):
            connection.execute((MACROS / f"{family}.sql").read_text())


def test_the_nodes_of_student_t_are_those_of_the_rule(con):
    nodes = con.sql("select unnest(student_t_nodes(), recursive := true)").pl()
    v = np.arange(-28, 31) / 8
    s = np.exp(v - np.exp(-v))
    np.testing.assert_allclose(nodes["s"], s, rtol=1e-15)
    np.testing.assert_allclose(nodes["weight"], s * (1 + np.exp(-v)) / 8, rtol=1e-15)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("missing", [None, math.nan])
def test_null_and_nan_give_null(con, name, missing):
    assert call(con, name, *CALLS[name]) is not None
    for i in range(len(CALLS[name])):
        args = [missing if j == i else value for j, value in enumerate(CALLS[name])]
        assert call(con, name, *args) is None, args


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("student_t_p", (1, 0)),
        ("student_t_p", (1, -3)),
        ("student_t_p", (1, math.inf)),
        ("student_t_cdf", (1, 0)),
        ("student_t_quantile", (0.5, 0)),
        ("student_t_quantile", (0, 5)),
        ("student_t_quantile", (1, 5)),
        ("normal_quantile", (0,)),
        ("normal_quantile", (1,)),
        ("normal_quantile", (-0.1,)),
        ("incomplete_beta", (1.1, 2, 3)),
        ("incomplete_beta", (-0.1, 2, 3)),
        ("incomplete_beta", (0.5, 0, 3)),
        ("incomplete_beta", (0.5, 2, 0)),
        ("incomplete_beta", (0.5, math.inf, 3)),
        ("binomial_cdf", (0, 0, 0.5)),
        ("binomial_cdf", (1, 2, 1.5)),
        ("binomial_cdf", (1, math.inf, 0.5)),
        ("binomial_two_sided_p", (0, 0, 0.5)),
        ("binomial_two_sided_p", (-1, 5, 0.5)),
        ("binomial_two_sided_p", (6, 5, 0.5)),
        ("binomial_two_sided_p", (1, 5, -0.1)),
        ("sign_test_p", (0, 0)),
        ("sign_test_p", (6, 5)),
        ("sign_test_p", (-1, 5)),
        ("wilson_low", (0, 0)),
        ("wilson_high", (0, 0)),
        ("wilson_low", (6, 5)),
        ("wilson_high", (-1, 5)),
        ("pearson_p", (0.5, 2)),
        ("pearson_p", (1, 2)),
        ("pearson_p", (1.5, 20)),
        ("fisher_low", (0.5, 3)),
        ("fisher_high", (0.5, 3)),
        ("fisher_high", (-1.5, 10)),
    ],
)
def test_outside_the_domain_gives_null(con, name, args):
    assert call(con, name, *args) is None


def lambda_names() -> set[str]:
    text = "".join((MACROS / f"{family}.sql").read_text() for family in FAMILIES)
    return {name.strip() for names in re.findall(r"lambda ([\w, ]+):", text) for name in names.split(",")}


@pytest.mark.slow(6)
@pytest.mark.parametrize("name", CALLS)
def test_columns_and_tables_may_share_names_with_lambda_parameters(con, name):
    """A macro is substituted as text: a caller's column or table named like one of its lambda parameters must still mean the caller's."""
    expected = call(con, name, *CALLS[name])
    for clash in lambda_names():
        for i, value in enumerate(CALLS[name]):
            args = ", ".join(f"{clash}.{clash}" if j == i else repr(v) for j, v in enumerate(CALLS[name]))
            found = con.execute(f"select {name}({args}) from (select {value!r} as {clash}, 0.123 as df, 0.5 as s) as {clash}").fetchall()
            assert found == [(expected,)], clash


def test_whole_number_decimal_and_aggregate_arguments(con):
    query = """
        select student_t_p(avg(x) / (stddev_samp(x) / sqrt(count(*))), count(*) - 1), wilson_low(sum((x > 2)::int), count(*)), binomial_two_sided_p(3, 10, 0.5)
        from (values (1.5::float), (2.5), (3.0), (4.5)) as samples(x)
    """
    found = con.execute(query).fetchall()[0]
    sample = [1.5, 2.5, 3.0, 4.5]
    expected = (stats.ttest_1samp(sample, 0).pvalue, stats.binomtest(3, 4).proportion_ci(method="wilson").low, stats.binomtest(3, 10).pvalue)
    assert found == pytest.approx(expected, abs=1e-12)


def mixed_rows(n: int) -> pl.DataFrame:
    """Pairs of a statistic or probability and its degrees of freedom, and of counts k and n, in random order."""
    rng = np.random.default_rng(7)
    trials = rng.integers(1, 2000, n)
    kind = rng.integers(0, 3, n)
    a = np.choose(kind, [rng.normal(0, 5, n), rng.random(n), rng.binomial(trials, 0.35)])
    b = np.choose(kind, [rng.uniform(0.5, 300, n), rng.uniform(1, 60, n), trials])
    return pl.DataFrame({"a": a, "b": b})


@pytest.mark.slow(3)
def test_shell_of_another_version_and_folder_agrees(tmp_path):
    """A catalogue stored for 1.5 and opened read-only by the 1.5 shell elsewhere gives the same figures, called directly or through a view."""
    shell = shutil.which("duckdb", path=str(Path(sys.executable).parent))
    if shell is None:
        pytest.skip("the DuckDB shell (PyPI duckdb-cli) is not installed beside this Python")
    file = tmp_path / "macros.duckdb"
    calls = ", ".join(f"{name}({', '.join(map(repr, args))}) as {name}" for name, args in CALLS.items())
    # Ends of the domain, where 1.5 raises errors that 2.0 answers with NaN or infinity, among more rows than one vector holds.
    rows = "(0, 0), (0, 1), (1, 1), (-0.5, 0.5), (7, 7), (3, 1000), (500, 1000), (0.25, 3), (NULL, 5), (5, NULL), (40, 2), ('nan', 9), (9, 'nan')"
    edges = """
        select student_t_p(a, b) as t_p, student_t_cdf(a, b) as t_cdf, student_t_quantile(a, b) as t_quantile, pearson_p(a, b) as r_p,
            normal_p(a) as z_p, normal_cdf(a) as z_cdf, normal_quantile(a) as z_quantile,
            incomplete_beta(a, b, 2) as beta, binomial_cdf(a, b, 0.3) as cdf, binomial_two_sided_p(a, b, 0.3) as two_sided,
            binomial_two_sided_p(a, b, 0) as never, binomial_two_sided_p(a, b, 1) as always, sign_test_p(a, b) as sign_p,
            wilson_low(a, b) as low, wilson_high(a, b) as high, fisher_low(a, b) as r_low, fisher_high(a, b) as r_high
        from edge_rows
    """
    with duckdb.connect() as connection:
        connection.execute(f"attach '{file}' as catalogue (storage_version 'v1.5.0')")
        connection.execute("use catalogue")
        load(connection)
        connection.execute(f"create table edge_rows (a double, b double); insert into edge_rows values {rows}")
        connection.register("mixed", mixed_rows(2500).to_arrow())
        connection.execute("insert into edge_rows from mixed")
        connection.unregister("mixed")
        connection.execute(f"create view edges as {edges}")
        direct = connection.sql(f"select {calls}").pl().to_dicts()
        through_view = connection.sql("from edges").pl().to_dicts()
        connection.execute("use memory; detach catalogue")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for query, expected in ((f"select {calls}", direct), ("from edges", through_view)):
        done = subprocess.run([shell, "-readonly", "-json", str(file), "-c", query], cwd=elsewhere, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert len(found) == len(expected)
        for found_row, expected_row in zip(found, expected, strict=True):
            assert not any(value is not None and math.isnan(value) for value in (*found_row.values(), *expected_row.values()))
            missing = {key: math.nan for key, value in expected_row.items() if value is None}
            assert {key for key, value in found_row.items() if value is None} == set(missing)
            assert found_row | missing == pytest.approx(expected_row | missing, rel=1e-10, abs=1e-290, nan_ok=True)
