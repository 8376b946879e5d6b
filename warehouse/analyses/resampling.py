"""Tests and intervals by resampling clusters: rows of one cluster go together, and every resample of every layer comes from one matrix product."""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from personascope.warehouse.analyses.tails import tilted_p

_ROUNDING = 1e-9  # two statistics of the same value differ by less, relative to it
MORE = 10  # times as many flips where the first ones do not decide
FEW = 50  # flips that reach a statistic, below which its p is taken from tilted ones
BLOCK = 8192  # columns at a time


@dataclass(frozen=True)
class FlipTest:
    """Sign-flip test of the means of many columns: p of each alone and adjusted for all (NaN where a column does not vary), and how it was made."""

    p: np.ndarray
    adjusted_p: np.ndarray
    resamples: int
    every: bool


def max_t(totals: np.ndarray, sizes: np.ndarray, resamples: int, seed: int, more: int = MORE) -> FlipTest:
    """Are the means of `totals` [clusters, columns] (sums over the `sizes` [clusters] rows of each cluster) other than zero?

    The null hypothesis is exchangeability within a pair: both sides of a cluster's difference have one distribution, so its sign is arbitrary. Equal means
    alone are not enough: of skewed differences whose mean is 0 it rejects too often (`bootstrap_t` needs no symmetry). Signs of whole clusters are flipped,
    all columns alike, so that their correlation stays; the statistic is the cluster-robust t, and a column's adjusted p is the share of flips whose largest
    |t| over columns reaches its own (Westfall and Young 1993, single step). All flips are made where there are no more than `resamples` of them (a flip and
    its mirror image give the same |t|), else `resamples` are drawn, `more` times as many where an adjusted p lies so near to 0.05 that they would not decide
    it, and the observed signs count as one more. A p of few flips is that of flips drawn towards the observed mean (`tails.tilted_p`).
    """
    observed = _robust_t(np.ones((1, len(totals))), totals, sizes)[0]
    varies = np.isfinite(observed) & (np.abs(totals).max(axis=0) > 0)
    test = _flip_test(totals[:, varies], sizes, np.abs(observed[varies]), resamples, seed, more)
    p, adjusted = np.full((2, totals.shape[1]), np.nan)
    p[varies], adjusted[varies] = test.p, test.adjusted_p
    return FlipTest(p, adjusted, test.resamples, test.every)


def flip_features(differences: np.ndarray, resamples: int, seed: int, more: int = MORE, block: int = BLOCK) -> FlipTest:
    """`max_t` of paired differences [units, features], where a feature that does not vary is tested as well: one of zeros has p 1.

    A flip of signs leaves a column's sum of squares as it is, so |t| rises with |sum| / sqrt(sum of squares), which exists where t is infinite: one product of
    flips and scaled columns has the order of every studentised statistic. At least two units are needed.
    """
    length = np.sqrt((differences.astype(float) ** 2).sum(axis=0))
    scaled = np.divide(differences, length, out=np.zeros(differences.shape), where=length > 0)
    return _flip_test(scaled, None, np.abs(scaled.sum(axis=0)), resamples, seed, more, block)


def _flip_test(totals: np.ndarray, sizes: np.ndarray | None, observed: np.ndarray, resamples: int, seed: int, more: int, block: int = BLOCK) -> FlipTest:
    """Counts of flips whose statistic, of each column and the largest, reaches `observed` [columns]: cluster-robust t, or the sum without `sizes`."""
    n_clusters, n_columns = totals.shape
    every = n_clusters - 1 <= np.log2(resamples)
    generator = np.random.default_rng(seed)
    reached = observed * (1 - _ROUNDING)
    beyond, adjusted = np.zeros((2, n_columns))
    drawn, extra = 0, 0 if every else 1
    while not drawn or (not every and drawn < more * resamples and _undecided(adjusted, drawn)):
        flips = _all_flips(n_clusters) if every else generator.choice((-1.0, 1.0), size=(resamples, n_clusters))
        largest = np.zeros(len(flips))
        for start in range(0, n_columns, block):
            part = totals[:, start : start + block]
            statistics = np.abs(flips @ part if sizes is None else _robust_t(flips, part, sizes))
            beyond[start : start + block] += (statistics >= reached[start : start + block]).sum(axis=0)
            np.maximum(largest, statistics.max(axis=1, initial=0), out=largest)
        adjusted += len(flips) - np.searchsorted(np.sort(largest), reached, side="left")
        drawn += len(flips)
    p, adjusted_p = (beyond + extra) / (drawn + extra), (adjusted + extra) / (drawn + extra)
    few = (beyond < FEW) & (not every) & (observed > 0)
    if few.any():
        statistic = None if sizes is None else partial(_robust_t, sizes=sizes)
        p[few] = np.minimum(tilted_p(totals[:, few], reached[few], resamples, seed, statistic), adjusted_p[few])
    return FlipTest(p, adjusted_p, drawn, every)


def number(value: float) -> float | None:
    """The value as a table takes it: NaN is NULL."""
    return None if np.isnan(value) else float(value)


def _undecided(counts: np.ndarray, drawn: int, level: float = 0.05) -> bool:
    """Whether some share of `drawn` flips lies within three standard errors of the level."""
    return bool((np.abs(counts / drawn - level) < 3 * np.sqrt(level * (1 - level) / drawn)).any())


def _all_flips(n_clusters: int) -> np.ndarray:
    """Every choice of signs with a positive first one [2 ** (n_clusters - 1), n_clusters]."""
    bits = np.arange(2 ** (n_clusters - 1))[:, None] >> np.arange(n_clusters - 1) & 1
    return np.hstack([np.ones((len(bits), 1)), 1.0 - 2 * bits])


def _robust_t(flips: np.ndarray, totals: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Cluster-robust t [flips, columns] of the mean after each flip; infinite where the flipped clusters agree exactly."""
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
    counts = cluster_draws(np.random.default_rng(seed), n_clusters, resamples)
    counts.setflags(write=False)
    return counts


def cluster_draws(generator: np.random.Generator, n_clusters: int, resamples: int) -> np.ndarray:
    """The same of a generator that goes on drawing."""
    draws = generator.integers(0, n_clusters, size=(resamples, n_clusters))
    offsets = draws + n_clusters * np.arange(resamples)[:, None]
    return np.bincount(offsets.ravel(), minlength=resamples * n_clusters).reshape(resamples, n_clusters).astype(float)


def percentile_ends(values: np.ndarray, level: float = 0.95) -> tuple[int, int]:
    """Ends of the percentile interval of whole numbers `values` [resamples], themselves among them."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return int(low), int(high)


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
