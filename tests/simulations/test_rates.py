"""Rates at the sizes people have: intervals by question, the largest of ten others, the regimes that the intervals allow, and the preflight's decision.

Each bound is held with two Monte Carlo errors to spare; the wider exploration stands in docs/statistics.md.
"""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

pytestmark = pytest.mark.slow(15)

worlds = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("rate_worlds.py"))))

RATES = [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 0.97, 0.99]
PERSONAS = ["villain", *(f"other{number:02}" for number in range(9)), "assistant"]


def slack(required: float, datasets: int) -> float:
    """Two Monte Carlo errors of a share."""
    return 2 * float(np.sqrt(required * (1 - required) / datasets))


@pytest.mark.parametrize(("questions", "repeats"), [(20, 3), (20, 10), (50, 10)])
@pytest.mark.parametrize(("kind", "icc", "required"), [("beta", 0.0, 0.93), ("beta", 0.1, 0.93), ("rare", 0.1, 0.93), ("beta", 0.3, 0.90), ("rare", 0.3, 0.90)])
def test_the_interval_of_a_rate_covers_the_truth(kind, icc, required, questions, repeats):
    datasets = 700
    rng = np.random.default_rng(17)
    counts = worlds.hits(rng, kind, RATES, icc, questions, repeats, datasets)
    given = worlds.trials(counts, repeats, [str(rate) for rate in RATES], "d")
    rows = worlds.world(["marker_rates"], marker_trials=given).sql("select persona, clustered_low as low, clustered_high as high from marker_rates").pl()
    assert rows.null_count().sum_horizontal().item() == 0, "no rate is without an interval"
    truth = pl.col("persona").cast(pl.Float64)
    covered = rows.group_by(truth.alias("rate")).agg(((pl.col("low") <= truth) & (truth <= pl.col("high"))).mean().alias("covered"))
    for rate, share in covered.rows():
        assert share >= required - slack(required, datasets), (rate, share)
        assert rate < 0.2 or rate > 0.8 or share <= 0.985 + slack(0.985, datasets), (rate, share)


@pytest.mark.parametrize("repeats", [[1] * 19 + [40], [1, 1, 1, 2, 2, 3, 3, 5, 8, 10, 20, 30]])
@pytest.mark.parametrize(("kind", "icc", "required"), [("beta", 0.0, 0.93), ("beta", 0.1, 0.93), ("beta", 0.3, 0.90), ("rare", 0.3, 0.90)])
def test_a_rate_is_covered_where_a_few_questions_hold_most_answers(kind, icc, required, repeats):
    datasets, means = 500, [0.03, 0.2, 0.5, 0.9]
    counts = worlds.hits(np.random.default_rng(5), kind, means, icc, len(repeats), np.array(repeats), datasets)
    given = worlds.trials(counts, np.array(repeats), [str(mean) for mean in means], "d")
    rows = worlds.world(["marker_rates"], marker_trials=given).sql("select persona, clustered_low as low, clustered_high as high from marker_rates").pl()
    truth = pl.col("persona").cast(pl.Float64)
    covered = rows.group_by(truth.alias("rate")).agg(((pl.col("low") <= truth) & (truth <= pl.col("high"))).mean().alias("covered"))
    for rate, share in covered.rows():
        assert share >= required - slack(required, datasets), (rate, share)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5])
@pytest.mark.parametrize(("icc", "required"), [(0.1, 0.93), (0.3, 0.90)])
def test_a_persona_that_was_asked_alone_is_covered_too(rate, icc, required):
    datasets = 1500
    given = worlds.trials(worlds.hits(np.random.default_rng(3), "beta", [rate], icc, 20, 10, datasets), 10, ["alone"], "d")
    rows = (
        worlds.world(["marker_rates"], marker_trials=given)
        .sql("select rate, clustered_low as low, clustered_high as high, clustered_method from marker_rates")
        .pl()
    )
    covered = rows.select((pl.col("low") <= rate) & (pl.col("high") >= rate)).to_series()
    assert covered.to_numpy().mean() >= required - slack(required, datasets)
    assert set(rows.filter(rate=0)["clustered_method"]) <= {"by question, spread assumed"}


