"""Cluster-robust standard errors of a regression in plain matrices, as their authors write them: what the closed forms in SQL are held against."""

import numpy as np
from scipy import stats


def cr2(values: np.ndarray, design: np.ndarray, clusters: np.ndarray, contrast: np.ndarray) -> tuple[float, float, float]:
    """Estimate of `contrast` [k] of a regression of `values` [n] on `design` [n, k], its CR2 standard error and Bell and McCaffrey's degrees of freedom.

    The working model is independent rows of one variance. Source: Imbens and Kolesar (2016), equations 11 to 15.
    """
    bread = np.linalg.inv(design.T @ design)
    residual_maker = np.eye(len(values)) - design @ bread @ design.T
    residuals = residual_maker @ values
    scores, loadings = [], []
    for cluster in np.unique(clusters):
        rows = clusters == cluster
        size, vectors = np.linalg.eigh(residual_maker[np.ix_(rows, rows)])
        kept = size > 1e-9
        adjustment = (vectors[:, kept] / np.sqrt(size[kept])) @ vectors[:, kept].T
        weight = adjustment @ design[rows] @ bread @ contrast
        scores.append(weight @ residuals[rows])
        loadings.append(residual_maker[rows].T @ weight)
    form = np.array(loadings) @ np.array(loadings).T
    return float(contrast @ bread @ design.T @ values), float(np.linalg.norm(scores)), float(np.trace(form) ** 2 / (form**2).sum())


def mean_interval(values: np.ndarray, sizes: np.ndarray, share: float = 1.0) -> tuple[float, float, float, float]:
    """Mean over rows of a value that all rows of a cluster share [clusters], its CR2 standard error, half its 95% interval and the degrees of freedom."""
    of_rows = np.repeat(np.arange(len(sizes)), sizes)
    mean, sem, df = cr2(np.asarray(values, float)[of_rows], np.ones((len(of_rows), 1)), of_rows, np.ones(1))
    return mean, sem, sem * float(stats.t.ppf(1 - 0.025 * share, df)), df
