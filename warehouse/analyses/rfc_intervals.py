"""Intervals of RFC and RSI when prompts are drawn again within their category: all heads share their prompts, so heads are no sample of anything."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import polars as pl

from personascope.warehouse.analyses.base import Analysis, Group, Rows
from personascope.warehouse.analyses.bca import bca_interval, widened_level
from personascope.warehouse.analyses.resampling import draw_counts
from personascope.warehouse.store.manifest import Manifest

METHOD = "prompts with replacement within category, the same for both variants, BCa interval with tails widened for few prompts"
RESAMPLES = 2000
SEED = 42
CATEGORIES = ("self_referent", "confounder", "neutral")
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


@dataclass(frozen=True)
class Readings:
    """Entropies of one variant by category: sums over positions [prompts, layers, heads] and how many positions each prompt has [prompts]."""

    totals: dict[str, np.ndarray]
    positions: dict[str, np.ndarray]


@dataclass(frozen=True)
class Resampled:
    """Figures by name: of every draw [resamples, layers], of the prompts as they are [layers], and without each prompt [prompts, layers] by category."""

    drawn: dict[str, np.ndarray]
    observed: dict[str, np.ndarray]
    left_out: dict[str, list[np.ndarray]]


def _compute(connection: duckdb.DuckDBPyConnection, base: Manifest, instruct: Manifest) -> Rows:
    """Rows of `rfc_intervals` of one pair; one that lacks a category, or prompts in common, has none."""
    readings = connection.sql(_READINGS, params=[base.run_id, instruct.run_id]).pl()
    sides = {run.run_id: Readings({}, {}) for run in (base, instruct)}
    for category in CATEGORIES:
        rows = readings.filter(pl.col("category") == category)
        shared = set.intersection(*(set(rows.filter(pl.col("run_id") == run)["example_id"]) for run in sides))
        if len(shared) < 2:
            return []
        for run, side in sides.items():
            mine = rows.filter((pl.col("run_id") == run) & pl.col("example_id").is_in(sorted(shared)))
            side.totals[category] = mine["total"].to_numpy().reshape(len(shared), mine["layer"].n_unique(), -1)
            side.positions[category] = mine.group_by("example_id", maintain_order=True).first()["n_positions"].to_numpy()
    n_prompts = min(len(positions) for positions in sides[base.run_id].positions.values())
    figures = resample(sides[base.run_id], sides[instruct.run_id])
    shared_columns = {"base_run": base.run_id, "instruct_run": instruct.run_id, "n_prompts": n_prompts, "method": METHOD, "resamples": RESAMPLES, "seed": SEED}
    ends = intervals(figures, n_prompts)
    of_model = intervals(_over_layers(figures), n_prompts)
    rows_out: Rows = [{**shared_columns, "layer": None, **_row(of_model, 0), "replicates": _floats(figures.drawn["rfc_diff"].mean(axis=1))}]
    for layer in range(figures.observed["rfc_diff"].size):
        rows_out.append({**shared_columns, "layer": layer, **_row(ends, layer), "replicates": _floats(figures.drawn["rfc_diff"][:, layer])})
    return rows_out


def resample(base: Readings, instruct: Readings) -> Resampled:
    """Draws prompts of each category again, the same for both variants, and leaves out each prompt of both in turn."""
    found: dict[str, Resampled] = {}
    sizes = {category: len(positions) for category, positions in base.positions.items()}
    times = {category: draw_counts(sizes[category], RESAMPLES, SEED + number) for number, category in enumerate(CATEGORIES)}
    for name, side in (("base", base), ("instruct", instruct)):
        whole = {category: _means(np.ones((1, n)), side, category) for category, n in sizes.items()}
        without = {category: _means(1 - np.eye(n), side, category) for category, n in sizes.items()}
        drawn = _figures({category: _means(times[category], side, category) for category in CATEGORIES})
        each = [_figures({**whole, category: without[category]}) for category in CATEGORIES]
        observed = {figure: values[0] for figure, values in _figures(whole).items()}
        found[name] = Resampled(drawn, observed, {figure: [of[figure] for of in each] for figure in observed})
    columns = Resampled({}, {}, {})
    for figure in ("rfc", "rsi", "ratio"):
        sides = {name: (of.drawn[figure], of.observed[figure], of.left_out[figure]) for name, of in found.items()}
        if figure != "ratio":
            for name, (drawn_of, observed_of, left_out_of) in sides.items():
                columns.drawn[f"{figure}_{name}"], columns.observed[f"{figure}_{name}"] = drawn_of, observed_of
                columns.left_out[f"{figure}_{name}"] = left_out_of
        if figure != "rsi":
            first, second = sides["base"], sides["instruct"]
            columns.drawn[f"{figure}_diff"], columns.observed[f"{figure}_diff"] = second[0] - first[0], second[1] - first[1]
            columns.left_out[f"{figure}_diff"] = [after - before for after, before in zip(second[2], first[2], strict=True)]
    return columns


def intervals(figures: Resampled, n_prompts: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ends [layers] of the 95% interval of each figure."""
    level = widened_level(n_prompts)
    return {name: bca_interval(drawn, figures.observed[name], figures.left_out[name], level) for name, drawn in figures.drawn.items()}


def _means(weights: np.ndarray, side: Readings, category: str) -> np.ndarray:
    """Mean entropies over positions [rows of weights, layers, heads] of the prompts weighted by each row of `weights` [.., prompts]."""
    totals = side.totals[category]
    sums = (weights @ totals.reshape(len(totals), -1)).reshape(len(weights), *totals.shape[1:])
    return sums / (weights @ side.positions[category])[:, None, None]


def _figures(means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """RFC and RSI as means over heads and RFC as the ratio of means [rows, layers], from entropies [rows, layers, heads] by category; one row goes with all."""
    own, confounder, neutral = (means[category] for category in CATEGORIES)
    safe = np.where(neutral > 0, neutral, np.nan)
    return {
        "rfc": np.nanmean(1 - own / safe, axis=2),
        "rsi": np.nanmean((confounder - own) / safe, axis=2),
        "ratio": 1 - own.mean(axis=2) / neutral.mean(axis=2),
    }


def _over_layers(figures: Resampled) -> Resampled:
    """The same of the mean over layers, as one layer."""
    return Resampled(
        {name: values.mean(axis=1, keepdims=True) for name, values in figures.drawn.items()},
        {name: values.mean(keepdims=True) for name, values in figures.observed.items()},
        {name: [each.mean(axis=1, keepdims=True) for each in values] for name, values in figures.left_out.items()},
    )


def _row(ends: dict[str, tuple[np.ndarray, np.ndarray]], layer: int) -> dict[str, float | None]:
    """The ends of one layer, NULL where the draws do not vary."""
    named = {f"{name}_{end}": values[layer] for name, both in ends.items() for end, values in zip(("low", "high"), both, strict=True)}
    return {name: None if np.isnan(value) else float(value) for name, value in named.items()}


def _floats(values: np.ndarray) -> list[float]:
    return values.astype(np.float32).tolist()


ANALYSIS = Analysis(
    name="rfc-intervals",
    version=2,
    table="rfc_intervals",
    settings={"method": METHOD, "resamples": RESAMPLES, "seed": SEED},
    inputs=inputs,
    groups=pairs,
    rows=_compute,
    seed=SEED,
)