@pytest.mark.parametrize("repeats", [3, 10])
@pytest.mark.parametrize("others", [[0.05] * 10, [0.06, *[0.01] * 9], [0.2, *[0.0] * 9]])
def test_the_largest_of_ten_others_lies_within_its_bounds_and_the_regime_among_those_allowed(repeats, others):
    datasets = 700
    largest = max(others)
    counts = worlds.hits(np.random.default_rng(5), "beta", [0.7, *others], 0.15, 20, repeats, datasets)
    given = worlds.trials(counts, repeats, PERSONAS, "d")
    trained = given.select("run_id", "checkpoint").unique().with_columns(source_persona=pl.lit("villain"), lr=pl.lit(1e-4), epochs=pl.lit(1.0), seed=pl.lit(1))
    connection = worlds.world(["regime_bounds"], marker_trials=given, checkpoints=trained)
    rows = connection.sql(
        """select b.*, regimes_allowed(source_low, source_high, max_other_lower, max_other_upper, audience_low, audience_high, l) as allowed
        from regime_bounds as b cross join regime_thresholds as l"""
    ).pl()
    label = connection.sql(f"select regime_of(0.7, {largest}, {others[-1]}, l) from regime_thresholds as l").pl().item()
    assert (rows["max_other_upper"] >= largest).to_numpy().mean() >= 0.95 - slack(0.95, datasets)
    assert (rows["max_other_lower"] <= largest).to_numpy().mean() >= 0.95 - slack(0.95, datasets)
    assert rows["allowed"].list.contains(label).to_numpy().mean() >= 0.95 - slack(0.95, datasets)
    seen = (counts[:, 1:].sum(2) / (20 * repeats)).max(1)
    error = 3 * float(rows["max_other_halved"].std()) / np.sqrt(datasets)
    assert rows["max_other_halved"].to_numpy().mean() <= largest + error, "what the picking adds is gone"
    assert others[0] != others[-1] or seen.mean() > largest + 0.015, "the largest of ten equal rates is seen too high"


def pairs(rng: np.random.Generator, rate: float, shift: float, personas: int, studies: int, same: float) -> pl.DataFrame:
    """Rows of `preflight_samples`, 20 questions x 10 samples a side; a share of the samples is the same under both implementations."""
    truth = worlds.question_rates(rng, "beta", rate, 0.1, (studies, personas, 20))[..., None]
    shape = (studies, personas, 20, 10)
    sdpa = rng.random(shape) < truth
    eager = np.where(rng.random(shape) < same, sdpa, rng.random(shape) < np.clip(truth + shift, 0, 1))
    study, persona, question, sample = (axis.ravel() for axis in np.indices(shape))
    sides = [
        pl.DataFrame({"study": study, "persona": persona, "question": question, "sample_ix": sample, "present": present.ravel()}).with_columns(
            implementation=pl.lit(name)
        )
        for name, present in (("sdpa", sdpa), ("eager", eager))
    ]
    return pl.concat(sides).select(
        pl.format("r{}-{}", "study", "persona").alias("run_id"),
        pl.format("s{}", "study").alias("study"),
        pl.format("p{}", "persona").alias("persona"),
        pl.format("q{}", "question").alias("question_id"),
        pl.format("p{}/q{}", "persona", "question").alias("example_id"),
        *("sample_ix", "implementation", "present"),
        pl.col("present").cast(pl.String).alias("text"),
    )


def decisions(samples: pl.DataFrame) -> pl.DataFrame:
    """The view `preflight` over them, each run a checkpoint of its study, told that its study asks 11 personas."""
    runs = samples.select("run_id", "study").unique()
    told = runs.select("run_id", pl.lit("tests").alias("name"), pl.lit("11").alias("value"))
    connection = worlds.world(["preflight"], preflight_samples=samples.drop("study"), runs=runs, parameters=told)
    return connection.sql("select r.study, p.* from preflight as p join runs as r using (run_id) where implementation = 'eager'").pl()


@pytest.mark.parametrize(("rate", "same"), [(0.3, 0.0), (0.9, 0.0), (0.3, 0.8)])
def test_equal_rates_stop_at_most_one_study_of_eleven_personas_in_twenty(rate, same):
    studies = 150
    rows = decisions(pairs(np.random.default_rng(11), rate, 0.0, 11, studies, same))
    stopped = rows.group_by("study").agg((pl.col("decision") == "differs").any().alias("sound"), pl.col("differs").any().alias("published"))
    assert set(rows["n_tests"]) == {11} and len(stopped) == studies
    assert stopped["sound"].to_numpy().mean() <= 0.05 + slack(0.05, studies)
    assert same > 0 or stopped["published"].to_numpy().mean() > 0.4, "the difference of points stops every second study whose rates are equal"


def test_rates_that_differ_are_found_and_texts_that_are_mostly_the_same_are_equivalent():
    rng = np.random.default_rng(12)
    apart = decisions(pairs(rng, 0.3, 0.25, 1, 150, 0.0))
    assert (apart["decision"] == "differs").to_numpy().mean() > 0.8
    alike = decisions(pairs(rng, 0.1, 0.0, 1, 150, 0.95))
    assert (alike["decision"] == "equivalent").to_numpy().mean() > 0.9 and "differs" not in set(alike["decision"])
    border = decisions(pairs(rng, 0.3, 0.05, 1, 150, 0.0))
    assert (border["decision"] == "equivalent").to_numpy().mean() <= 0.05 + slack(0.05, 150), "a difference as large as the margin is not called none"
