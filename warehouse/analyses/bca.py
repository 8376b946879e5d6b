"""Bias-corrected and accelerated bootstrap intervals (BCa) of many figures at once, from replicates that were drawn and values with one unit left out."""

from collections.abc import Sequence

import numpy as np


def widened_level(n_units: int, level: float = 0.95) -> float:
    """The level to ask of a bootstrap interval for `level` to be covered with few units: resampling has a spread of (n - 1) / n and normal tails.

    Source: Hesterberg (2015), expanded percentile: normal tails beyond sqrt(n / (n - 1)) times the t quantile.
    """
    from scipy import stats  # most of a second to import, which only these computations need

    return float(1 - 2 * stats.norm.sf(np.sqrt(n_units / (n_units - 1)) * stats.t.ppf((1 + level) / 2, n_units - 1)))


def bca_interval(replicates: np.ndarray, observed: np.ndarray, left_out: Sequence[np.ndarray], level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Ends [figures] of the interval of each figure from `replicates` [resamples, figures], `observed` [figures] and `left_out`, [units, figures] a sample.

    Where several samples are drawn by themselves, a value of `left_out` lacks one unit of one sample. The bias is the share of replicates below the observed
    figure (half of those equal to it), the acceleration the skewness of the jackknife over all samples. Ends are NaN where the replicates do not vary.
    Source: Efron (1987); Efron and Tibshirani (1993), chapter 14; for several samples as scipy.stats.bootstrap has it.
    """
    from scipy import special

    below = (replicates < observed).mean(axis=0) + (replicates == observed).mean(axis=0) / 2
    half = 0.5 / len(replicates)
    bias = special.ndtri(np.clip(below, half, 1 - half))
    cubes, squares = np.zeros((2, replicates.shape[1]))
    for values in left_out:
        influence = (len(values) - 1) * (values.mean(axis=0) - values)
        cubes += (influence**3).sum(axis=0) / len(values) ** 3
        squares += (influence**2).sum(axis=0) / len(values) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        acceleration = cubes / (6 * squares**1.5)
        acceleration = np.where(np.isfinite(acceleration), acceleration, 0.0)
        ends = []
        ordered = np.sort(replicates, axis=0)
        for tail in ((1 - level) / 2, (1 + level) / 2):
            shifted = bias + special.ndtri(tail)
            share = special.ndtr(bias + shifted / (1 - acceleration * shifted))
            place = np.clip(share * (len(replicates) - 1), 0, len(replicates) - 1)
            lower = np.floor(place).astype(int)
            upper = np.minimum(lower + 1, len(replicates) - 1)
            columns = np.arange(replicates.shape[1])
            ends.append(ordered[lower, columns] + (place - lower) * (ordered[upper, columns] - ordered[lower, columns]))
    varies = (ordered[0] < ordered[-1]) & np.isfinite(observed)
    return np.where(varies, ends[0], np.nan), np.where(varies, ends[1], np.nan)
