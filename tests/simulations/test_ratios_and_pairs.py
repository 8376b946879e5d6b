"""The interval of gate F's ratio, and that of a difference of two rates of the same questions, cover the truth."""

import duckdb
import numpy as np
import polars as pl
import pytest

from personascope.warehouse.asking.views import macros, views

pytestmark = pytest.mark.slow(8)


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as connection:
        connection.execute(macros())
        yield connection


def gate_f(con: duckdb.DuckDBPyConnection, early: float, at_marker: float, n_questions: int, seed: int, datasets: int = 3000) -> pl.DataFrame:
    """Rows of `gate_f` of data sets whose band means are `early` and `at_marker`: a generation with the marker and one or more without it a question."""
    generator = np.random.default_rng(seed)
    shape = (datasets, n_questions)
    positives, negatives = generator.integers(1, 6, shape), generator.integers(1, 4, shape)
    rows = []
    common = generator.standard_normal(shape) * 0.5
    for step, truth in ((-5, early), (0, at_marker)):
        both = []
        for sizes, level, share in ((positives, truth, 1.0), (negatives, 0.0, 0.5)):
            totals = sizes * (level + share * common + generator.standard_normal(shape) * 0.3) + np.sqrt(sizes) * generator.standard_normal(shape)
            n_all = sizes.sum(axis=1, keepdims=True)
            mean = totals.sum(axis=1, keepdims=True) / n_all
            both.append((sizes / n_all, mean, (totals - sizes * mean) / n_all / np.sqrt(1 - sizes / n_all)))
        (positive_share, positive_mean, positive_part), (negative_share, negative_mean, negative_part) = both
        dataset, question = np.indices(shape)
        columns = {
            "run_id": dataset,
            "question_id": question,
            "n_positive": positives,
            "n_negative": negatives,
            "positive_share": positive_share,
            "negative_share": negative_share,
            "band_mean": np.broadcast_to(positive_mean - negative_mean, shape),
            "residual": positive_part - negative_part,
        }
        rows.append(pl.DataFrame({name: values.ravel() for name, values in columns.items()}).with_columns(subject=pl.lit("s"), step=pl.lit(step)))
    questions = pl.concat(rows)
    bands = questions.group_by("run_id", "subject", "step").agg(pl.first("band_mean")).with_columns(from_marker="step", first_layer=0, last_layer=1)
    readouts = questions.select("run_id", "subject").unique().with_columns(origin=pl.lit("extracted"))
    for name, frame in (("trajectory_band_questions", questions), ("trajectory_bands", bands), ("subjects", readouts)):
        con.register(name, frame)
    con.execute(f"create or replace view thresholds as {views()['thresholds'].sql}")
    return con.sql(views()["gate_f"].sql).pl()


@pytest.mark.parametrize("n_questions", [10, 20])
def test_the_ratio_of_gate_f_is_covered(con, n_questions):
    found = gate_f(con, 0.9, 1.5, n_questions, seed=n_questions)
    told = found.filter(pl.col("ratio_missing").is_null())
    missed = ((told["ratio_low"] > 0.6) | (told["ratio_high"] < 0.6)).sum()
    error = np.sqrt(0.05 * 0.95 / len(found))
    assert 0.02 <= missed / len(found) <= 0.05 + 2 * error, "an unbounded interval holds the truth"
    assert len(told) > 0.9 * len(found)
    assert (told["reframe_sure"] == False).sum() / len(found) <= 0.03, "a ratio of .6 is surely below .5"  # noqa: E712


def test_nothing_at_the_marker_gives_no_ratio(con):
    found = gate_f(con, 0.0, 0.0, 20, seed=4, datasets=1000)
    missing = found.filter(pl.col("ratio_missing") == "the difference at the marker is not told from zero")
    assert 0.93 <= missing.height / found.height <= 0.975 and missing["ratio_low"].null_count() == missing.height


@pytest.mark.parametrize(("n", "gained", "lost"), [(100, 0.02, 0.05), (100, 0.1, 0.1), (40, 0.05, 0.15), (30, 0.0, 0.1)])
def test_differences_of_paired_rates_are_covered(con, n, gained, lost):
    """Measured: .95 to .98; Wald's interval of the same pairs falls to .85."""
    counts = np.random.default_rng(n).multinomial(n, [gained, lost, 1 - gained - lost], size=20_000)
    con.register("pairs", pl.DataFrame(counts[:, :2], schema=["gained", "lost"]))
    (covered,) = con.sql(
        f"""select avg((abs({gained - lost} - paired_rate_centre(gained, lost, {n})) <= paired_rate_reach(gained, lost, {n}))::int) from pairs"""
    ).fetchall()[0]
    assert 0.94 <= covered <= 0.985
