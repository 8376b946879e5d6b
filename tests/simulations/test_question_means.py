"""Intervals of means over questions cover the truth at the sizes people have: 10 or 20 questions, unequal and skewed."""

from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from cluster_robust import cr2
from scipy import stats

pytestmark = pytest.mark.slow(20)

MACROS = Path(__file__).parents[2] / "sql" / "macros"
DATASETS = 6000
QUERY = """
with centred as (
  select *, sum(total) over sets / sum(n) over sets as mean, n / sum(n) over sets as share from drawn window sets as (partition by dataset)
),
sums as (
  select
    dataset,
    count(*) as n_clusters,
    any_value(mean) as mean,
    cr2_sem(sum(n), count(*), cr2_squares(n, total, mean, share)) as sem,
    cr2_df(share) as df,
    effective_clusters(share) as n_effective,
    is_skewed(cluster_skewness(n, total, mean), count(*)) as is_skewed
  from centred
  group by dataset
)
select *, t_half_width(sem, df) as half_width from sums order by dataset
"""


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as connection:
        for name in ("clusters", "student_t", "t_intervals", "two_one_sided_tests"):
            connection.execute((MACROS / f"{name}.sql").read_text())
        yield connection


def sizes_of(kind: str, n_questions: int, generator: np.random.Generator) -> np.ndarray:
    """Rows of each question [DATASETS, n_questions]: 1 to 5, geometric with mean 3.3, or one question of 40 among others of 3."""
    shape = (DATASETS, n_questions)
    if kind == "1 to 5":
        return generator.integers(1, 6, shape)
    if kind == "geometric":
        return generator.geometric(0.3, shape)
    return np.where(np.arange(n_questions) == 0, 40, np.full(shape, 3))


def summed(con: duckdb.DuckDBPyConnection, drawn: pl.DataFrame) -> pl.DataFrame:
    """Mean, standard error, degrees of freedom and half width of each `dataset` of `drawn` [questions], as the views compute them."""
    con.register("drawn", drawn)
    return con.sql(QUERY).pl()


def draw(con: duckdb.DuckDBPyConnection, kind: str, n_questions: int, shape: str, icc: float, seed: int) -> pl.DataFrame:
    """Statistics of DATASETS sets whose true mean is 0: question effects of a shape, `icc` of the variance, and normal noise within."""
    generator = np.random.default_rng(seed)
    n = sizes_of(kind, n_questions, generator)
    effects = generator.standard_normal(n.shape) if shape == "normal" else generator.exponential(size=n.shape) - 1
    total = n * effects * np.sqrt(icc) + np.sqrt(n) * generator.standard_normal(n.shape) * np.sqrt(1 - icc)
    return summed(con, pl.DataFrame({"dataset": np.repeat(np.arange(DATASETS), n_questions), "n": n.ravel(), "total": total.ravel()}))


def coverage(found: pl.DataFrame) -> tuple[float, float]:
    """Share of intervals that hold 0, and its Monte Carlo error."""
    share = float((found["mean"].abs() <= found["half_width"]).to_numpy().mean())
    return share, float(np.sqrt(share * (1 - share) / len(found)))


@pytest.mark.parametrize("kind", ["1 to 5", "geometric", "one of 40"])
@pytest.mark.parametrize("n_questions", [10, 20])
def test_intervals_cover_the_truth_whatever_the_sizes(con, kind, n_questions):
    """Measured: .945 to .982 normal, .922 to .941 exponential (ICC .5)."""
    for icc in (0.0, 0.5, 1.0):
        share, error = coverage(draw(con, kind, n_questions, "normal", icc, seed=1))
        assert 0.93 - 2 * error <= share <= 0.985 + 2 * error, (icc, share)
    share, error = coverage(draw(con, kind, n_questions, "exponential", 0.5, seed=2))
    assert share >= 0.91 - 2 * error


