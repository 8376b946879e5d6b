"""Sign flips, bootstrap-t and false discovery at the sizes people have: 20 questions and 28 layers, 30 pairs and 784 heads, 2,000 features."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from personascope.warehouse.analyses.bootstrap_t import bootstrap_t
from personascope.warehouse.analyses.resampling import flip_features, max_t

pytestmark = pytest.mark.slow(40)


def skewed(generator: np.random.Generator, shape: str, n: int, columns: int) -> np.ndarray:
    """Differences [n, columns] of mean 0: of rare topics 15% of the questions hold the whole effect, the same ones in every column."""
    if shape == "normal":
        return generator.normal(size=(n, columns))
    if shape == "t3":
        return generator.standard_t(3, size=(n, columns))
    if shape == "exponential":
        return generator.exponential(size=(n, columns)) - 1
    if shape == "lognormal":
        return generator.lognormal(size=(n, columns)) - np.exp(0.5)
    rare = generator.random((n, 1)) < 0.15
    return 0.3 * generator.normal(size=(n, columns)) + rare * (1 + 0.5 * generator.normal(size=(n, columns))) - 0.15


def monte_carlo(rate: float, n: int) -> float:
    """Two standard errors of a share of n experiments."""
    return 2 * np.sqrt(rate * (1 - rate) / n)


@pytest.mark.parametrize(
    ("shape", "n", "columns", "experiments"),
    [("normal", 20, 28, 300), ("exponential", 20, 28, 300), ("lognormal", 20, 28, 300), ("rare topics", 20, 28, 300), ("exponential", 30, 784, 30)],
)
def test_a_mean_of_zero_is_seldom_rejected_without_symmetry(shape, n, columns, experiments):
    generator = np.random.default_rng(1)
    free, flips = np.zeros((2, experiments), dtype=bool)
    for trial in range(experiments):
        differences = skewed(generator, shape, n, columns)
        free[trial] = bootstrap_t(differences, np.ones(n), 400, trial).adjusted_p.min() <= 0.05
        flips[trial] = max_t(differences, np.ones(n), 400, trial, more=1).adjusted_p.min() <= 0.05
    assert free.mean() <= 0.08 + monte_carlo(0.08, experiments)
    if shape == "normal":
        assert flips.mean() <= 0.05 + monte_carlo(0.05, experiments)
    else:
        assert flips.mean() > free.mean(), "flips ask for symmetry, which is why the other p stands beside theirs"


def test_a_real_effect_is_seen_by_both():
    generator = np.random.default_rng(2)
    found = np.zeros((100, 2), dtype=bool)
    for trial in range(100):
        differences = generator.normal(size=(20, 28)) + 1.2 * (np.arange(28) == 7)
        tests = max_t(differences, np.ones(20), 400, trial, more=1), bootstrap_t(differences, np.ones(20), 400, trial)
        found[trial] = [test.adjusted_p[7] <= 0.05 for test in tests]
    assert (found.mean(axis=0) >= [0.85, 0.75]).all()


@pytest.mark.parametrize("n", [20, 30])
def test_false_discovery_finds_what_max_t_finds_and_keeps_its_rate(n):
    """2,000 features, 20 of them real at d = 1.5, 1,000 flips: the plain p of a flip test cannot be below 1/1001, where no feature is found."""
    experiments, real = 30, np.arange(2000) < 20
    power, most, false = np.zeros((3, experiments))
    for trial in range(experiments):
        generator = np.random.default_rng(trial)
        test = flip_features(generator.normal(size=(n, 2000)) + 1.5 * real, 1000, trial)
        adjusted = np.minimum(false_discovery_control(test.p), test.adjusted_p)
        found = adjusted <= 0.05
        power[trial], most[trial], false[trial] = found[real].mean(), (test.adjusted_p[real] <= 0.05).mean(), found[~real].sum() / max(1, found.sum())
        assert found.sum() >= (test.adjusted_p <= 0.05).sum()
        assert (false_discovery_control(np.maximum(test.p, 1 / 1001)) > 0.05).all()
    assert power.mean() >= most.mean() and power.mean() > 0.95
    assert false.mean() <= 0.06 + 2 * false.std() / np.sqrt(experiments)
