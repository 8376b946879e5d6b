"""The macros behind the interval of a rate by question and of a difference of paired rates, against plain recomputation; no interval is ever missing."""

from pathlib import Path

import duckdb
import numpy as np
import pytest
from scipy import stats

MACROS = Path(__file__).parents[2] / "sql" / "macros"
INTERVALS = """
with centred as (
  select *, sum(k) over cells / sum(n) over cells as rate, n / sum(n) over cells as share from drawn window cells as (partition by persona)
),
told as (
  select persona, sum(n) as n, any_value(rate) as rate, sum(n ** 2) as sizes, cr2_df(share) as df, n_informative(k, n) as m,
    rate_icc(sum(n), any_value(rate), count(*), cr2_squares(n, k, rate, share), sum(n ** 2)) as own
  from centred group by persona
),
sized as (select *, prior_icc(own, m, 1) as prior from told)
select persona, rate, n_effective(n, sizes, settled_icc(own, m, prior)) as effective, rate_low(rate, effective, student_t_quantile(0.975, df)) as low,
  rate_high(rate, effective, student_t_quantile(0.975, df)) as high
from sized order by persona
"""


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as connection:
        for name in ("student_t", "binomial", "clusters", "rates", "paired_rates"):
            connection.execute((MACROS / f"{name}.sql").read_text())
        yield connection


def degrees_of_freedom(sizes: np.ndarray) -> float:
    """Bell and McCaffrey's, from the residuals' projection as it stands: rows of clusters of these sizes around their common mean."""
    n = sizes.sum()
    of: np.ndarray = np.repeat(np.arange(len(sizes)), sizes)
    sums = (of[:, None] == np.arange(len(sizes))) / np.sqrt(1 - sizes / n)
    residual = np.eye(n) - 1 / n
    matrix = sums.T @ residual @ sums
    return float(np.trace(matrix) ** 2 / (matrix**2).sum())


def test_the_interval_of_every_persona_is_that_of_a_plain_recomputation(con):
    rng = np.random.default_rng(4)
    trials = rng.integers(1, 9, size=(5, 12))
    hits = rng.binomial(trials, np.array([0, 0.05, 0.3, 0.9, 1])[:, None] * np.ones(12))
    con.execute("create or replace table drawn (persona int, k int, n int)")
    con.executemany("insert into drawn values (?, ?, ?)", [(p, int(hits[p, i]), int(trials[p, i])) for p in range(5) for i in range(12)])
    own, weights, rates, sizes, totals = [], [], [], [], []
    for k, n in zip(hits, trials, strict=True):
        rate, size = k.sum() / n.sum(), (n**2).sum() / n.sum()
        told = 0 < rate < 1
        effect = ((k - n * rate) ** 2 / (1 - n / n.sum())).sum() / (n.sum() * rate * (1 - rate)) if told else np.nan
        own.append((effect - 1) / (size - 1) if told else 0)
        weights.append(min((k > 0).sum(), (k < n).sum()) if told else 0)
        rates.append(rate)
        sizes.append(size)
        totals.append(n.sum())
    for persona, rate, effective, low, high in con.execute(INTERVALS).fetchall():
        others = [i for i in range(5) if i != persona]
        prior = (sum(own[i] * weights[i] for i in others) + 0.6) / (sum(weights[i] for i in others) + 4)
        icc = (own[persona] * weights[persona] + 4 * prior) / (weights[persona] + 4)
        n = totals[persona] / max(1, 1 + (sizes[persona] - 1) * icc)
        t = stats.t.ppf(0.975, degrees_of_freedom(trials[persona]))
        half = t * np.sqrt(n * rate * (1 - rate) + t * t / 4) / (n + t * t)
        middle = (rate * n + t * t / 2) / (n + t * t)
        assert (rate, effective) == pytest.approx((rates[persona], n))
        assert (low, high) == pytest.approx((max(0, middle - half), min(1, middle + half)), abs=1e-9)


def test_no_interval_is_missing_and_none_leaves_0_to_1(con):
    rows = con.execute("""
      select k / n as rate, rate_low(k / n, n / d, 2.1), rate_high(k / n, n / d, 2.1)
      from (select unnest(range(0, 61)) as k, 60 as n) cross join (select unnest([1, 2.7, 60]) as d)
    """).fetchall()
    assert len(rows) == 183 and all(0 <= low <= rate + 1e-15 and rate - 1e-15 <= high <= 1 for rate, low, high in rows)
    assert con.execute("select rate_icc(60, 0.0, 20, 0, 180), rate_icc(20, 0.5, 20, 5, 20), rate_icc(60, 0.5, 1, 0, 3600)").fetchone() == (None, None, None)


def test_a_paired_difference_has_an_interval_where_no_sample_differs_and_that_of_agresti_and_min_where_questions_do_not_matter(con):
    centre, se = con.execute("select paired_centre(12, 4, 100, 100.0), paired_se(12, 4, 100, 100.0)").fetchone()
    more, less, n = 12.5, 4.5, 102
    assert (centre, se) == pytest.approx(((more - less) / n, np.sqrt(more + less - (more - less) ** 2 / n) / n))
    assert con.execute("select paired_centre(0, 0, 100, 50.0), paired_se(0, 0, 100, 50.0)").fetchone() == (0, pytest.approx(1 / 52))
    assert con.execute("select paired_icc(100, 0, 0, 20, 0, 500), paired_icc(100, 10, 0, 20, 20 * 25 * 0.01, 500)").fetchone()[0] is None
