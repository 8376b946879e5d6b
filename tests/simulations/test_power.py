"""The power that a plan states is the share of simulated studies in which the test of their difference rejects, and what statistics.md lists."""

import numpy as np
import pytest
from scipy import stats

from personascope.warehouse.planning.power import Design, MeanEffect, RateEffect, power

pytestmark = pytest.mark.slow(12)

STUDIES = 2000
MONTE_CARLO = 2 * np.sqrt(0.25 / STUDIES)  # two standard errors of a share, at most .022
APPROXIMATE = 0.03  # rates near 0 are skewed, which a t test over questions feels: largest deviation measured over the settings of docs/statistics.md
SETTINGS = [(0.05, 0.10, 20, 10), (0.05, 0.10, 20, 30), (0.05, 0.10, 50, 10), (0.5, 0.55, 20, 30), (0.5, 0.55, 200, 5), (0.02, 0.07, 50, 10), (0.3, 0.2, 20, 5)]


def rejected(differences: np.ndarray) -> float:
    """Share of studies (rows) whose paired t test over questions (columns) has p < .05."""
    found = stats.ttest_1samp(differences, 0, axis=1)
    return float(np.mean(np.nan_to_num(found.pvalue, nan=1.0) < 0.05))


@pytest.mark.parametrize(("low", "high", "questions", "samples"), SETTINGS)
def test_the_power_of_a_rate_is_that_of_beta_binomial_questions(low, high, questions, samples):
    """Each question's two rates are beta with the intraclass correlation, joined by a Gaussian copula."""
    effect = RateEffect(low, high)
    draws = np.random.default_rng(17)
    first = draws.normal(size=(STUDIES, questions))
    second = effect.shared * first + np.sqrt(1 - effect.shared**2) * draws.normal(size=first.shape)
    scale = (1 - effect.icc) / effect.icc
    grid = np.linspace(-6, 6, 4001)
    hits = []
    for rate, normal in ((low, first), (high, second)):
        quantiles = stats.beta.ppf(stats.norm.cdf(grid), rate * scale, (1 - rate) * scale)
        hits.append(draws.binomial(samples, np.interp(normal, grid, quantiles)))
    found = rejected((hits[1] - hits[0]) / samples)
    assert found == pytest.approx(power(effect, Design(questions, samples)), abs=APPROXIMATE + MONTE_CARLO)


@pytest.mark.parametrize(("questions", "samples", "difference"), [(10, 1, 0.05), (20, 3, 0.03), (50, 2, 0.02)])
def test_the_power_of_a_mean_is_that_of_normal_questions(questions, samples, difference):
    effect, draws = MeanEffect(difference, 0.05, 0.04), np.random.default_rng(18)
    means = draws.normal(difference, 0.05, (STUDIES, questions)) + draws.normal(0, 0.04 / np.sqrt(samples), (STUDIES, questions))
    assert rejected(means) == pytest.approx(power(effect, Design(questions, samples)), abs=MONTE_CARLO)


@pytest.mark.parametrize("seeds", [3, 6])
def test_the_power_over_seeds_is_that_of_a_t_test_over_them(seeds):
    effect, draws = MeanEffect(0.05, 0.05, 0.1, seed_sd=0.03), np.random.default_rng(19)
    means = draws.normal(0.05, 0.03, (STUDIES, seeds)) + draws.normal(0, 0.1 / np.sqrt(20 * 5), (STUDIES, seeds))
    assert rejected(means) == pytest.approx(power(effect, Design(20, 5, seeds)), abs=MONTE_CARLO)


def test_comparisons_share_the_error():
    effect, draws = MeanEffect(0.0, 0.05, 0.0), np.random.default_rng(20)
    pvalue = stats.ttest_1samp(draws.normal(0, 0.05, (20 * STUDIES, 12)), 0, axis=1).pvalue.reshape(STUDIES, 20)
    assert np.mean(pvalue.min(1) < 0.05 / 20) == pytest.approx(0.05, abs=2 * np.sqrt(0.05 * 0.95 / STUDIES))
    assert power(effect, Design(12, 1, comparisons=20)) == pytest.approx(0.05 / 20, rel=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "questions", "samples", "listed"),
    [
        (0.05, 0.1, 20, 10, 0.41),
        (0.05, 0.1, 20, 30, 0.65),
        (0.05, 0.1, 100, 10, 0.99),
        (0.5, 0.55, 20, 30, 0.24),
        (0.5, 0.55, 200, 5, 0.60),
        (0.02, 0.07, 50, 10, 0.93),
    ],
)
def test_designs_of_publications_see_what_was_found_for_them(low, high, questions, samples, listed):
    """The defaults (intraclass correlation .15, correlation of conditions .85) stand for paired questions; the listed shares are simulated themselves."""
    assert power(RateEffect(low, high), Design(questions, samples)) == pytest.approx(listed, abs=0.03)
