"""Which features differ between two conditions: sign flips of questions over a whole dictionary, which SQL cannot draw."""

from itertools import combinations
from typing import Any

import duckdb
import numpy as np
import polars as pl

from personascope.warehouse.analyses.base import Analysis
from personascope.warehouse.analyses.resampling import flip_features, shuffle_threshold, standardised_differences
from personascope.warehouse.store.manifest import Manifest

METHOD = "sign flips of distinct question inputs (null: exchangeable within a pair), studentised, two-sided; p of fewer than 50 flips from tilted ones"
RESAMPLES = 1000
SEED = 42
_PLACE = ("sae_id", "layer", "site", "stratum")
_READ = """
select sae_id, layer, site, stratum, condition, question_id, string_agg(input_hash, ' ' order by input_hash) as inputs, count(*) as n_examples
from feature_examples where run_id = $run and condition is not null
group by all order by all
"""
_VALUES = """
select sae_id, layer, site, stratum, condition, question_id, feature, sum(value::double) as total
from features where run_id = $run and condition is not null
group by all order by all
"""
_WIDTHS = "select distinct on (sae_id) sae_id, n_features from sae order by sae_id"


def _inputs(run: Manifest) -> tuple[str, ...] | None:
    """A run of features."""
    return ("features", "feature_examples") if "feature_examples" in run.tables else None


def _compute(connection: duckdb.DuckDBPyConnection, run: Manifest) -> pl.DataFrame:
    """Rows of `feature_tests` of every pair of conditions at every place."""
    read = connection.sql(_READ, params={"run": run.run_id}).pl()
    values = connection.sql(_VALUES, params={"run": run.run_id}).pl().partition_by(_PLACE, as_dict=True)
    widths = dict(connection.sql(_WIDTHS).fetchall())
    found = []
    for place, at_place in read.group_by(_PLACE, maintain_order=True):
        shared = {"features_run": run.run_id, **dict(zip(_PLACE, place, strict=True))}
        empty = pl.DataFrame(schema={"condition": pl.String, "question_id": pl.String, "feature": pl.Int32, "total": pl.Float64})
        for pair in combinations(at_place["condition"].unique(maintain_order=True).to_list(), 2):
            found.append(
                compare(at_place, values.get(place, empty), pair, widths.get(place[0])).select(*(pl.lit(v).alias(k) for k, v in shared.items()), pl.all())
            )
    return pl.concat(found, how="vertical_relaxed") if found else pl.DataFrame()


def compare(read: pl.DataFrame, values: pl.DataFrame, pair: tuple[str, str], n_features: int | None) -> pl.DataFrame:
    """One row a feature that fires under either condition of `pair`.

    `read` has condition, question_id, inputs and n_examples of what was encoded, `values` the sparse sums (condition, question_id, feature, total).
    """
    a, b = (read.filter(pl.col("condition") == name) for name in pair)
    both = a.join(b, on="question_id", suffix="_b").with_columns(inputs=pl.col("inputs") + "|" + pl.col("inputs_b")).sort("question_id")
    units = both.unique("inputs", keep="first", maintain_order=True).with_row_index("unit")
    firing = values.filter(pl.col("condition").is_in(pair)).join(units, on="question_id")
    features = np.unique(firing["feature"].to_numpy())
    first, second = (_dense(firing, name, count, len(units), features) for name, count in zip(pair, ("n_examples", "n_examples_b"), strict=True))
    reason = _reason(len(units), len(features))
    columns: dict[str, Any] = {
        "feature": features if len(features) else [None],
        "mean_a": _column(first.mean(axis=0) if len(units) else None, len(features)),
        "mean_b": _column(second.mean(axis=0) if len(units) else None, len(features)),
        "difference": _column((first - second).mean(axis=0) if len(units) else None, len(features)),
    }
    tested = _tests(first, second) if reason is None else dict.fromkeys(_STATISTICS)
    columns |= {name: _column(tested[name], len(features)) for name in _STATISTICS}
    counts = {"n": len(both), "n_distinct": len(units), "n_tested": len(features), "n_silent": None if n_features is None else n_features - len(features)}
    facts = {"refused": reason is not None, "reason": reason, "method": METHOD, "seed": SEED, "condition_a": pair[0], "condition_b": pair[1]}
    schema = {"feature": pl.Int32, **dict.fromkeys(("mean_a", "mean_b", "difference", *_STATISTICS), pl.Float64)}
    integers = dict.fromkeys((*counts, "resamples", "shuffles", "seed"), pl.Int32)
    rows = pl.DataFrame(columns, schema_overrides=schema, nan_to_null=True)
    scale = {name: tested.get(name) for name in ("resamples", "shuffles", "published_threshold")}
    return rows.with_columns(
        *(
            pl.lit(value, dtype=integers.get(name, pl.Float64 if name == "published_threshold" else None)).alias(name)
            for name, value in (counts | scale).items()
        ),
        *(pl.lit(value, dtype=pl.String if name == "reason" else integers.get(name)).alias(name) for name, value in facts.items()),
    )


def _reason(n_units: int, n_features: int) -> str | None:
    """Why nothing is tested; None where it is."""
    if n_units == 0:
        return "no question was read under both conditions"
    if n_units == 1:
        return "the inputs do not vary between questions: n = 1"
    return None if n_features else "no feature fires under either condition"


_STATISTICS = ("effect", "p", "maxt_p", "bh_p", "published_effect")


def _dense(firing: pl.DataFrame, condition: str, count: str, n_units: int, features: np.ndarray) -> np.ndarray:
    """Mean values [units, firing features] of one condition; features that fire nowhere have no column."""
    part = firing.filter(pl.col("condition") == condition)
    dense = np.zeros((n_units, len(features)))
    dense[part["unit"].to_numpy(), np.searchsorted(features, part["feature"].to_numpy())] = (part["total"] / part[count]).to_numpy()
    return dense


def _column(values: np.ndarray | None, n_features: int) -> np.ndarray | list[None]:
    """The values, or as many NULLs; one where no feature fires."""
    return [None] * max(n_features, 1) if values is None or not n_features else values


def _tests(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Effects and p of the columns of [units, features] under both conditions."""
    from scipy.stats import false_discovery_control  # most of a second to import, which only this computation needs

    differences = first - second
    flips = flip_features(differences, RESAMPLES, SEED)
    mean, sd = differences.mean(axis=0), differences.std(axis=0, ddof=1)
    varies = sd > 1e-12 * np.abs(differences).max(axis=0)
    return {
        "effect": np.divide(mean, sd, out=np.full(len(mean), np.nan), where=varies),
        "p": flips.p,
        "maxt_p": flips.adjusted_p,
        "bh_p": np.minimum(false_discovery_control(flips.p), flips.adjusted_p),
        "published_effect": standardised_differences(first, second),
        "published_threshold": shuffle_threshold(first, second, RESAMPLES, SEED),
        "resamples": flips.resamples,
        "shuffles": RESAMPLES,
    }


ANALYSIS = Analysis(
    name="feature-tests",
    version=3,
    table="feature_tests",
    settings={"method": METHOD, "resamples": RESAMPLES, "seed": SEED},
    inputs=_inputs,
    rows=_compute,
    seed=SEED,
)
