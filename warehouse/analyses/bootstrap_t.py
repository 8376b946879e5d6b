"""Tests of means that need no symmetry, which sign flips lean on: clusters drawn again, studentised in each draw, the largest over all columns."""

from dataclasses import dataclass

import numpy as np

from personascope.warehouse.analyses.resampling import cluster_draws

_ROUNDING = 1e-12  # squares below this share of the column's are rounding
_CHUNK = 1000  # draws at a time


@dataclass(frozen=True)
class BootstrapT:
    """p of each column alone and adjusted for all [columns], NaN where a column does not vary."""

    p: np.ndarray
    adjusted_p: np.ndarray
    resamples: int


def bootstrap_t(totals: np.ndarray, sizes: np.ndarray, resamples: int, seed: int) -> BootstrapT:
    """Are the means of `totals` [clusters, columns] (sums over the `sizes` [clusters] rows of each cluster) other than zero? Symmetric bootstrap-t (Hall 1988).

    The null hypothesis is that the mean is 0, whatever the shape: `resamples` times as many clusters are drawn with replacement, all columns alike, and the
    distance of the drawn mean from the observed one is divided by the drawn cluster-robust standard error. A column's p is the share of draws whose |t| reaches
    its own, its adjusted p that of draws whose largest |t| over columns does (Westfall and Young 1993, single step); the observed data count as one draw. Where
    the drawn clusters agree |t| is infinite: what hangs on a few clusters cannot be told from 0.
    """
    mean = totals.sum(axis=0) / sizes.sum()
    centred = totals - sizes[:, None] * mean
    squares = (centred**2).sum(axis=0)
    varies = squares > _ROUNDING * (totals**2).sum(axis=0)
    kept, n_clusters = centred[:, varies], len(totals)
    scale = np.sqrt(n_clusters / (n_clusters - 1)) if n_clusters > 1 else np.nan
    observed = np.abs(mean[varies]) * sizes.sum() / (scale * np.sqrt(squares[varies]))
    beyond, adjusted, reached = np.ones(len(observed)), np.ones(len(observed)), observed * (1 - 1e-9)
    generator = np.random.default_rng(seed)
    products = np.hstack([kept, kept**2, kept * sizes[:, None]])
    for start in range(0, resamples, _CHUNK):
        times = cluster_draws(generator, n_clusters, min(_CHUNK, resamples - start))
        sums, squared, crossed = np.split(times @ products, 3, axis=1)
        shift = sums / (times @ sizes)[:, None]
        spread = squared - 2 * shift * crossed + shift**2 * (times @ sizes**2)[:, None]
        spread = np.where(spread > _ROUNDING * squares[varies], spread, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistics = np.nan_to_num(np.abs(sums) / (scale * np.sqrt(spread)), nan=np.inf)
        beyond += (statistics >= reached).sum(axis=0)
        largest = np.sort(statistics.max(axis=1, initial=0))
        adjusted += len(largest) - np.searchsorted(largest, reached, side="left")
    p, adjusted_p = np.full((2, totals.shape[1]), np.nan)
    p[varies], adjusted_p[varies] = beyond / (resamples + 1), adjusted / (resamples + 1)
    return BootstrapT(p, adjusted_p, resamples)


def two_sample_bootstrap_t(first: np.ndarray, first_sizes: np.ndarray, second: np.ndarray, second_sizes: np.ndarray, resamples: int, seed: int) -> BootstrapT:
    """`bootstrap_t` of the difference of two means over the same clusters: sums [clusters, columns] and rows [clusters] of each sample.

    A cluster may have rows in one of them only. The statistic is that of `end_of_answer_contrast`: both samples in one cluster-robust variance, each corrected
    for its own number of clusters.
    """
    sides = ((first, first_sizes), (second, second_sizes))
    ones = np.ones((1, len(first)))
    difference, spread = _two_means(ones, sides, np.zeros((2, first.shape[1])))
    means = np.stack([totals.sum(axis=0) / sizes.sum() for totals, sizes in sides])
    observed = np.abs(difference[0]) / np.where(spread[0] > _ROUNDING * np.abs(means).max(axis=0), spread[0], np.nan)
    varies = np.isfinite(observed)
    beyond, adjusted, reached = np.ones(varies.sum()), np.ones(varies.sum()), observed[varies] * (1 - 1e-9)
    generator = np.random.default_rng(seed)
    kept = tuple((totals[:, varies], sizes) for totals, sizes in sides)
    for start in range(0, resamples, _CHUNK):
        moved, spread = _two_means(cluster_draws(generator, len(first), min(_CHUNK, resamples - start)), kept, means[:, varies])
        with np.errstate(divide="ignore", invalid="ignore"):
            statistics = np.nan_to_num(np.abs(moved) / spread, nan=np.inf)
        beyond += (statistics >= reached).sum(axis=0)
        adjusted += (statistics.max(axis=1, initial=0)[:, None] >= reached).sum(axis=0)
    p, adjusted_p = np.full((2, first.shape[1]), np.nan)
    p[varies], adjusted_p[varies] = beyond / (resamples + 1), adjusted / (resamples + 1)
    return BootstrapT(p, adjusted_p, resamples)


def _two_means(times: np.ndarray, sides: tuple[tuple[np.ndarray, np.ndarray], ...], centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Difference of both means, each less its centre, and its standard error [draws, columns] where each cluster counts `times` [draws, clusters]."""
    means, residuals = [], []
    with np.errstate(divide="ignore", invalid="ignore"):
        for (totals, sizes), centre in zip(sides, centres, strict=True):
            rows, present = times @ sizes, times @ (sizes > 0)
            mean = times @ (totals - sizes[:, None] * centre) / rows[:, None]
            left = totals - sizes[:, None] * centre - sizes[:, None] * mean[:, None, :]
            residuals.append(left * np.sqrt(present / (present - 1))[:, None, None] / rows[:, None, None])
            means.append(mean)
        spread = np.sqrt((times[..., None] * (residuals[0] - residuals[1]) ** 2).sum(axis=1))
    return means[0] - means[1], spread
