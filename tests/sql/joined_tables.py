"""Views beside what plain Python makes of the tables: rows by key, and the statistics of means over questions from matrices.

Not a test module: the tests load it with `runpy`, since test folders are no packages.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from cluster_robust import cr2
from scipy import stats

Row = dict[str, Any]


def grouped(rows: Iterable[Row], *names: str) -> dict[tuple, list[Row]]:
    """Rows by the values of some columns."""
    found: dict[tuple, list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return found


def compared(found: Iterable[Row], expected: Iterable[Row], keys: Sequence[str], places: float = 1e-6) -> None:
    """Fails unless both hold the same keys, each once, and every column of `expected` has the same values in `found`."""
    rows, wanted = grouped(found, *keys), grouped(expected, *keys)
    assert all(len(each) == 1 for each in (*rows.values(), *wanted.values())), "a key stands there twice"
    assert rows.keys() == wanted.keys(), f"{len(rows.keys() - wanted.keys())} rows too many, {len(wanted.keys() - rows.keys())} missing"
    for key, (want,) in wanted.items():
        (row,) = rows[key]
        for name, value in want.items():
            same = row[name] == value if value is None or isinstance(value, (str, bool)) else row[name] == pytest.approx(value, rel=places, abs=places)
            assert same, f"{dict(zip(keys, key, strict=True))}: {name} is {row[name]}, expected {value}"


def of_clusters(values: Sequence[float], clusters: Sequence[str]) -> Row:
    """Mean over rows, its interval and what is said of both, from the matrices of `cluster_robust`; `sem` is 0 where clusters do not differ."""
    numbers, names = np.asarray(values, dtype=float), np.asarray(clusters)
    sizes = np.array([(names == name).sum() for name in np.unique(names)])
    means = np.array([numbers[names == name].mean() for name in np.unique(names)])
    told: Row = {"mean": numbers.mean(), "n": len(numbers), "n_clusters": len(sizes), "kish": sizes.sum() ** 2 / (sizes**2).sum()}
    if len(sizes) < 2:
        return told | {"sem": None, "df": None, "low": None, "high": None, "skewed": None}
    _, sem, df = cr2(numbers, np.ones((len(numbers), 1)), names, np.ones(1))
    varies = np.ptp(means) > 1e-9 * np.abs(means).max()
    reach = sem * stats.t.ppf(0.975, df) if varies else None
    skewed = skewness_beyond(means - numbers.mean()) if varies else None
    ends = {"low": None, "high": None} if reach is None else {"low": numbers.mean() - reach, "high": numbers.mean() + reach}
    return told | {"sem": sem if varies else 0.0, "df": df, "skewed": skewed} | ends


def skewness_beyond(means: np.ndarray) -> bool | None:
    """Sample skewness of at least 1 and beyond twice its standard error under normality; None with fewer than three."""
    n = len(means)
    if n < 3:
        return None
    error = np.sqrt(6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)))
    return bool(abs(stats.skew(means, bias=False)) >= max(1.0, 2 * error))


def renamed(told: Mapping[str, Any], **names: str) -> Row:
    """Some entries under other names."""
    return {name: told[old] for name, old in names.items()}


def shrunken(estimates: Sequence[float], errors: Sequence[float | None]) -> list[float | None]:
    """Estimates of one family drawn towards their mean by their own squared errors (empirical Bayes)."""
    values = np.asarray(estimates, dtype=float)
    squares = [None if each is None else each**2 for each in errors]
    known = [each for each in squares if each is not None]
    if len(values) < 2 or not known:
        return [value if square == 0 else None for value, square in zip(values, squares, strict=True)]
    spread = max(0.0, values.var(ddof=1) - np.mean(known))
    drawn: list[float | None] = []
    for value, square in zip(values, squares, strict=True):
        if square is None:
            drawn.append(None)
        elif spread + square > 0:
            drawn.append(values.mean() + spread / (spread + square) * (value - values.mean()))
        else:
            drawn.append(value)
    return drawn


def places_of(values: Sequence[float]) -> list[int]:
    """Places from 1, the largest first; equal values share the first of theirs."""
    return stats.rankdata(-np.asarray(values), method="min").astype(int).tolist()


def adjusted_by_flips(members: Sequence[tuple[Sequence[float], Sequence[str]]]) -> list[float]:
    """p of the mean of each member (values and their clusters, the same of all) adjusted for all: the largest cluster-robust |t| under every flip of signs."""
    names = sorted(set(members[0][1]))
    totals = np.array([[sum(value for value, each in zip(*member, strict=True) if each == name) for name in names] for member in members])
    sizes = np.array([list(members[0][1]).count(name) for name in names])
    flips = np.array(list(product((1, -1), repeat=len(names))))
    flipped = flips[:, None, :] * totals  # [flips, members, clusters]
    means = flipped.sum(axis=-1) / sizes.sum()
    squares = ((flipped - means[..., None] * sizes) ** 2).sum(axis=-1) * len(names) / (len(names) - 1)
    ratios = np.abs(means) * sizes.sum() / np.sqrt(squares)
    return (ratios.max(axis=1)[:, None] >= ratios[0] * (1 - 1e-9)).mean(axis=0).tolist()
