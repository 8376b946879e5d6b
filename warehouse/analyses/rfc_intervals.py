"""Intervals of RFC and RSI when prompts are drawn again within their category: all heads share their prompts, so heads are no sample of anything."""

from collections.abc import Iterable, Sequence

import duckdb
import numpy as np
import polars as pl

from personascope.warehouse.analyses.base import Analysis, Group, Rows
from personascope.warehouse.analyses.resampling import draw_counts
from personascope.warehouse.store.manifest import Manifest

METHOD = "prompts with replacement within category, the same for both variants, percentile interval"
RESAMPLES = 1000
SEED = 42
CATEGORIES = ("self_referent", "confounder", "neutral")
PAIRS = ("rfc_pairs",)
_PAIRS = "select base_run, instruct_run from rfc_pairs order by all"
_READINGS = """
select run_id, category, example_id, layer, head, mean * n_positions as total, n_positions
from entropy
where run_id in (?, ?) and mean is not null and category in ('self_referent', 'confounder', 'neutral')
order by category, example_id, layer, head
"""


def inputs(run: Manifest) -> tuple[str, ...] | None:
    """Entropies of whole prompts."""
    return ("entropy", "checkpoints") if "entropy" in run.tables else None


def pairs(connection: duckdb.DuckDBPyConnection, runs: Sequence[Manifest]) -> Iterable[Group]:
    """(base, instruct) of every comparable pair in the lake."""
    by_id = {run.run_id: run for run in runs}
    for base, instruct in connection.sql(_PAIRS).fetchall():
        yield by_id[base], by_id[instruct]


def _compute(connection: duckdb.DuckDBPyConnection, base: Manifest, instruct: Manifest) -> Rows:
    """Rows of `rfc_intervals` of one pair; one that lacks a category, or prompts in common, has none."""
    readings = connection.sql(_READINGS, params=[base.run_id, instruct.run_id]).pl()
    drawn: dict[str, dict[str, np.ndarray]] = {base.run_id: {}, instruct.run_id: {}}
    sizes: list[int] = []
    n_layers = 0
    for number, category in enumerate(CATEGORIES):
        rows = readings.filter(pl.col("category") == category)
        shared = set.intersection(*(set(rows.filter(pl.col("run_id") == run)["example_id"]) for run in drawn))
        if len(shared) < 2:
            return []
        sizes.append(len(shared))
        times = draw_counts(len(shared), RESAMPLES, SEED + number)
        for run in drawn:
            mine = rows.filter((pl.col("run_id") == run) & pl.col("example_id").is_in(sorted(shared)))
            n_layers = mine["layer"].n_unique()
            totals = mine["total"].to_numpy().reshape(len(shared), -1)
            positions = mine.group_by("example_id", maintain_order=True).first()["n_positions"].to_numpy()
            drawn[run][category] = ((times @ totals) / (times @ positions)[:, None]).reshape(RESAMPLES, n_layers, -1)
    figures = {name: _figures(drawn[run.run_id]) for name, run in (("base", base), ("instruct", instruct))}
    columns = {f"{figure}_{name}": figures[name][figure] for name in figures for figure in ("rfc", "rsi")}
    columns |= {f"{figure}_diff": figures["instruct"][figure] - figures["base"][figure] for figure in ("rfc", "ratio")}
    shared_columns = {"base_run": base.run_id, "instruct_run": instruct.run_id, "n_prompts": min(sizes), "method": METHOD, "resamples": RESAMPLES, "seed": SEED}
    rows_out: Rows = []
    for layer in (None, *range(n_layers)):
        of_layer = {name: values.mean(axis=1) if layer is None else values[:, layer] for name, values in columns.items()}
        ends = {f"{name}_{end}": value for name, values in of_layer.items() for end, value in zip(("low", "high"), _interval(values), strict=True)}
        rows_out.append({**shared_columns, "layer": layer, **ends, "replicates": of_layer["rfc_diff"].astype(np.float32).tolist()})
    return rows_out


def _figures(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """RFC and RSI as means over heads and RFC as the ratio of means [resamples, layers], from entropies [resamples, layers, heads] by category."""
    own, confounder, neutral = (drawn[category] for category in CATEGORIES)
    safe = np.where(neutral > 0, neutral, np.nan)
    return {
        "rfc": np.nanmean(1 - own / safe, axis=2),
        "rsi": np.nanmean((confounder - own) / safe, axis=2),
        "ratio": 1 - own.mean(axis=2) / neutral.mean(axis=2),
    }


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


ANALYSIS = Analysis(
    name="rfc-intervals",
    version=1,
    table="rfc_intervals",
    settings={"method": METHOD, "resamples": RESAMPLES, "seed": SEED},
    reads=PAIRS,
    inputs=inputs,
    groups=pairs,
    rows=_compute,
    seed=SEED,
)
