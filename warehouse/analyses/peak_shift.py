"""In which layer attention at the marker peaks in trained and base, and how sure the shift between them is when questions are drawn again."""

import duckdb
import numpy as np

from personascope.warehouse.analyses.base import Analysis, Rows
from personascope.warehouse.analyses.resampling import draw_counts, percentile_ends
from personascope.warehouse.analyses.trained_pairs import groups, inputs, read_pair
from personascope.warehouse.store.manifest import Manifest

METHOD = "questions with replacement, percentile interval"
RESAMPLES = 2000
SEED = 42


def _compute(connection: duckdb.DuckDBPyConnection, trained: Manifest, base: Manifest, *_: Manifest) -> Rows:
    """The row of `peak_shift` of one pair; one whose questions are unknown has none. Both curves come from the same draw of questions."""
    pair = read_pair(connection, trained, base)
    if pair is None:
        return []
    layers, times = np.array(pair.layers), draw_counts(len(pair.sizes), RESAMPLES, SEED)
    peaks = {name: layers[(times @ totals).argmax(axis=1)] for name, totals in (("peak", pair.trained), ("base_peak", pair.base))}
    peaks["shift"] = peaks["peak"] - peaks["base_peak"]
    row = {f"{name}_{end}": value for name, drawn in peaks.items() for end, value in zip(("low", "high"), percentile_ends(drawn), strict=True)}
    own, other = (int(layers[totals.sum(axis=0).argmax()]) for totals in (pair.trained, pair.base))
    found = {"peak_layer": own, "base_peak_layer": other, "same_share": float((peaks["shift"] == 0).mean())}
    return [{**pair.keys, **pair.counts, **found, **row, "method": METHOD, "resamples": RESAMPLES, "seed": SEED}]


ANALYSIS = Analysis(
    name="peak-shift",
    version=1,
    table="peak_shift",
    settings={"method": METHOD, "resamples": RESAMPLES, "seed": SEED},
    inputs=inputs,
    groups=groups,
    rows=_compute,
    seed=SEED,
)
