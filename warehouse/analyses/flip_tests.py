"""Does training move attention at the marker in any layer? Sign flips of questions adjust the p of every layer for all of them, which SQL cannot do."""

import duckdb
import numpy as np

from personascope.warehouse.analyses.base import Analysis, Rows
from personascope.warehouse.analyses.resampling import max_t
from personascope.warehouse.analyses.trained_pairs import READS, groups, inputs, read_pair
from personascope.warehouse.store.manifest import Manifest

RESAMPLES = 10_000
SEED = 42
METHOD = {True: "max-T over layers, all sign flips of questions", False: "max-T over layers, drawn sign flips of questions"}


def _compute(connection: duckdb.DuckDBPyConnection, trained: Manifest, base: Manifest, *_: Manifest) -> Rows:
    """Rows of `flip_tests` of one pair; one whose questions are unknown has none."""
    pair = read_pair(connection, trained, base)
    if pair is None:
        return []
    test = max_t(pair.trained - pair.base, pair.sizes, RESAMPLES, SEED)
    shared = {**pair.keys, **pair.counts, "method": METHOD[test.every], "resamples": test.resamples, "seed": SEED}
    return [
        {**shared, "layer": layer, "p": _number(p), "adjusted_p": _number(adjusted)}
        for layer, p, adjusted in zip(pair.layers, test.p, test.adjusted_p, strict=True)
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


ANALYSIS = Analysis(
    name="flip-tests",
    version=1,
    table="flip_tests",
    settings={"method": "max-T over layers, sign flips of questions", "resamples": RESAMPLES, "seed": SEED},
    reads=READS,
    inputs=inputs,
    groups=groups,
    rows=_compute,
    seed=SEED,
)
