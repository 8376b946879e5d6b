"""How sure is a cosine between the mean vectors of two conditions, and who is the outlier? The questions left out one by one, and drawn again."""

from collections.abc import Iterable

import duckdb
import numpy as np
import polars as pl

from personascope.warehouse.analyses.base import Analysis, Rows
from personascope.warehouse.analyses.resampling import draw_counts
from personascope.warehouse.store.manifest import Manifest

METHOD = "jackknife over questions of the cosine without the products of a question with itself, Student t; outliers by questions with replacement"
RESAMPLES = 1000
SEED = 42
PLACE = ["sae_id", "layer", "site", "stratum"]
_VECTORS = {
    "feature_examples": "select sae_id, layer, site, stratum, condition, question_id, vector from feature_examples where run_id = ? and condition is not null",
    "activations": "select '' as sae_id, layer, site, stratum, condition, question_id, vector from activations where run_id = ? and condition is not null",
}
_FEATURES = """
select e.sae_id, e.layer, e.site, e.stratum, e.condition, e.question_id, f.feature, sum(f.value::double) as value
from (
  select distinct sae_id, layer, site, stratum, condition, question_id from feature_examples where run_id = $run and condition is not null
) as e
left join (select * from features where run_id = $run) as f using (sae_id, layer, site, stratum, condition, question_id)
group by all
"""


def _inputs(run: Manifest) -> tuple[str, ...] | None:
    """Activations, or the features they were encoded into."""
    found = tuple(name for name in ("activations", "feature_examples", "features") if name in run.tables)
    return found or None


def _compute(connection: duckdb.DuckDBPyConnection, run: Manifest) -> Rows:
    """Rows of `similarity_intervals` of one run; a place whose conditions share fewer than three questions has none."""
    rows: Rows = []
    for table, query in _VECTORS.items():
        if table in run.tables:
            read = connection.sql(query, params=[run.run_id]).pl()
            rows += [row for place in read.partition_by(PLACE, maintain_order=True) for row in _place("activations", place, _of_vectors(place))]
    if {"feature_examples", "features"} <= run.tables.keys():
        read = connection.sql(_FEATURES, params={"run": run.run_id}).pl()
        rows += [row for place in read.partition_by(PLACE, maintain_order=True) for row in _place("features", place, _of_features(place))]
    return rows


def _of_vectors(place: pl.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """Sum of the vectors of each condition and question."""
    sums: dict[tuple[str, str], np.ndarray] = {}
    for condition, question, vector in place.select("condition", "question_id", "vector").iter_rows():
        sums[condition, question] = sums.get((condition, question), 0) + np.asarray(vector, dtype=float)
    return sums


def _of_features(place: pl.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """Sum of the features of each condition and question, as vectors over the features that fire anywhere in this place."""
    number = {feature: index for index, feature in enumerate(place["feature"].drop_nulls().unique().sort())}
    sums = {key: np.zeros(len(number)) for key in place.select("condition", "question_id").unique().iter_rows()}
    for condition, question, feature, value in place.drop_nulls("feature").select("condition", "question_id", "feature", "value").iter_rows():
        sums[condition, question][number[feature]] = value
    return sums


def _place(basis: str, place: pl.DataFrame, sums: dict[tuple[str, str], np.ndarray]) -> Iterable[dict]:
    """Rows of one place: every pair of conditions, and every condition with the mean over the others."""
    conditions = sorted({condition for condition, _ in sums})
    questions = sorted(set.intersection(*({question for of, question in sums if of == condition} for condition in conditions)))
    complete = len(sums) == len(conditions) * len(questions)
    if len(conditions) < 2 or len(questions) < 3 or not complete or len({len(each) for each in sums.values()}) > 1:
        return
    vectors = np.array([[sums[condition, question] for question in questions] for condition in conditions])
    shared = dict(zip(PLACE, place.select(PLACE).row(0), strict=True)) | {"basis": basis, "n_clusters": len(questions)}
    shared |= {"method": METHOD, "resamples": RESAMPLES, "seed": SEED, "sae_id": place["sae_id"][0] or None}
    gram = np.einsum("aqd,brd->abqr", vectors, vectors, optimize=True)
    whole, without = cosines(gram, np.ones((1, len(questions))), corrected=True)[0], cosines(gram, 1 - np.eye(len(questions)), corrected=True)
    low, high = jackknife_interval(whole, without)
    others = (1 - np.eye(len(conditions))) / (len(conditions) - 1)
    mean_low, mean_high = jackknife_interval((whole * others).sum(axis=1), (without * others).sum(axis=2))
    drawn = (cosines(gram, draw_counts(len(questions), RESAMPLES, SEED)) * others).sum(axis=2)
    first = np.bincount(drawn.argmin(axis=1), minlength=len(conditions)) / RESAMPLES
    for a, condition in enumerate(conditions):
        for b, other in enumerate(conditions):
            if a != b:
                pair = {"condition_a": condition, "condition_b": other, "corrected": _number(whole[a, b])}
                yield {**shared, **pair, "low": _number(low[a, b]), "high": _number(high[a, b])}
        alone = {
            "corrected": _number((whole * others).sum(axis=1)[a]),
            "low": _number(mean_low[a]),
            "high": _number(mean_high[a]),
            "outlier_share": float(first[a]),
        }
        yield {**shared, "condition_a": condition, "condition_b": None, **alone}


def cosines(gram: np.ndarray, weights: np.ndarray, corrected: bool = False) -> np.ndarray:
    """Cosines [rows, conditions, conditions] between the mean vectors of conditions whose questions bear each row of `weights` [rows, questions].

    `gram` [conditions, conditions, questions, questions] holds the products of the vectors of every two questions: no longer vectors are needed. What questions
    differ by lengthens a mean of few and so lowers its cosines; `corrected` leaves out the product of each question with itself, which is all of that.
    NaN where a mean is all zero, or is not longer than its noise.
    """
    products = np.einsum("kq,abqr,kr->kab", weights, gram, weights, optimize=True)
    if corrected:
        products = products - np.einsum("kq,abqq->kab", weights**2, gram, optimize=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("kaa->ka", products))
        return products / (lengths[:, :, None] * lengths[:, None, :])


def jackknife_interval(whole: np.ndarray, without: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of cosines `whole` [...] from those without each question, `without` [questions, ...]; NaN where leaving one out changes nothing.

    Student's t with as many degrees of freedom as questions less one, the ends within -1 and 1. Source: Tukey (1958); Miller (1974).
    """
    from scipy import stats  # most of a second to import, which only this computation needs

    n = len(without)
    error = np.sqrt((n - 1) / n * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    reach = np.where(error > 1e-9, error, np.nan) * stats.t.ppf((1 + level) / 2, n - 1)
    return np.clip(whole - reach, -1, 1), np.clip(whole + reach, -1, 1)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


ANALYSIS = Analysis(
    name="similarity-intervals",
    version=1,
    table="similarity_intervals",
    settings={"method": METHOD, "resamples": RESAMPLES, "seed": SEED},
    inputs=_inputs,
    rows=_compute,
    seed=SEED,
)
