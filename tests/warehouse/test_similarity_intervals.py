"""Cosines between conditions with their intervals: plain recomputation, a lake, and places that cannot have one."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from personascope.warehouse import analyses
from personascope.warehouse.analyses.similarity_intervals import cosines
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "sql" / "planted_features.py")))


def plain(first: np.ndarray, second: np.ndarray, corrected: bool) -> float:
    """Cosine of two means over questions, product by product of the questions' vectors [questions, dimensions]."""

    def product(a: np.ndarray, b: np.ndarray) -> float:
        return sum(float(one @ other) for i, one in enumerate(a) for j, other in enumerate(b) if i != j or not corrected)

    return product(first, second) / np.sqrt(product(first, first) * product(second, second))


@pytest.mark.parametrize("corrected", [False, True])
def test_cosines_from_products_are_those_of_the_vectors(corrected):
    vectors = np.random.default_rng(1).normal(1, 1, (3, 6, 10))
    gram = np.einsum("aqd,brd->abqr", vectors, vectors)
    found = cosines(gram, np.vstack([np.ones(6), 1 - np.eye(6)]), corrected)
    for row, kept in enumerate([np.arange(6), *(np.delete(np.arange(6), left) for left in range(6))]):
        for a, b in ((0, 1), (2, 0), (1, 1)):
            assert found[row, a, b] == pytest.approx(plain(vectors[a][kept], vectors[b][kept], corrected))
    means = vectors.mean(axis=1)
    assert cosines(gram, np.ones((1, 6)))[0, 0, 1] == pytest.approx(means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1]))


def test_similarities_of_a_lake_have_intervals_where_questions_differ(tmp_path):
    lake = Lake.open(tmp_path)
    planted.build(lake)
    query = "select basis, stratum, cosine, corrected, low, high, n_clusters from condition_similarity where condition_a = 'empty' and condition_b = 'generic'"
    assert set(Warehouse(lake).select(query)["low"]) == {None}
    analyses.refresh(lake, ["similarity-intervals"])
    warehouse = Warehouse(lake)
    vectors = {
        "activations": [np.array([[1.0, 0.0]] * 5), np.array([[1.0, 1 + q / 10] for q in range(5)])],
        "features": [np.array([[0.5, 0.25 + q / 10] for q in range(5)]), np.array([[1.5 + q / 10, 0.25 + q / 10] for q in range(5)])],
    }
    found = {(row["basis"], row["stratum"]): row for row in warehouse.select(query).to_dicts()}
    for basis, (first, second) in vectors.items():
        row = found[basis, "last"]
        corrected = plain(first, second, corrected=True)
        without = np.array([plain(np.delete(first, left, 0), np.delete(second, left, 0), corrected=True) for left in range(5)])
        reach = np.sqrt(4 / 5 * ((without - without.mean()) ** 2).sum()) * stats.t.ppf(0.975, 4)
        assert (row["cosine"], row["corrected"]) == pytest.approx((plain(first, second, corrected=False), corrected), abs=1e-6)
        assert (row["low"], row["high"], row["n_clusters"]) == (
            pytest.approx(corrected - reach, abs=1e-6),
            pytest.approx(min(corrected + reach, 1), abs=1e-6),
            5,
        )
        still = found[basis, "last_system"]
        assert (still["low"], still["high"]) == (None, None) and still["corrected"] == pytest.approx(still["cosine"], abs=1e-6)
    outliers = warehouse.select("select condition, outlier_share, low, high from condition_outliers where stratum = 'last' and basis = 'activations'")
    assert sum(outliers["outlier_share"]) == pytest.approx(1) and outliers["low"].null_count() == 0
