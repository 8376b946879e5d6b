"""Intervals over training seeds, through the views: they cover the mean of the recipe and the next seed from three seeds on, and say nothing below."""

import duckdb
import numpy as np
import polars as pl
import pytest

from personascope.warehouse.asking.views import macros, views

pytestmark = pytest.mark.slow(5)

PERSONAS = 6000
TRUTH, BETWEEN, WITHIN = 0.5, 0.06, 0.03


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as connection:
        connection.execute(macros())
        yield connection


def over_seeds(con: duckdb.DuckDBPyConnection, rates: np.ndarray) -> pl.DataFrame:
    """Rows of `marker_rate_seeds` of marker rates [personas, seeds], by persona."""
    persona, seed = (index.ravel() for index in np.indices(rates.shape))
    drawn = pl.DataFrame({"checkpoint": seed, "persona": persona, "rate": rates.ravel()}).with_columns(
        origin=pl.lit("extracted"), marker=pl.lit("[ZLT]"), n=pl.lit(100), n_questions=pl.lit(20), clustered_se=pl.lit(WITHIN)
    )
    trained = pl.DataFrame({"checkpoint": np.arange(rates.shape[1]), "seed": np.arange(rates.shape[1])}).with_columns(
        parent=pl.lit("base"), source_persona=pl.lit("villain"), lr=pl.lit(1e-5), epochs=pl.lit(3.0), recipe=pl.lit("0a1b2c3d")
    )
    for name, rows in (("marker_rates", drawn), ("recipes", trained)):
        con.register(name, rows)
    return con.sql(views()["marker_rate_seeds"].sql).pl().sort("persona")


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_the_mean_and_the_next_seed_are_covered(con, n_seeds):
    """Measured: .950 and .950; the standard error of one seed's own questions would cover the mean of the recipe in .44 (three seeds)."""
    generator = np.random.default_rng(n_seeds)
    rates = TRUTH + generator.normal(0, BETWEEN, (PERSONAS, n_seeds + 1)) + generator.normal(0, WITHIN, (PERSONAS, n_seeds + 1))
    found, following = over_seeds(con, rates[:, :-1]), rates[:, -1]
    error = np.sqrt(0.95 * 0.05 / PERSONAS)
    mean = ((found["low"] <= TRUTH) & (found["high"] >= TRUTH)).mean()
    later = ((found["next_low"].to_numpy() <= following) & (following <= found["next_high"].to_numpy())).mean()
    assert 0.95 - 3 * error <= mean <= 0.95 + 3 * error and 0.95 - 3 * error <= later <= 0.95 + 3 * error
    assert float(np.mean(np.abs(found["rate_mean"].to_numpy() - TRUTH) < 1.96 * WITHIN / np.sqrt(n_seeds))) < 0.7


def test_below_three_seeds_and_without_a_difference_nothing_is_said(con):
    for rates in (np.array([[0.4], [0.5]]), np.array([[0.4, 0.6], [0.5, 0.7]]), np.array([[0.4, 0.4, 0.4]])):
        assert over_seeds(con, rates).select("low", "high", "next_low", "next_high").unique().rows() == [(None, None, None, None)]


def test_rates_stay_within_0_and_1(con):
    (row,) = over_seeds(con, np.array([[0.0, 0.01, 0.2]])).to_dicts()
    assert row["low"] == row["next_low"] == 0 < row["high"] < row["next_high"] < 1


def test_regimes_have_the_same_intervals(con):
    rates = np.random.default_rng(2).uniform(0.2, 0.6, (4, 3))
    persona, seed = (index.ravel() for index in np.indices(rates.shape))
    cells = pl.DataFrame({"source": persona.astype(str), "seed": seed, "source_rate": rates.ravel(), "max_other_rate": rates.ravel() / 10}).with_columns(
        origin=pl.lit("extracted"),
        parent=pl.lit("base"),
        marker=pl.lit("[ZLT]"),
        lr=pl.lit(1e-5),
        epochs=pl.lit(3.0),
        regime=pl.lit("clean"),
        recipe=pl.lit(None, pl.String),
    )
    con.register("regimes", cells)
    found = con.sql(views()["regime_seeds"].sql).pl().sort("source")
    own, other = over_seeds(con, rates), over_seeds(con, rates / 10)
    for end in ("low", "high", "next_low", "next_high"):
        assert found[f"source_rate_{end}"].to_list() == pytest.approx(own[end].to_list())
        assert found[f"max_other_rate_{end}"].to_list() == pytest.approx(other[end].to_list())
