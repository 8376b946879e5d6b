"""Bootstrap standard errors, which SQL cannot compute: one run of kind `analysis` per readout, in the table `bootstrap`, read by the gate and rule-out views.

The method is the published one of issue 224, so that its numbers come out again: `default_rng(42)`, 1000 draws of n row indices with replacement, standard
deviation (n - 1) of the 1000 means. Every statistic starts the generator anew, so all statistics of n examples share their draws.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import polars as pl

from personascope.warehouse.analyses.base import Analysis, Rows
from personascope.warehouse.analyses.resampling import draw_counts
from personascope.warehouse.store.manifest import Manifest

METHOD = "examples with replacement"
RESAMPLES = 1000
SEED = 42
REGION = "system"

_READINGS = """
select subject, control, layer, example_id, sample_ix, row_ix, delta
from attention_delta
where run_id = ?
order by subject, row_ix, example_id, sample_ix, control, layer
"""


@dataclass(frozen=True)
class Deltas:
    """Marker minus one control: a row per example, a column per layer, without missing values; `examples` are row numbers of the subject, ascending."""

    values: np.ndarray
    layers: list[int]
    examples: np.ndarray


def bootstrap_sem(values: np.ndarray) -> np.ndarray:
    """Standard error of the column means of `values` [n examples, L], by resampling its rows; NULL (NaN) for fewer than two rows."""
    n = len(values)
    if n < 2:
        return np.full(values.shape[1], np.nan)
    return (draw_counts(n, RESAMPLES, SEED) @ values / n).std(axis=0, ddof=1)


def _inputs(run: Manifest) -> tuple[str, ...] | None:
    """A readout is a run that holds `attention_mean` and `positions`, or published deltas."""
    is_readout = "published_deltas" in run.tables or {"attention_mean", "positions"} <= run.tables.keys()
    return ("positions", "attention_mean", "published_deltas") if is_readout else None


def _compute(connection: duckdb.DuckDBPyConnection, readout: Manifest) -> Rows:
    """Rows of `bootstrap` of one readout; one without a marker has none."""
    return _rows(connection.sql(_READINGS, params=[readout.run_id]).pl())


def _rows(readings: pl.DataFrame) -> Rows:
    """Rows of `bootstrap`: per subject each control's delta, and C1 minus each other control over the examples that have both."""
    rows: Rows = []
    for (subject,), of_subject in readings.group_by("subject", maintain_order=True):
        numbered = of_subject.with_columns(example=pl.struct("example_id", "sample_ix", "row_ix").rle_id())
        deltas = dict(_matrices(numbered))
        for control, each in deltas.items():
            rows += _statistic(subject, "delta", control, each.values, each.layers)
        for control, each in deltas.items():
            first = deltas.get("C1")
            if control == "C1" or first is None or first.layers != each.layers:
                continue
            _, left, right = np.intersect1d(first.examples, each.examples, return_indices=True)
            rows += _statistic(subject, "ruleout", control, first.values[left] - each.values[right], each.layers)
    return rows


def _matrices(readings: pl.DataFrame) -> Iterator[tuple[str, Deltas]]:
    """Deltas by control, in name order; an example that misses a layer is left out."""
    for (control,), each in readings.sort("control", maintain_order=True).group_by("control", maintain_order=True):
        wide = each.pivot(on="layer", index="example", values="delta").drop_nulls()
        layers = sorted(int(name) for name in wide.columns if name != "example")
        values = wide.select(str(layer) for layer in layers).to_numpy()
        yield str(control), Deltas(np.ascontiguousarray(values, dtype=float), layers, wide["example"].to_numpy())


def _statistic(subject: object, quantity: str, control: str, values: np.ndarray, layers: list[int]) -> Rows:
    if not len(values):
        return []
    shared = {"subject": subject, "quantity": quantity, "region": REGION, "control": control, "n": len(values)}
    method = {"method": METHOD, "resamples": RESAMPLES, "seed": SEED}
    return [
        {**shared, **method, "layer": layer, "mean": float(mean), "sem": float(sem)}
        for layer, mean, sem in zip(layers, values.mean(axis=0), bootstrap_sem(values), strict=True)
    ]


ANALYSIS = Analysis(
    name="bootstrap",
    version=1,
    table="bootstrap",
    settings={"method": METHOD, "resamples": RESAMPLES, "seed": SEED, "region": REGION},
    inputs=_inputs,
    rows=_compute,
    seed=SEED,
)
