"""Correlations of profiles that are known with noise: corrected, they cover the truth, and where noise is most of a profile they say so."""

import duckdb
import numpy as np
import polars as pl
import pytest
from scipy import stats

from personascope.warehouse.analyses.attenuation import corrected_rank_correlation, halve
from personascope.warehouse.analyses.dyads import dyad_test
from personascope.warehouse.asking.views import macros, views

pytestmark = pytest.mark.slow(40)


def asked(view: str, **tables: pl.DataFrame) -> pl.DataFrame:
    """A view of the program over tables and views that are given as they would stand in a lake."""
    with duckdb.connect() as connection:
        connection.execute(macros())
        for name, rows in tables.items():
            connection.register(name, rows)
        return connection.sql(views()[view].sql).pl()


def true_profiles(generator: np.random.Generator, points: int, correlation: float) -> np.ndarray:
    """Two profiles [2, points] of standard deviation 1 around this correlation."""
    first, second = generator.normal(size=(2, points))
    profiles = np.array([first, correlation * first + np.sqrt(1 - correlation**2) * second])
    return (profiles - profiles.mean(axis=1, keepdims=True)) / profiles.std(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("heads", "reliability", "common", "experiments"), [(28, 0.9, 0.0, 400), (28, 0.9, 0.7, 400), (28, 0.8, 0.0, 400), (784, 0.9, 0.0, 40), (784, 0.8, 0.5, 40)]
)
def test_the_rank_correlation_of_noisy_worths_covers_the_true_one(heads, reliability, common, experiments):
    """20 questions, true rank correlation about .87; `common` is the correlation of the two measures' errors at a question."""
    generator, n = np.random.default_rng(1), 20
    covered, plain = np.zeros((2, experiments), dtype=bool)
    for trial in range(experiments):
        profiles = true_profiles(generator, heads, 0.88)
        truth = stats.spearmanr(*profiles).statistic
        errors = np.sqrt((1 - reliability) / reliability * n) * generator.normal(size=(2, n, heads))
        errors[1] = common * errors[0] + np.sqrt(1 - common**2) * errors[1]
        one, other = profiles[:, None] + errors
        found = corrected_rank_correlation(halve(one, np.arange(n), trial), halve(other, np.arange(n), trial), np.full(heads, True))
        assert found.low is not None and found.high is not None
        covered[trial] = found.low <= truth <= found.high
        plain[trial] = abs(np.arctanh(stats.spearmanr(one.mean(axis=0), other.mean(axis=0)).statistic) - np.arctanh(truth)) < 1.96 / np.sqrt(heads - 3)
    assert covered.mean() >= 0.90 - 2 * np.sqrt(0.9 * 0.1 / experiments)
    if heads == 784:
        assert plain.mean() < 0.5, "what noise takes from a correlation is no small matter"


def certainties(experiments: int, layers: int, correlation: float, ratio: float) -> tuple[pl.DataFrame, np.ndarray]:
    """`rfc_correlation_certainty` of pairs of families whose profiles vary `ratio` times as much as their standard error, and the true correlations."""
    generator, n, resamples = np.random.default_rng(3), 30, 200
    truth, points, draws = np.empty(experiments), [], []
    times = generator.multinomial(n, np.full(n, 1 / n), size=resamples) / n
    for trial in range(experiments):
        profiles = true_profiles(generator, layers, correlation)
        truth[trial] = np.corrcoef(profiles)[0, 1]
        prompts = profiles[:, None] + np.sqrt(n) / ratio * generator.normal(size=(2, n, layers))
        seen = prompts.mean(axis=1)
        runs = {f"{part}_{side}": f"{part}{side}{trial:04}" for side in "ab" for part in ("base_run", "instruct_run")}
        fixed = {"origin": "extracted", "family_a": "one", "family_b": "other", "alignment": "layer index", "share_a": 0.0, "share_b": 0.0}
        columns = {"point": np.arange(layers), "low_a": np.arange(layers), "low_b": np.arange(layers), "rfc_diff_a": seen[0], "rfc_diff_b": seen[1]}
        points.append(pl.DataFrame(columns).with_columns(**{name: pl.lit(value) for name, value in (fixed | runs).items()}))
        for side, values in zip("ab", prompts, strict=True):
            replicates = {"layer": np.arange(layers), "replicates": list((times @ values).T)}
            names = {"base_run": runs[f"base_run_{side}"], "instruct_run": runs[f"instruct_run_{side}"], "run_id": "made"}
            draws.append(pl.DataFrame(replicates).with_columns(n_prompts=pl.lit(n), **{name: pl.lit(value) for name, value in names.items()}))
    found = asked(
        "rfc_correlation_certainty",
        rfc_profile_pairs=pl.concat(points),
        rfc_intervals=pl.concat(draws),
        analysis_standing=pl.DataFrame({"run_id": ["made"], "is_current": [True]}),
        thresholds=pl.DataFrame({"name": ["profile_reliability"], "value": [0.6]}),
    )
    return found.sort("base_run_a"), truth


