"""Rank correlation of two noisy profiles, corrected for attenuation by halves of the questions, with an interval over questions."""

from dataclasses import dataclass

import numpy as np

SPLITS = 10  # into halves, over which correlations are averaged
FEWEST_CLUSTERS = 4  # halves of two


@dataclass(frozen=True)
class Halves:
    """Means of each half [splits, 2, heads], of each question's own half without it [splits, questions, heads], and which half that is [splits, questions]."""

    whole: np.ndarray
    without: np.ndarray
    own: np.ndarray


@dataclass(frozen=True)
class Corrected:
    """A corrected correlation with the ends of its 95% interval, and the reliability of both profiles over all questions; None where it has none."""

    r: float | None
    low: float | None
    high: float | None
    reliability_a: float | None
    reliability_b: float | None


def halve(values: np.ndarray, clusters: np.ndarray, seed: int) -> Halves | None:
    """Halves of `values` [prompts, heads] whose question is `clusters` [prompts]; None with fewer than four questions."""
    n_clusters = int(clusters.max()) + 1
    if n_clusters < FEWEST_CLUSTERS:
        return None
    totals, sizes = np.zeros((n_clusters, values.shape[1])), np.bincount(clusters, minlength=n_clusters)[:, None]
    np.add.at(totals, clusters, values)
    own = np.argsort(np.random.default_rng(seed).random((SPLITS, n_clusters)), axis=1) % 2
    member = np.stack([own == 0, own == 1], axis=1).astype(float)
    sums, counts = member @ totals, member @ sizes
    at = np.arange(SPLITS)[:, None], own
    return Halves(sums / counts, (sums[at] - totals) / (counts[at] - sizes), own)


def corrected_rank_correlation(first: Halves | None, second: Halves | None, heads: np.ndarray) -> Corrected:
    """Spearman's correlation of two profiles over `heads` (a mask) as it would be without noise, from halves of the same questions.

    The correlation of one profile in one half with the other in the other half, whose errors are independent, over the root of the product of each profile's
    correlation between halves (Spearman 1904), each averaged over splits. Reliability is what the latter becomes at full length, 2 r / (1 + r) (Spearman 1910,
    Brown 1910). Interval: jackknife over questions, Student t with one degree of freedom less than questions, the heads being those there are. Noise may carry
    the estimate beyond 1 or -1, which counts as that. Nothing is known without halves.
    """
    if first is None or second is None:
        return Corrected(None, None, None, None, None)
    (a, a_out, a_rest), (b, b_out, b_rest) = (_ranked(halves, heads) for halves in (first, second))
    whole = [_mean(a[:, 0] * b[:, 1] + a[:, 1] * b[:, 0]) / 2, _mean(a[:, 0] * a[:, 1]), _mean(b[:, 0] * b[:, 1])]
    r, reliability_a, reliability_b = _disattenuated(*whole)
    if np.isnan(r):
        return Corrected(None, None, None, _known(reliability_a), _known(reliability_b))
    drawn, _, _ = _disattenuated(_mean(a_out * b_rest + a_rest * b_out) / 2, _mean(a_out * a_rest), _mean(b_out * b_rest))
    low, high = _jackknife(r, drawn)
    return Corrected(float(np.clip(r, -1, 1)), low, high, _known(reliability_a), _known(reliability_b))


def _ranked(halves: Halves, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standardised ranks over the heads of each half, of the halves that lost a question, and of the other half beside each of these."""
    whole, without = (_standardised(values[..., heads]) for values in (halves.whole, halves.without))
    return whole, without, whole[np.arange(SPLITS)[:, None], 1 - halves.own]


def _standardised(values: np.ndarray) -> np.ndarray:
    """Average ranks over the last axis less their mean, of length 1; NaN where all are equal."""
    from scipy.stats import rankdata  # most of a second to import, which only this computation needs

    ranks = rankdata(values, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    length = np.sqrt((ranks**2).sum(axis=-1, keepdims=True))
    return np.divide(ranks, length, out=np.full_like(ranks, np.nan), where=length > 0)


def _mean(products: np.ndarray) -> np.ndarray:
    """Correlations from products of standardised ranks, averaged over the splits."""
    return products.sum(axis=-1).mean(axis=0)


def _disattenuated(crossed: np.ndarray, half_a: np.ndarray, half_b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corrected correlation, NaN where a profile does not repeat itself at all, and both reliabilities, at least 0."""
    scale = np.where((half_a > 0) & (half_b > 0), half_a * half_b, np.nan)
    reliabilities = [2 * np.maximum(half, 0) / (1 + np.maximum(half, 0)) for half in (half_a, half_b)]
    return crossed / np.sqrt(scale), *reliabilities


def _jackknife(r: np.ndarray, drawn: np.ndarray) -> tuple[float | None, float | None]:
    """Ends of the 95% interval from the values without each question [questions]; None where one of them has no correlation."""
    if np.isnan(drawn).any():
        return None, None
    from scipy.special import stdtrit

    n = len(drawn)
    half = stdtrit(n - 1, 0.975) * np.sqrt((n - 1) / n * ((drawn - drawn.mean()) ** 2).sum())
    return float(np.clip(r - half, -1, 1)), float(np.clip(r + half, -1, 1))


def _known(value: np.ndarray) -> float | None:
    return None if np.isnan(value) else float(value)
