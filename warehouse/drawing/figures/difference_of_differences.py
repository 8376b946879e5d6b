"""What training changed: marker minus control of the trained checkpoint, minus the same of its base on identical tokens, by layer."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.attention_readouts import Readout, pairs, readouts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.words import count, movement

NEEDS = "another checkpoint that read the same tokens in the same precision: `personascope extract attention --checkpoint ID --tokens-from RUN`"
SHOWS = ("diff_of_diffs", "diff_of_diffs_summary")
SIZES = (pl.col("mean").abs().max(),)
HEIGHT = 280


def draw(lake: Source, study: str) -> list[Drawing]:
    """Every pair of a trained checkpoint and another on the same tokens."""
    found = (
        difference(lake, readout, other, name=f"difference of differences {readout.subject} {other.subject}")
        for readout, other in pairs(lake, readouts(lake, study))
        if other is not None
    )
    return [each for each in found if each is not None]


def margin_of(lake: Source) -> float:
    """The margin of the published count, in share of attention."""
    return lake.select("select value from thresholds where name = 'diff_of_diffs_margin'").item()


def difference(lake: Source, readout: Readout, other: Readout, name: str = "difference of differences") -> Drawing | None:
    """Trained minus base on identical tokens by layer with its interval, full where the adjusted p is below 0.05; None where the pair shares no generation."""
    rows = lake.select(
        """select layer, diff_of_diffs as mean, coalesce(clustered_low, diff_of_diffs - sem) as low, coalesce(clustered_high, diff_of_diffs + sem) as high,
          trained_delta, base_delta, clustered_low, clustered_sem, clustered_t, clustered_p, adjusted_p, adjusted_p < 0.05 as below_005_adjusted,
          bootstrap_t_adjusted_p, adjusted_missing, method, resamples, seed, clustered_df, equivalence_p, movement, sem, t, p, n, n_clusters as questions
        from diff_of_diffs where trained_run = $trained and base_run = $base order by layer""",
        trained=readout.run_id,
        base=other.run_id,
    )
    if rows.is_empty():
        return None
    margin = margin_of(lake)
    clustered = rows["clustered_low"].null_count() == 0
    adjusted = rows["adjusted_p"].null_count() == 0
    figure = charts.intervals(
        rows.drop("clustered_low"), f"{readout.checkpoint} minus {other.checkpoint}", margin, full="below_005_adjusted" if adjusted else None
    )
    facts = (
        "system prompt, content tokens, against C1; mean of paired differences, bar: "
        + ("95% t interval, clustered by question" if clustered else "± 1 standard error, generations taken as independent")
        + f"; dashed: ± {margin:g}, the published margin",
        _movements(rows, margin),
        f"persona {readout.persona}; {readout.name}, minus {other.name}: {readout.sample(rows['n'], rows['questions'])}",
        _adjusted(rows) if adjusted else f"no p adjusted for the number of layers: {', '.join(rows['adjusted_missing'].drop_nulls().unique().sort())}",
    )
    return Drawing(name, "Difference of differences: what training changed", facts, HEIGHT, figure, frozenset({readout.run_id, other.run_id}))


def _movements(rows: pl.DataFrame, margin: float) -> str:
    """How many layers moved, are shown to lie within the margin, or cannot be told, the most first."""
    counted = rows["movement"].value_counts(name="layers").sort("layers", "movement", descending=[True, False]).rows()
    words = ", ".join(f"{movement(verdict, margin)} in {layers}" for verdict, layers in counted)
    return f"{words} of {count(rows.height, 'layer')}; equivalence by two one-sided tests over questions, each layer alone"


def _adjusted(rows: pl.DataFrame) -> str:
    """How many layers stand after adjustment, and how it was made."""
    method, resamples, seed = rows.select("method", "resamples", "seed").row(0)
    passed = rows["below_005_adjusted"].sum()
    free = rows["bootstrap_t_adjusted_p"]
    beside = "" if free.null_count() else f"; without asking for symmetric differences (bootstrap-t, max-T) {(free < 0.05).sum()}"
    return f"full point: adjusted p < 0.05, {passed} of {count(rows.height, 'layer')}; {method}, {resamples:,} flips, seed {seed}{beside}"
