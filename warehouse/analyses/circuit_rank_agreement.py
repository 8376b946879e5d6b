"""How alike two rankings of heads are, and how sure that is: corrected for noise by halves of the questions, which SQL cannot draw."""

from collections.abc import Iterable, Sequence

import duckdb
import numpy as np
import polars as pl

from personascope.warehouse.analyses.attenuation import Corrected, corrected_rank_correlation, halve
from personascope.warehouse.analyses.base import Analysis, Group, Rows
from personascope.warehouse.analyses.resampling import draw_counts
from personascope.warehouse.store.manifest import Manifest

METHOD = "questions with replacement, percentile interval"
RESAMPLES = 2000
SEED = 42
LEVEL = 0.95
FEWEST_HEADS = 3
_PAIRS = "select attribution_run, ablation_run from circuit_runs where ablation_run is not null order by ablation_run"
_WORTHS = """
select prompt_form, question_id, example_id, sample_ix, stratum, position, layer, head, measure, worth
from head_examples
where ablation_run = $ablation_run and attribution_run is not distinct from $attribution_run and worth is not null
order by all
"""
_PROMPT = ("prompt_form", "question_id", "example_id", "sample_ix", "stratum", "position")


def _inputs(run: Manifest) -> tuple[str, ...] | None:
    """A run of direct attributions or of ablations."""
    found = tuple(name for name in ("attributions", "ablations") if name in run.tables)
    return found or None


def _groups(connection: duckdb.DuckDBPyConnection, runs: Sequence[Manifest]) -> Iterable[Group]:
    """The ablations of a reader first, then its attributions where it has some."""
    by_id = {run.run_id: run for run in runs}
    for attribution_run, ablation_run in connection.sql(_PAIRS).fetchall():
        yield tuple(by_id[name] for name in (ablation_run, attribution_run) if name in by_id)


def _compute(connection: duckdb.DuckDBPyConnection, ablation: Manifest, attribution: Manifest | None = None) -> Rows:
    """Rows of `rank_agreement` of one reader; layers with fewer than three heads and forms with one question have none."""
    runs = {"attribution_run": attribution.run_id if attribution else None, "ablation_run": ablation.run_id}
    rows = connection.sql(_WORTHS, params=runs).pl()
    found: Rows = []
    for (stratum,), of_stratum in rows.group_by("stratum", maintain_order=True):
        forms = of_stratum["prompt_form"].unique(maintain_order=True).to_list()
        for form in [*forms, "all"]:
            part = of_stratum if form == "all" else of_stratum.filter(pl.col("prompt_form") == form)
            shared = {**runs, "stratum": stratum, "prompt_form": form, "method": METHOD, "resamples": RESAMPLES, "seed": SEED}
            found += [shared | row for row in _agreements(part)]
    return found


def _agreements(rows: pl.DataFrame) -> Rows:
    """Every comparison of two measures over the prompts `rows` holds, in each layer and over all heads (layer None)."""
    measures = rows.group_by("measure", maintain_order=True)
    wide = {str(measure): part.pivot(on=["layer", "head"], index=_PROMPT, values="worth").sort(_PROMPT) for (measure,), part in measures}
    found = []
    for first, second in _comparisons(list(wide)):
        heads = [name for name in wide[first].columns if name in wide[second].columns and name not in _PROMPT]
        both = wide[first].join(wide[second], on=_PROMPT, how="inner", nulls_equal=True, suffix=" b").drop_nulls([*heads, *(f"{name} b" for name in heads)])
        clusters = both["question_id"].rank("dense").to_numpy().astype(int) - 1
        if not len(clusters) or not clusters.max():
            continue
        values = both.select(heads).to_numpy(), both.select(f"{name} b" for name in heads).to_numpy()
        drawn = [_drawn_means(each, clusters) for each in values]
        halves = halve(values[0], clusters, SEED), halve(values[1], clusters, SEED)
        layers = np.array([int(name.strip("{}").split(",")[0]) for name in heads])
        for layer in [None, *np.unique(layers).tolist()]:
            chosen = np.full(len(layers), True) if layer is None else layers == layer
            if chosen.sum() < FEWEST_HEADS:
                continue
            low, high = _ends(_spearman(*(each[:, chosen] for each in drawn)))
            at_prompts = _spearman(*(each[:, chosen] for each in values))
            prompt_spearman = float(np.nanmean(at_prompts)) if np.isfinite(at_prompts).any() else None
            counts = {"n": len(clusters), "n_clusters": int(clusters.max()) + 1, "n_heads": int(chosen.sum())}
            ends = {"low": low, "high": high, "prompt_spearman": prompt_spearman}
            corrected = corrected_rank_correlation(*halves, chosen)
            found.append({"measure_a": first, "measure_b": second, "layer": layer, **counts, **ends, **_columns(corrected)})
    return found


def _columns(corrected: Corrected) -> dict[str, float | None]:
    reliabilities = {"reliability_a": corrected.reliability_a, "reliability_b": corrected.reliability_b}
    return reliabilities | {"corrected": corrected.r, "corrected_low": corrected.low, "corrected_high": corrected.high}


def _comparisons(measures: Sequence[str]) -> list[tuple[str, str]]:
    """Attribution with every ablation, and the estimate from gradients with the raw logit it estimates."""
    attributions, sieve, estimated = ("direct", "direct_margin"), "sieve", "zero_logit"
    ablations = [measure for measure in measures if measure not in (*attributions, sieve)]
    pairs = [(first, second) for first in attributions if first in measures for second in ablations]
    return [*pairs, (sieve, estimated)] if {sieve, estimated} <= set(measures) else pairs


def _drawn_means(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Mean over the prompts of each resample of questions [resamples, heads] of `values` [prompts, heads], whose question is `clusters` [prompts]."""
    n_clusters = clusters.max() + 1
    totals = np.zeros((n_clusters, values.shape[1]))
    np.add.at(totals, clusters, values)
    times = draw_counts(n_clusters, RESAMPLES, SEED)
    return times @ totals / (times @ np.bincount(clusters, minlength=n_clusters))[:, None]


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rank correlation over the last axis, average ranks; NaN where one side does not vary."""
    from scipy.stats import rankdata  # most of a second to import, which only this computation needs

    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(first, axis=1), rankdata(second, axis=1)))
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), scale, out=np.full(len(a), np.nan), where=scale > 0)


def _ends(drawn: np.ndarray) -> tuple[float | None, float | None]:
    """Ends of the percentile interval; None where some resample has no correlation."""
    if np.isnan(drawn).any():
        return None, None
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


ANALYSIS = Analysis(
    name="rank-agreement",
    version=3,
    table="rank_agreement",
    settings={"method": METHOD, "resamples": RESAMPLES, "seed": SEED},
    inputs=_inputs,
    groups=_groups,
    rows=_compute,
    seed=SEED,
)
