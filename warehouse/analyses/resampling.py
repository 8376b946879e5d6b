"""Tests and intervals by resampling clusters: rows of one cluster go together, and every resample of every layer comes from one matrix product."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_ROUNDING = 1e-9  # two statistics of the same value differ by less, relative to it


@dataclass(frozen=True)
class FlipTest:
    """Sign-flip test of the means of several layers: p of each alone and adjusted for all (NaN where a layer does not vary), and how it was made."""

    p: np.ndarray
    adjusted_p: np.ndarray
    resamples: int
    every: bool


def max_t(totals: np.ndarray, sizes: np.ndarray, resamples: int, seed: int) -> FlipTest:
    """Are the means of `totals` [clusters, layers] (sums over the `sizes` [clusters] rows of each cluster) other than zero?

    Under the null hypothesis the sign of a cluster's sum is arbitrary. Signs of whole clusters are flipped, all layers alike, so that their correlation stays;
    the statistic is the cluster-robust t, and a layer's adjusted p is the share of flips whose largest |t| over layers reaches its own (Westfall and Young,
    single step). All flips are made where there are no more than `resamples` of them (a flip and its mirror image give the same |t|), else `resamples` are
    drawn and the observed signs count as one more.
    """
    n_clusters = len(totals)
    every = n_clusters - 1 <= np.log2(resamples)
    flips = _all_flips(n_clusters) if every else np.random.default_rng(seed).choice((-1.0, 1.0), size=(resamples, n_clusters))
    observed = _robust_t(np.ones((1, n_clusters)), totals, sizes)[0]
    varies = np.isfinite(observed) & (np.abs(totals).max(axis=0) > 0)
    statistics = np.abs(_robust_t(flips, totals[:, varies], sizes))
    reached = np.abs(observed[varies]) * (1 - _ROUNDING)
    largest = statistics.max(axis=1, initial=0)
    extra = 0 if every else 1
    p, adjusted = np.full((2, totals.shape[1]), np.nan)
    p[varies] = ((statistics >= reached).sum(axis=0) + extra) / (len(flips) + extra)
    adjusted[varies] = ((largest[:, None] >= reached).sum(axis=0) + extra) / (len(flips) + extra)
    return FlipTest(p, adjusted, len(flips), every)


def _all_flips(n_clusters: int) -> np.ndarray:
    """Every choice of signs with a positive first one [2 ** (n_clusters - 1), n_clusters]."""
    bits = np.arange(2 ** (n_clusters - 1))[:, None] >> np.arange(n_clusters - 1) & 1
    return np.hstack([np.ones((len(bits), 1)), 1.0 - 2 * bits])


def _robust_t(flips: np.ndarray, totals: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Cluster-robust t [flips, layers] of the mean after each flip; infinite where the flipped clusters agree exactly."""
    n, n_clusters = sizes.sum(), len(sizes)
    sums, weighted = np.hsplit(flips @ np.hstack([totals, sizes[:, None] * totals]), 2)
    mean = sums / n
    scale = (totals**2).sum(axis=0)
    squares = scale - 2 * mean * weighted + mean**2 * (sizes**2).sum()
    squares = np.where(squares > _ROUNDING**1.5 * scale, squares, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums / np.sqrt(squares * n_clusters / (n_clusters - 1))


@lru_cache(maxsize=2)
def draw_counts(n_clusters: int, resamples: int, seed: int) -> np.ndarray:
    """How often each cluster is drawn in each resample with replacement [resamples, n_clusters]: a product with cluster sums gives those of all resamples.

    The last two are kept, since many statistics share their draws; they cannot be written to.
    """
    draws = np.random.default_rng(seed).integers(0, n_clusters, size=(resamples, n_clusters))
    offsets = draws + n_clusters * np.arange(resamples)[:, None]
    counts = np.bincount(offsets.ravel(), minlength=resamples * n_clusters).reshape(resamples, n_clusters).astype(float)
    counts.setflags(write=False)
    return counts


def percentile_ends(values: np.ndarray, level: float = 0.95) -> tuple[int, int]:
    """Ends of the percentile interval of whole numbers `values` [resamples], themselves among them."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return int(low), int(high)


@dataclass(frozen=True)
class PairedFlips:
    """Sign-flip test of many paired differences: p of each feature alone and adjusted for all [features], and how it was made."""

    p: np.ndarray
    adjusted_p: np.ndarray
    resamples: int
    every: bool


def flip_features(differences: np.ndarray, resamples: int, seed: int, block: int = 8192) -> PairedFlips:
    """Is the mean of any column of `differences` [units, features] other than zero? Studentised max-T over the columns (Westfall and Young, single step).

    A flip of signs leaves a column's sum of squares as it is, so |t| rises with |sum| / sqrt(sum of squares): one product of flips and scaled columns has the
    order of every studentised statistic. Columns go in blocks and only the largest of each flip is kept. Columns of zeros have p 1. All flips are made where
    there are no more than `resamples` of them, else that many are drawn and the observed signs count as one more. At least two units are needed.
    """
    n_units, n_features = differences.shape
    every = n_units - 1 <= np.log2(resamples)
    flips = _all_flips(n_units) if every else np.random.default_rng(seed).choice((-1.0, 1.0), size=(resamples, n_units))
    largest, reached, beyond = np.zeros(len(flips)), np.zeros(n_features), np.zeros(n_features)
    for start in range(0, n_features, block):
        part = differences[:, start : start + block].astype(float)
        length = np.sqrt((part**2).sum(axis=0))
        scaled = np.divide(part, length, out=np.zeros_like(part), where=length > 0)
        observed = np.abs(scaled.sum(axis=0)) * (1 - _ROUNDING)
        statistics = np.abs(flips @ scaled)
        np.maximum(largest, statistics.max(axis=1, initial=0), out=largest)
        reached[start : start + block] = observed
        beyond[start : start + block] = (statistics >= observed).sum(axis=0)
    extra = 0 if every else 1
    ordered = np.sort(largest)
    adjusted = len(flips) - np.searchsorted(ordered, reached, side="left")
    return PairedFlips((beyond + extra) / (len(flips) + extra), (adjusted + extra) / (len(flips) + extra), len(flips), every)


def standardised_differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Difference of the column means of [units, features] over the root mean of both population variances, 0 replaced by 1e-10 (issue 127).

    A spread within rounding of the column's size counts as 0: the mean of equal numbers need not be the number.
    """
    pooled = np.sqrt((first.var(axis=0) + second.var(axis=0)) / 2)
    largest = np.maximum(np.abs(first).max(axis=0), np.abs(second).max(axis=0))
    return (first.mean(axis=0) - second.mean(axis=0)) / np.where(pooled > _ROUNDING * largest, pooled, 1e-10)


def shuffle_threshold(first: np.ndarray, second: np.ndarray, resamples: int, seed: int, level: float = 0.999, block: int = 8192) -> float:
    """Quantile `level` of the largest |standardised difference| over columns of [units, features] under shuffled labels, pairs ignored (issue 127).

    With as many units under both conditions the squared statistic is 4 r / (1 - r), r the squared correlation of a column with the labels (1 and -1): one
    product of labels and centred columns gives all of them. A column that the labels part without variation in either half is divided by 1e-10, as published.
    Raises ValueError where the two shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"shuffle_threshold: shapes {first.shape} and {second.shape}; expected the same units under both conditions")
    n = len(first)
    order = np.random.default_rng(seed).random((resamples, 2 * n)).argsort(axis=1)
    labels = np.where(order < n, 1.0, -1.0)
    correlation, parted = np.zeros(resamples), np.zeros(resamples)
    for start in range(0, first.shape[1], block):
        rows = np.vstack([first[:, start : start + block], second[:, start : start + block]]).astype(float)
        largest = np.abs(rows).max(axis=0)
        rows -= rows.mean(axis=0)
        length = np.sqrt(2 * n * (rows**2).sum(axis=0))
        varies = length > _ROUNDING * largest
        found = np.abs(labels @ np.divide(rows, length, out=np.zeros_like(rows), where=varies))
        whole = found > 1 - _ROUNDING
        if whole.any():
            np.maximum(parted, np.where(whole, length / n / 1e-10, 0).max(axis=1), out=parted)
            found[whole] = 0
        np.maximum(correlation, found.max(axis=1, initial=0), out=correlation)
    squares = correlation**2
    return float(np.quantile(np.maximum(2 * np.sqrt(squares / (1 - squares)), parted), level))
