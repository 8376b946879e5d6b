"""Rule-outs, section of the marker page: does the effect survive other controls, and would it under the other segmentation?"""

import polars as pl
import streamlit as st

from personascope.app_pages.shared import charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.attention_readouts import Readout
from personascope.warehouse.drawing.words import CONTROLS, SEGMENTATIONS, count

HEIGHT = 300
Y_TITLE = "share of attention"


def show_controls(lake: Source, readout: Readout) -> None:
    """Marker minus each of the other controls by layer, with the published form beside it, then the check of the segmentation."""
    rows = lake.select(
        """select control, layer, estimate as mean, low, high, estimate_p as p, estimate_adjusted_p as adjusted_p, coalesce(separated, false) as separated,
          n_compared, n_questions as questions, n_controls, n, n_clusters,
          published_mean, published_mean - published_sem as published_low, published_mean + published_sem as published_high,
          published_sem, sem_method, comparison,
          count(*) over controls as n_layers, count(low) over controls as n_intervals, count(*) filter (separated) over controls as n_separated,
          count(*) filter (estimate > 0 and estimate_adjusted_p < 0.05) over controls as n_above, count(estimate_adjusted_p) over controls as n_adjusted,
          count(*) filter (passed) over controls as n_passed, count(*) filter (passed_published) over controls as n_passed_published,
          max(n_compared) over controls as most, max(n_controls) over controls as most_controls, max(n_questions) over controls as most_questions
        from ruleouts where run_id = $run_id and subject = $subject
        window controls as (partition by control) order by control, layer""",
        run_id=readout.run_id,
        subject=readout.subject,
    )
    if rows.is_empty():
        st.info(f"{plain(readout.subject)} was read against C1 only; its rule-outs need C2, C3 and C4.", icon=":material/rule:")
    else:
        rows = rows.with_columns(series=pl.col("control").replace_strict(CONTROLS))
        names = rows["series"].unique(maintain_order=True).to_list()
        left, right = st.columns(2, gap="medium")
        with left:
            _show_sound(readout, rows, names)
        with right:
            _show_published(readout, rows, names)
        _show_counts(rows)
    _show_segmentations(lake, readout)


def _show_sound(readout: Readout, rows: pl.DataFrame, names: list[str]) -> None:
    drawn = rows.select("series", "layer", "mean", "low", "high", "adjusted_p", "p", "separated", "n_compared", "n_controls", "questions", "comparison")
    figure = charts.curves(drawn, f"marker minus control, {Y_TITLE}", names, full="separated")
    facts = [
        "band: 95% t interval over questions, one layer at a time; full point: it lies above 0; p in the tooltip adjusted for all layers, and alone",
        f"system prompt, content tokens; {_comparisons(rows)}",
    ]
    charts.show(figure, "rule-outs", "Marker minus other controls", [*facts, readout.of(rows["n_compared"], rows["questions"])], HEIGHT)


def _comparisons(rows: pl.DataFrame) -> str:
    """`C2, C3 paired by generation; C4 two samples`."""
    kinds = rows.unique(["control", "comparison"], maintain_order=True).group_by("comparison", maintain_order=True).agg("control")
    return "; ".join(f"{', '.join(controls)} {comparison}" for comparison, controls in kinds.rows())


def _show_published(readout: Readout, rows: pl.DataFrame, names: list[str]) -> None:
    drawn = rows.select(
        "series", "layer", mean="published_mean", low="published_low", high="published_high", sem_method="sem_method", n="n", questions="n_clusters"
    )
    methods = " and ".join(drawn["sem_method"].unique().sort())
    facts = ["the marker cancels out of it, so it says nothing of the marker", f"band: ± 1 standard error, {methods}"]
    figure = charts.curves(drawn, f"control minus C1, {Y_TITLE}", names)
    facts += [readout.of(rows["n"], rows["n_clusters"])]
    charts.show(figure, "rule-outs as published", "As published: control minus C1", facts, HEIGHT, runs=(readout.run_id,))


