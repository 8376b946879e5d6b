"""The SAE features that differ most between two conditions, per layer."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.places import place_or_unknown
from personascope.warehouse.drawing.words import NOTHING_KNOWN, count, known

NEEDS = "features of two conditions per prompt, or published differences: `personascope ingest published PATH`"
SHOWS = ("feature_differences", "feature_test_summary")
SIZES = (pl.col("effect").abs().max(), pl.col("difference").abs().max())
ROW, MOST = 24, 20


def draw(lake: Source, study: str, origin: str | None = None) -> list[Drawing]:
    """One bar a feature, the largest effects per run, layer, position and pair of conditions; where the test was refused, the differences alone, and why.

    Of one `origin` where it is given.
    """
    only = "" if origin is None else " and d.origin = $origin"
    rows = lake.select(
        f"""select d.run_id, d.origin, d.layer, d.stratum, d.condition_a, d.condition_b, d.n_significant, d.feature, d.effect, d.difference, d.threshold,
          d.significant, d.n_distinct, d.sae_id, d.site, d.maxt_p, d.n, d.refused, d.reason, t.n_maxt, t.n_tested
        from feature_differences as d join runs as r using (run_id)
        left join feature_test_summary as t using (run_id, sae_id, layer, site, stratum, condition_a, condition_b)
        where coalesce(r.study, $study) = $study{only} and d.rank <= {MOST} and (d.effect is not null or d.refused)
        order by d.origin, d.layer, d.stratum, d.run_id, d.condition_a, d.condition_b, d.effect desc, d.difference desc, d.feature""",
        study=study,
        **({} if origin is None else {"origin": origin}),
    )
    found = rows.partition_by("run_id", "sae_id", "site", "layer", "stratum", "condition_a", "condition_b", maintain_order=True)
    return [_drawing(each, f" {number}" if len(found) > 1 else "") for number, each in enumerate(found, 1)]


def _drawing(rows: pl.DataFrame, suffix: str) -> Drawing:
    """The features of one layer, position and pair of conditions."""
    run_id, origin, layer, stratum, one, other, n_significant = rows.row(0)[:7]
    n_maxt, n_tested = rows.select("n_maxt", "n_tested").row(0)
    rows = rows.drop("n_maxt", "n_tested")
    distinct, reasons = rows["n_distinct"].drop_nulls(), rows["reason"].drop_nulls()
    is_refused = bool(rows["refused"].fill_null(False).any())
    value = "effect" if rows["effect"].count() else "difference"
    of_effects = (
        "difference of means over the root mean of both variances; max-statistic permutation of shuffled labels; seed "
        + ("not recorded" if origin == "published" else "in feature_tests, as for the paired maxt_p")
        if value == "effect"
        else "difference of means, in units of the feature's activation"
    )
    by_pair = f"{n_maxt} of {n_tested} beyond chance by the paired test (maxt_p at most 0.05), by the unpaired rule drawn here"
    significant = f"{'significant in the layer:' if n_maxt is None else by_pair} {known(n_significant)}"
    facts = (
        *([f"the test was refused: {reasons[0] if len(reasons) else 'no reason recorded'}"] if is_refused else []),
        f"{origin}; {place_or_unknown(stratum)}; the {count(rows.height, 'feature')} with the largest {value} at hand"
        + ("" if is_refused else f"; {significant}"),
        f"distinct inputs: {min(distinct) if len(distinct) else NOTHING_KNOWN}; {of_effects}",
    )
    hidden = ("run_id", "origin", "sae_id", "site", *(() if is_refused else ("refused", "reason")), *(("effect",) if value != "effect" else ()))
    figure = charts.bars(rows.with_columns(label=pl.format("F{}", "feature")).drop(hidden), value, f"{value}, {one or 'a'} minus {other or 'b'}")
    what = "Features that differ most" if value == "effect" else "Differences that could not be tested"
    title = f"{what}: {one or 'condition a'} minus {other or 'condition b'}{f', layer {layer}' if layer is not None else ''}"
    return Drawing(f"feature effects{suffix}", title, facts, ROW * max(4, rows.height), figure, frozenset({run_id}))
