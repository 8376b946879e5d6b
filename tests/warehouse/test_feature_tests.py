"""Paired tests of features: against brute force in float64, planted features, identical conditions, inputs that do not vary."""

from itertools import product

import numpy as np
import polars as pl
import pytest

from personascope.warehouse.analyses.feature_tests import compare
from personascope.warehouse.analyses.resampling import flip_features, max_t, shuffle_threshold, standardised_differences

PAIR = ("a", "b")


def _t(differences: np.ndarray) -> np.ndarray:
    return differences.mean(axis=0) / (differences.std(axis=0, ddof=1) / np.sqrt(len(differences)))


def test_few_questions_are_enumerated_exactly() -> None:
    differences = np.random.default_rng(0).normal(0.5, 1, (7, 5))
    statistics = np.abs([_t(np.array(signs)[:, None] * differences) for signs in product((1, -1), repeat=7)])
    observed = np.abs(_t(differences)) * (1 - 1e-9)
    test = flip_features(differences, 1000, 0, block=2)
    assert test.every and test.resamples == 64
    np.testing.assert_allclose(test.p, (statistics >= observed).mean(axis=0))
    np.testing.assert_allclose(test.adjusted_p, (statistics.max(axis=1)[:, None] >= observed).mean(axis=0))


def test_drawn_flips_equal_brute_force() -> None:
    differences = np.random.default_rng(1).normal(0.2, 1, (20, 9))
    flips = np.random.default_rng(5).choice((-1.0, 1.0), size=(200, 20))
    statistics = np.abs([_t(signs[:, None] * differences) for signs in flips])
    observed = np.abs(_t(differences)) * (1 - 1e-9)
    test = flip_features(differences, 200, 5, more=1, block=4)
    counts = (statistics >= observed).sum(axis=0)
    assert (counts < 50).any() and (counts >= 50).any()
    np.testing.assert_allclose(test.p[counts >= 50], (counts[counts >= 50] + 1) / 201)
    np.testing.assert_allclose(test.adjusted_p, ((statistics.max(axis=1)[:, None] >= observed).sum(axis=0) + 1) / 201)


def test_far_tails_are_those_of_every_flip() -> None:
    generator = np.random.default_rng(9)
    differences = np.hstack([generator.normal(1.2, 1, (16, 3)), generator.exponential(size=(16, 2)), np.ones((16, 1)), np.eye(16, 3).cumsum(axis=0)])
    every = flip_features(differences, 2**15, 0)
    drawn = flip_features(differences, 1000, 0)
    assert every.every and not drawn.every and every.p.min() == 2**-15, "one flip of all, and its mirror image"
    np.testing.assert_allclose(drawn.p, every.p, rtol=0.25)
    sizes = generator.integers(1, 9, 16).astype(float)
    totals = sizes[:, None] * differences[:, :5]
    np.testing.assert_allclose(max_t(totals, sizes, 1000, 0).p, max_t(totals, sizes, 2**15, 0).p, rtol=0.25)


def test_more_flips_are_drawn_where_they_decide() -> None:
    differences = np.random.default_rng(1).normal(0.2, 1, (20, 9))
    clear, near = differences.copy(), differences.copy()
    clear[:, 0] += 3
    near[:, 0] = (near[:, 0] - near[:, 0].mean()) / near[:, 0].std(ddof=1) + 3.1 / np.sqrt(20)
    assert flip_features(clear, 500, 5).resamples == 500
    found = flip_features(near, 500, 5)
    assert 500 < found.resamples <= 5000 and 0.01 < found.adjusted_p.min() < 0.12
    np.testing.assert_allclose(found.adjusted_p, flip_features(near, found.resamples, 5, more=1).adjusted_p, atol=0.02)


def test_false_discovery_never_rejects_fewer_than_max_t() -> None:
    generator = np.random.default_rng(8)
    for trial, (n, shift, share) in enumerate(product((6, 9, 25), (0, 1.5), (0.1, 1))):
        a = generator.exponential(size=(n, 60)) * (generator.random((n, 60)) < share) + shift * (np.arange(60) < 2) + 0.01
        rows = compare(*_sparse({"a": a, "b": generator.exponential(size=(n, 60)) * (generator.random((n, 60)) < share)}), PAIR, 60)
        assert (rows["bh_p"] <= rows["maxt_p"]).all() and (rows["p"] <= rows["maxt_p"]).all(), trial


def test_shuffle_threshold_equals_brute_force() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.exponential(size=(2, 10, 6))
    rows = np.vstack([first, second])
    order = np.random.default_rng(3).random((50, 20)).argsort(axis=1)
    largest = [np.abs(standardised_differences(rows[shuffle < 10], rows[shuffle >= 10])).max() for shuffle in order]
    assert shuffle_threshold(first, second, 50, 3, block=4) == pytest.approx(np.quantile(largest, 0.999))


