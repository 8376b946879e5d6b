"""BCa intervals against those of scipy from the same draws, of one sample and of two."""

import numpy as np
import pytest
from scipy import stats

from personascope.warehouse.analyses.bca import bca_interval, widened_level


def without_each(samples, statistic):
    """The statistic with each unit of each sample left out, a list over samples of [units, 1]."""
    left = [
        [[np.delete(each, unit) if place == out else each for place, each in enumerate(samples)] for unit in range(len(samples[out]))]
        for out in range(len(samples))
    ]
    return [np.array([[statistic(*reduced)] for reduced in of]) for of in left]


@pytest.mark.parametrize("n_samples", [1, 2])
def test_ends_are_those_of_scipy(n_samples):
    generator = np.random.default_rng(3)
    samples = [generator.exponential(size=size) for size in (20, 13)[:n_samples]]

    def statistic(*of, axis=-1):
        return np.mean(of[0], axis=axis) if len(of) == 1 else np.mean(of[0], axis=axis) / np.mean(of[1], axis=axis)

    for level in (0.95, 0.8):
        theirs = stats.bootstrap(samples, statistic, n_resamples=1500, confidence_level=level, rng=np.random.default_rng(4), method="BCa")
        drawn = theirs.bootstrap_distribution[:, None]
        low, high = bca_interval(drawn, np.array([statistic(*samples)]), without_each(samples, statistic), level)
        assert (low[0], high[0]) == pytest.approx(tuple(theirs.confidence_interval), rel=1e-9)


def test_a_figure_that_does_not_vary_has_no_interval():
    low, high = bca_interval(np.ones((100, 1)), np.ones(1), [np.ones((5, 1))])
    assert np.isnan([low[0], high[0]]).all()


def test_tails_are_wider_with_few_units():
    assert widened_level(30) == pytest.approx(1 - 2 * stats.norm.sf(np.sqrt(30 / 29) * stats.t.ppf(0.975, 29)))
    assert 0.95 < widened_level(1000) < 0.952 < widened_level(30) < widened_level(6) < 1