def test_skewed_questions_are_flagged_where_the_interval_is_short(con):
    """Exponential effects without noise within questions cost coverage that no degrees of freedom give back (.89 to .92): the flag speaks."""
    skewed = draw(con, "1 to 5", 20, "exponential", 1.0, seed=3)
    normal = draw(con, "1 to 5", 20, "normal", 1.0, seed=3)
    share, error = coverage(skewed)
    assert 0.89 - 2 * error <= share < 0.935
    flagged, falsely = (float(found["is_skewed"].to_numpy().mean()) for found in (skewed, normal))
    assert flagged > 0.6 and falsely < 0.08


def test_degrees_of_freedom_and_errors_are_those_of_the_matrices(con):
    """The first sets of unequal sizes, one question dominating or not, row by row in matrices; equal sizes have n - 1."""
    for kind in ("1 to 5", "one of 40"):
        generator = np.random.default_rng(5)
        sizes = sizes_of(kind, 10, generator)[:3]
        values = [generator.normal(size=row.sum()) for row in sizes]
        of_rows = [np.repeat(np.arange(10), row) for row in sizes]
        drawn = pl.DataFrame(
            {
                "dataset": np.repeat(np.arange(3), 10),
                "n": sizes.ravel(),
                "total": np.concatenate([np.bincount(of, weights=each) for of, each in zip(of_rows, values, strict=True)]),
            }
        )
        found = summed(con, drawn)
        for row, of, each in zip(found.to_dicts(), of_rows, values, strict=True):
            assert (row["mean"], row["sem"], row["df"]) == pytest.approx(cr2(each, np.ones((len(each), 1)), of, np.ones(1)), rel=1e-8)
    equal = pl.DataFrame({"dataset": [0] * 7, "n": [4] * 7, "total": list(range(7))})
    assert summed(con, equal).select("df", "n_effective").row(0) == (6.0, 7.0)


def verdicts(con: duckdb.DuckDBPyConnection, found: pl.DataFrame, truth: float, margin: float) -> dict[str, float]:
    """Share of the sets with each verdict, were their true mean `truth`."""
    con.register("found", found)
    rows = con.sql(
        f"""with shifted as (select *, mean + {truth} as estimate from found),
        tested as (select *, equivalence_p(estimate, sem, df, {margin}) as equivalence_p from shifted)
        select movement_of(equivalence_p < 0.05, abs(estimate) > half_width) as movement, count(*) / {len(found)} as share from tested group by movement"""
    ).fetchall()
    return dict(rows)


@pytest.mark.parametrize(("kind", "level"), [("1 to 5", 0.05), ("one of 40", 0.06)])
def test_equivalence_is_said_of_an_effect_at_the_margin_in_one_of_twenty(con, kind, level):
    """Standard error of a mean of 20 questions of this kind: about .2; a margin of 1 is wide, one of .1 is narrower than any interval.

    Measured: .050; .059 where one question supplies 40 of 97 rows.
    """
    found = draw(con, kind, 20, "normal", 0.5, seed=11)
    error = float(np.sqrt(0.05 * 0.95 / len(found)))
    for truth in (1.0, -1.0):
        assert 0.02 <= verdicts(con, found, truth, 1.0)["equivalent"] <= level + 2 * error
    none, narrow = verdicts(con, found, 0.0, 1.0), verdicts(con, found, 0.0, 0.1)
    assert none["equivalent"] > (0.9 if kind == "1 to 5" else 0.4)
    assert "equivalent" not in narrow and narrow["moved"] <= 0.05 + 2 * error and narrow["cannot tell"] > 0.9
    assert verdicts(con, found, 2.0, 0.1)["moved"] > (0.99 if kind == "1 to 5" else 0.6)


def test_equivalence_is_the_interval_at_twice_the_error_within_the_margin(con):
    for mean, sem, df in ((0.1, 0.2, 7.3), (-0.45, 0.02, 19.0), (0.6, 0.1, 3.0)):
        ((p,),) = con.sql("select equivalence_p($1, $2, $3, 0.5)", params=[mean, sem, df]).fetchall()
        assert p == pytest.approx(max(stats.t.sf((mean + 0.5) / sem, df), stats.t.cdf((mean - 0.5) / sem, df)), rel=1e-9)
    (words,) = con.sql("select movement_of(true, true), movement_of(null, true), movement_of(false, null), movement_of(null, null)").fetchall()
    assert words == ("equivalent", "moved", "cannot tell", "cannot tell")
