"""What was picked: the layer of the smallest p, and the largest of many heads, are judged as one of all that were looked at."""

import duckdb
import numpy as np
import polars as pl
import pytest
from scipy import stats

from personascope.warehouse.analyses.bootstrap_t import two_sample_bootstrap_t
from personascope.warehouse.analyses.families import family_rows
from personascope.warehouse.asking.views import macros

pytestmark = pytest.mark.slow(25)


def monte_carlo(rate: float, n: int) -> float:
    """Two standard errors of a share of n experiments."""
    return 2 * np.sqrt(rate * (1 - rate) / n)


def test_the_layer_with_the_smallest_p_is_not_found_where_nothing_is():
    """28 layers without effect, 20 questions of 1 to 5 generations; 200 experiments as one analysis would see them."""
    generator, experiments, layers = np.random.default_rng(1), 200, 28
    own, adjusted = np.zeros((2, experiments))
    sizes = generator.integers(1, 6, 20)
    keys = {"layer": np.tile(np.arange(layers), 20), "question_id": np.repeat([f"q{question:02}" for question in range(20)], layers)}
    for trial in range(experiments):
        totals = sizes[:, None] * generator.normal(size=(20, layers)) + np.sqrt(sizes)[:, None] * generator.normal(size=(20, layers))
        sums = pl.DataFrame(keys | {"n": np.repeat(sizes, layers), "total": totals.ravel()}).with_columns(pl.lit("made").alias("first_run"), head=None)
        rows = family_rows("attention_effects", sums.cast({"head": pl.Int32}), ("first_run",))
        mean = totals.sum(axis=0) / sizes.sum()
        error = np.sqrt(((totals - sizes[:, None] * mean) ** 2).sum(axis=0) * 20 / 19) / sizes.sum()
        own[trial] = stats.t.sf(np.abs(mean / error).max(), 19) * 2
        adjusted[trial] = min(row["adjusted_p"] for row in rows)
    assert (adjusted <= 0.05).mean() <= 0.06 + monte_carlo(0.05, experiments)
    assert (own <= 0.05).mean() > 0.3, "the p of the picked layer alone"


@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_two_samples_of_generations_differ_seldom_where_they_do_not(shape):
    """Markers and ends of other answers over 20 questions in common, some of which have one kind only."""
    generator, experiments, layers = np.random.default_rng(2), 100, 28
    rejected = np.zeros(experiments, dtype=bool)
    for trial in range(experiments):
        sizes = generator.integers(0, 6, (2, 20))
        common = generator.normal(size=(20, layers)) if shape == "normal" else generator.exponential(size=(20, layers))
        totals = [size[:, None] * common + np.sqrt(size)[:, None] * generator.normal(size=(20, layers)) for size in sizes]
        test = two_sample_bootstrap_t(totals[0], sizes[0].astype(float), totals[1], sizes[1].astype(float), 200, trial)
        rejected[trial] = test.adjusted_p.min() <= 0.05
    assert rejected.mean() <= 0.08 + monte_carlo(0.08, experiments)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_the_largest_of_many_is_right_on_average_once_it_is_shrunken(ratio):
    """400 models of 300 heads whose worths vary `ratio` times as much as the usual standard error, each head with its own."""
    generator, models, heads = np.random.default_rng(3), 400, 300
    truth = 0.2 + ratio * generator.normal(size=(models, heads))
    sem = np.sqrt(generator.gamma(4, 0.25, size=(models, heads)))
    seen = truth + sem * generator.normal(size=(models, heads))
    rows = pl.DataFrame({"model": np.repeat(np.arange(models), heads), "truth": truth.ravel(), "seen": seen.ravel(), "sem": sem.ravel()})
    with duckdb.connect() as connection:
        connection.execute(macros())
        connection.register("rows", rows)
        picked = connection.sql("""
            with families as (select *, family_centre(seen, model) as centre, family_spread(seen, sem, model) as spread from rows)
            select max_by(shrunken(seen, sem, centre, spread) - truth, seen) as shrunken, max_by(seen - truth, seen) as plain from families group by model
        """).pl()
    error = picked["shrunken"].std() / np.sqrt(models)
    assert abs(picked["shrunken"].mean()) < 2.6 * error + 0.02
    assert picked["plain"].mean() > 0.2 and picked["plain"].mean() > 5 * abs(picked["shrunken"].mean())