def _show_counts(rows: pl.DataFrame) -> None:
    """Layers in which each control is ruled out, by the sound comparison before the published one."""
    table = rows.unique("control", maintain_order=True).select(
        pl.col("series").alias("control"),
        "comparison",
        "most",
        "most_controls",
        "most_questions",
        "n_layers",
        pl.when(pl.col("n_adjusted") > 0).then("n_above").alias("n_above"),
        "n_separated",
        "n_passed",
        "n_passed_published",
    )
    config: charts.Columns = {
        "most": st.column_config.NumberColumn("generations", help="With the marker, the most of any layer."),
        "most_controls": st.column_config.NumberColumn("of the control", help="Generations that the control's positions come from."),
        "most_questions": "questions",
        "n_layers": "layers",
        "n_above": st.column_config.NumberColumn(
            "above, all layers", help="Layers above the control by p < 0.05 adjusted for all layers (max-T over questions)."
        ),
        "n_separated": st.column_config.NumberColumn("interval above 0", help="Layers whose 95% interval over questions lies above 0."),
        "n_passed": st.column_config.NumberColumn("mean − SEM above 0", help="The test that was meant: marker minus control, generations as independent."),
        "n_passed_published": st.column_config.NumberColumn("as published", help="Control minus C1, less its standard error, above 0."),
    }
    st.dataframe(table, hide_index=True, column_config=config, height=charts.table_height(table), placeholder="–")


def _show_segmentations(lake: Source, readout: Readout) -> None:
    """The effect on the whole system block beside that on its content, and the layers in which the conclusion hangs on the choice."""
    rows = lake.select(
        """with gaps as materialized (
          from segmentation_gap where subject = $subject and origin = $origin and (run_id = $run_id or origin = 'published')
        )
        select $whole as series, layer, delta_a as mean, null::double as low, null::double as high, passes_under_a as passes, direction_a as share_above_0,
          gap, gap_low, gap_high, gap_p, conclusion_changes, sign_changes from gaps
        union all
        select $content, layer, delta_b, null, null, passes_under_b, direction_b, gap, gap_low, gap_high, gap_p, conclusion_changes, sign_changes from gaps
        order by series, layer""",
        whole=SEGMENTATIONS["A"],
        content=SEGMENTATIONS["B"],
        run_id=readout.run_id,
        subject=readout.subject,
        origin=readout.origin,
    )
    if rows.is_empty():
        return
    changes = rows.filter(pl.col("conclusion_changes"))["layer"].unique().sort().to_list()
    whole, content = SEGMENTATIONS["A"], SEGMENTATIONS["B"]
    under_a, under_b = (rows.filter((pl.col("series") == series) & pl.col("passes")).height for series in (whole, content))
    figure = charts.curves(rows.with_columns(pl.col("passes").fill_null(False)), f"marker minus C1, {Y_TITLE}", [whole, content], full="passes")
    bounded = rows.filter(series=whole).drop_nulls("gap_low")
    apart = bounded.filter((pl.col("gap_low") > 0) | (pl.col("gap_high") < 0)).height
    facts = [
        f"full point: passes gates A to C, under A {under_a}, under B {under_b} of {count(rows['layer'].n_unique(), 'layer')}; "
        f"the conclusion changes in: {', '.join(map(str, changes)) or 'none'}",
        f"whole block minus content, paired by generation: 95% interval over questions leaves out 0 in {apart} of {count(bounded.height, 'layer')}, each alone"
        if bounded.height
        else "whole block minus content: no interval, since no pairs were published",
        f"mean over generations, no error bars; gate B by one standard error; {readout.of([readout.n_positives], [readout.n_clusters])}",
    ]
    charts.show(figure, "segmentations", "Does the effect sit on structural tokens? Whole system block against its content", facts, HEIGHT)