@pytest.mark.parametrize(("layers", "ratio"), [(28, 3), (28, 2), (12, 3)])
def test_the_correlation_of_noisy_differences_covers_the_true_one(layers, ratio):
    found, truth = certainties(150, layers, 0.9, ratio)
    told = found["corrected_missing"].is_null().to_numpy()
    low, high = (found[name].to_numpy()[told] for name in ("corrected_low", "corrected_high"))
    covered = (low <= truth[told]) & (truth[told] <= high)
    assert told.mean() > 0.9 and covered.mean() >= 0.90 - 2 * np.sqrt(0.9 * 0.1 / told.sum())
    assert found["reliability_a"].to_numpy().mean() == pytest.approx(ratio**2 / (1 + ratio**2), abs=0.02)
    as_it_stands = (found["low"].to_numpy() <= truth) & (truth <= found["high"].to_numpy())
    assert as_it_stands.mean() < 0.5


def test_noise_alone_is_called_too_noisy_to_tell():
    found, _ = certainties(60, 28, 0.9, 0.7)
    assert (found["corrected_missing"] == "too noisy to tell").to_numpy().mean() > 0.9
    assert found.filter(pl.col("corrected_missing").is_not_null())["corrected_low"].null_count() == (found["corrected_missing"].is_not_null()).sum()


SHAPES = {
    "flat": lambda depth: 0 * depth,
    "line": lambda depth: 2 * depth,
    "bow": lambda depth: 8 * (depth - 0.5) ** 2,
    "hump": lambda depth: 2 * np.exp(-(((depth - 0.6) / 0.15) ** 2)),
    "wave": lambda depth: 1.5 * np.sin(2 * np.pi * depth),
}


@pytest.mark.parametrize(("shape", "layers"), [*((shape, 28) for shape in SHAPES), ("line", 12), ("hump", 12)])
def test_a_common_trend_over_depth_is_no_agreement_layer_by_layer(shape, layers):
    """Two families with independent noise of standard deviation 1 around one trend, 400 pairs in one query."""
    generator, experiments = np.random.default_rng(4), 400
    depth = np.linspace(0, 1, layers)
    profiles = SHAPES[shape](depth) + generator.normal(size=(2, experiments, layers))
    rows = pl.DataFrame({"point": np.tile(np.arange(layers), experiments), "rfc_diff_a": profiles[0].ravel(), "rfc_diff_b": profiles[1].ravel()})
    names = np.repeat([f"pair {trial:03}" for trial in range(experiments)], layers)
    fixed = {"origin": "extracted", "family_a": "one", "family_b": "other", "alignment": "layer index", "n_layers_a": layers, "n_layers_b": layers}
    rows = rows.with_columns(
        *(pl.lit(value).alias(name) for name, value in fixed.items()),
        *(pl.Series(name, names) for name in ("base_run_a", "instruct_run_a", "base_run_b", "instruct_run_b")),
    )
    printed = {"run_id": pl.String, "family_a": pl.String, "family_b": pl.String, "layers_compared": pl.Int32, "analysis_timestamp": pl.String}
    printed |= dict.fromkeys(("pearson_r", "pearson_p", "spearman_r", "spearman_p"), pl.Float64)
    found = asked(
        "rfc_correlation",
        rfc_profile_pairs=rows,
        published_rfc_correlations=pl.DataFrame(schema=printed),
        runs=pl.DataFrame(schema={"run_id": pl.String, "finished": pl.Datetime}),
    )
    assert found.height == experiments and (found["changes_p"] < 0.05).fill_null(False).to_numpy().mean() <= 0.08 + 2 * np.sqrt(0.08 * 0.92 / experiments)
    if shape in ("bow", "wave"):
        assert (found["pearson_p_effective"] < 0.05).fill_null(False).to_numpy().mean() > 0.2


def test_changes_that_two_families_share_are_seen():
    generator = np.random.default_rng(5)
    shared = generator.normal(size=(300, 28))
    one, other = 2 * np.linspace(0, 1, 28) + shared, -2 * np.linspace(0, 1, 28) + 0.7 * shared + np.sqrt(0.51) * generator.normal(size=(300, 28))
    with duckdb.connect() as connection:
        connection.execute(macros())
        r = np.array([np.corrcoef(np.diff(a), np.diff(b))[0, 1] for a, b in zip(one, other, strict=True)])
        p = connection.sql(f"select pearson_p(unnest({r.tolist()}), effective_n(27, -0.5, -0.5))").fetchall()
    assert np.mean(np.array(p) < 0.05) > 0.85


@pytest.mark.parametrize(("sources", "hub"), [(4, 1.0), (11, 1.0), (11, 2.0)])
def test_hubs_among_personas_are_no_relation_of_closeness_and_leakage(sources, hub):
    """11 personas, some of which take much from every source and some of which lie close to every source, the one unrelated to the other."""
    generator, experiments, personas = np.random.default_rng(6), 200, 11
    dyadic, naive = np.zeros((2, experiments))
    for trial in range(experiments):
        takes, close = hub * generator.normal(size=(2, personas))
        cosine, rate = close + close[:, None] + generator.normal(size=(personas, personas)), takes + generator.normal(size=(personas, personas))
        rows = [(f"p{s:02}", f"p{v:02}", cosine[s, v] + cosine[v, s], rate[s, v]) for s in range(sources) for v in range(personas) if s != v]
        points = pl.DataFrame(rows, schema=["source", "persona", "cosine", "rate"], orient="row")
        test = dyad_test(points, 300, trial)
        assert test is not None
        dyadic[trial] = test["p"]
        naive[trial] = stats.spearmanr(points["cosine"], points["rate"]).pvalue
    assert (dyadic <= 0.05).mean() <= 0.07 + 2 * np.sqrt(0.07 * 0.93 / experiments)
    if sources == 11:
        assert (naive <= 0.05).mean() > 0.14