def test_shuffles_that_part_a_column_without_variation_are_divided_by_what_the_study_adds() -> None:
    first, second = np.array([[2.0, 5.0, 0.0], [2.0, 5.0, 0.0]]), np.array([[0.5, 5.0, 1.0], [0.5, 5.0, 3.0]])
    rows = np.vstack([first, second])
    order = np.random.default_rng(0).random((40, 4)).argsort(axis=1)
    largest = [np.abs(standardised_differences(rows[shuffle < 2], rows[shuffle >= 2])).max() for shuffle in order]
    assert max(largest) == pytest.approx(1.5e10)
    for level in (0.2, 0.5, 0.999):
        assert shuffle_threshold(first, second, 40, 0, level) == pytest.approx(np.quantile(largest, level))


def test_other_units_under_the_second_condition_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the same units under both conditions"):
        shuffle_threshold(np.zeros((3, 2)), np.zeros((4, 2)), 10, 0)


def _sparse(dense: dict[str, np.ndarray], varies: bool = True) -> tuple[pl.DataFrame, pl.DataFrame]:
    read = [
        {"condition": name, "question_id": f"q{row:02}", "inputs": f"{name}{row if varies else ''}", "n_examples": 1}
        for name, values in dense.items()
        for row in range(len(values))
    ]
    fired = [
        {"condition": name, "question_id": f"q{row:02}", "feature": 10 * column, "total": float(values[row, column])}
        for name, values in dense.items()
        for row, column in zip(*np.nonzero(values), strict=True)
    ]
    return pl.DataFrame(read), pl.DataFrame(fired)


def test_planted_features_are_found_and_silent_ones_counted() -> None:
    generator = np.random.default_rng(4)
    a, b = np.abs(generator.normal(1, 0.3, (2, 30, 40)))
    a[:, [3, 17]] += 1
    a[:, 39] = b[:, 39] = 0
    rows = compare(*_sparse({"a": a, "b": b}), PAIR, 1000)
    assert rows.filter(pl.col("maxt_p") <= 0.01)["feature"].to_list() == [30, 170]
    assert rows["n_tested"].unique().to_list() == [39] and rows["n_silent"].unique().to_list() == [961]
    np.testing.assert_allclose(rows["difference"], (a - b).mean(axis=0)[:39])
    p = rows["p"].to_numpy()
    bounds = [min(39 * own / (p <= own).sum() for own in p[p >= each]) for each in p]
    np.testing.assert_allclose(rows["bh_p"], np.minimum(np.minimum(bounds, 1), rows["maxt_p"]), rtol=1e-12)
    assert len(set(rows["bh_p"])) > 3


def test_identical_conditions_differ_by_exactly_zero() -> None:
    values = np.abs(np.random.default_rng(6).normal(size=(12, 8)))
    rows = compare(*_sparse({"a": values, "b": values}), PAIR, 8)
    assert (rows["difference"] == 0).all() and (rows["published_effect"] == 0).all()
    assert (rows["p"] == 1).all() and (rows["maxt_p"] == 1).all() and not rows["refused"].any()


def test_inputs_without_variation_refuse_the_test() -> None:
    values = np.tile([1.0, 2.0, 0.0], (9, 1))
    rows = compare(*_sparse({"a": values, "b": values / 2}, varies=False), PAIR, 3)
    assert rows["refused"].all() and rows["reason"].str.contains("n = 1").all() and rows["n"].unique().to_list() == [9]
    assert rows["difference"].to_list() == [0.5, 1.0] and rows["maxt_p"].null_count() == 2 and rows["published_effect"].null_count() == 2


@pytest.mark.slow
def test_family_wise_error_is_held() -> None:
    generator = np.random.default_rng(7)
    trials = 400
    rejected = sum(
        flip_features(generator.laplace(size=(20, 100)) + generator.normal(size=(20, 1)), 199, trial).adjusted_p.min() <= 0.05 for trial in range(trials)
    )
    assert abs(rejected / trials - 0.05) <= 2.6 * np.sqrt(0.05 * 0.95 / trials)


def test_constant_columns_are_divided_by_the_published_floor_whatever_their_rounding() -> None:
    first, second = np.full((50, 1), 0.1), np.full((50, 1), 0.3)
    assert first.var() > 0, "the mean of equal numbers is rounded here, which is what is tried"
    assert standardised_differences(first, second) == pytest.approx(-0.2 / 1e-10)
