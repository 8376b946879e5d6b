"""Does training move attention at the marker in any layer? Sign flips of questions adjust the p of every layer for all of them, which SQL cannot do.

Flips test exchangeability of trained and base within a question; a bootstrap-t beside them tests a mean of 0 whatever the shape of the differences.
"""

import duckdb

from personascope.warehouse.analyses.base import Analysis, Rows
from personascope.warehouse.analyses.bootstrap_t import bootstrap_t
from personascope.warehouse.analyses.resampling import max_t, number
from personascope.warehouse.analyses.trained_pairs import groups, inputs, read_pair
from personascope.warehouse.store.manifest import Manifest

RESAMPLES = 10_000
SEED = 42
METHOD = {True: "max-T over layers, all sign flips of questions", False: "max-T over layers, drawn sign flips of questions"}


def _compute(connection: duckdb.DuckDBPyConnection, trained: Manifest, base: Manifest, *_: Manifest) -> Rows:
    """Rows of `flip_tests` of one pair; one whose questions are unknown has none."""
    pair = read_pair(connection, trained, base)
    if pair is None:
        return []
    differences = pair.trained - pair.base
    test, free = max_t(differences, pair.sizes, RESAMPLES, SEED), bootstrap_t(differences, pair.sizes, RESAMPLES, SEED)
    shared = {**pair.keys, **pair.counts, "method": METHOD[test.every], "resamples": test.resamples, "seed": SEED}
    return [
        {**shared, "layer": layer, **dict(zip(("p", "adjusted_p", "bootstrap_t_p", "bootstrap_t_adjusted_p"), map(number, found), strict=True))}
        for layer, *found in zip(pair.layers, test.p, test.adjusted_p, free.p, free.adjusted_p, strict=True)
    ]


ANALYSIS = Analysis(
    name="flip-tests",
    version=2,
    table="flip_tests",
    settings={"method": "max-T over layers, sign flips of questions", "resamples": RESAMPLES, "seed": SEED},
    inputs=inputs,
    groups=groups,
    rows=_compute,
    seed=SEED,
)
