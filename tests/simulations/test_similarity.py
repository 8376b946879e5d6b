"""Intervals of the cosine between two conditions cover that of their true means, however much questions differ."""

import numpy as np
import pytest

from personascope.warehouse.analyses.similarity_intervals import cosines, jackknife_interval

pytestmark = pytest.mark.slow(8)

DATASETS, DIMENSIONS = 500, 64


@pytest.mark.parametrize(("n_questions", "noise", "shared"), [(20, 0.3, 0.5), (20, 1.0, 0.0), (20, 2.0, 0.5), (10, 1.0, 0.5)])
def test_the_cosine_of_the_true_means_is_covered(n_questions, noise, shared):
    """Measured: .93 to .98. The plain cosine of the means, without the correction, lies below the truth and its interval covers .25 at the worst."""
    generator = np.random.default_rng(n_questions)
    means = generator.standard_normal((2, DIMENSIONS))
    means[1] = 0.9 * means[0] + 0.44 * means[1]
    truth = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
    covered = 0
    for _ in range(DATASETS):
        common = generator.standard_normal((1, n_questions, DIMENSIONS))
        own = generator.standard_normal((2, n_questions, DIMENSIONS))
        vectors = means[:, None] + noise * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own)
        gram = np.einsum("aqd,brd->abqr", vectors, vectors, optimize=True)
        weights = np.ones((1, n_questions)), 1 - np.eye(n_questions)
        low, high = jackknife_interval(cosines(gram, weights[0], corrected=True)[0], cosines(gram, weights[1], corrected=True))
        covered += low[0, 1] <= truth <= high[0, 1]
    error = np.sqrt(0.05 * 0.95 / DATASETS)
    assert 0.93 - 2 * error <= covered / DATASETS
