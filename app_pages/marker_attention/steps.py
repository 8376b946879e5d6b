"""The steps before the marker, section of the marker page: generations with it against generations without, and whether attention was raised early."""

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.attention_readouts import Readout
from personascope.warehouse.drawing.words import count_range

HEIGHT = 320
ALL, WINDOW = "all layers", "longest window"
WITH, WITHOUT, DIFFERENCE = "with the marker", "without the marker", "with minus without"
X_TITLES = {
    "marker": "steps before the marker (0), in answers without it before their end",
    "end of the answer": "steps before the end of the answer; the marker is at −2",
}


def show_steps(lake: Source, readout: Readout, layer: int | None = None) -> None:
    """The trajectory of both kinds of generations over the chosen layers (first: `layer`), and its difference in each layer."""
    layers = lake.select(
        """select c.n_layers, w.first_layer, w.last_layer
        from gate_counts as c
        left join gate_windows as w using (run_id, subject)
        where c.run_id = $run_id and c.subject = $subject
        order by w.n_layers desc, w.first_layer limit 1""",
        run_id=readout.run_id,
        subject=readout.subject,
    )
    if layers.is_empty():
        st.info(f"No generation of {plain(readout.subject)} was read against C1.", icon=":material/timeline:")
        return
    row = layers.row(0, named=True)
    spans = {WINDOW: (row["first_layer"], row["last_layer"])} if row["first_layer"] is not None else {}
    spans |= {ALL: (0, row["n_layers"] - 1)} | {str(layer): (layer, layer) for layer in range(row["n_layers"])}
    labels = {name: f"layer {name}" for name in spans} | {ALL: "all layers"}
    labels |= {WINDOW: f"longest window of passing layers, {row['first_layer']} to {row['last_layer']}"}
    default = str(layer) if str(layer) in spans else None
    chosen = address.select("Layers", list(spans), "steps", default, labels=labels, help="The mean over these layers is drawn.")
    first, last = spans[chosen]
    rows = lake.select(
        f"""with steps as (
          select step, any_value(aligned_on) as aligned_on, max(n_positive) as n_positive, max(n_negative) as n_negative, avg(positive_mean) as positive,
            avg(negative_mean) as negative, avg(difference) as difference
          from trajectory
          where subject = $subject and origin = $origin and (run_id = $run_id or origin = 'published') and layer between $first and $last
          group by step
        ),
        drawn as (
          select '{WITH}' as series, step, positive as mean, n_positive as generations, aligned_on from steps where positive is not null
          union all
          select '{WITHOUT}', step, negative, n_negative, aligned_on from steps where negative is not null
          union all
          select '{DIFFERENCE}', step, difference, null, aligned_on from steps where positive is null and difference is not null
        )
        select *, null::double as low, null::double as high from drawn order by series, step""",
        subject=readout.subject,
        origin=readout.origin,
        run_id=readout.run_id,
        first=first,
        last=last,
    )
    if rows.is_empty():
        st.info(f"The steps before the marker of {plain(readout.subject)} were not read, or not published.", icon=":material/timeline:")
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _show_curves(readout, rows, labels[chosen])
    with right:
        _show_differences(lake, readout)


def _show_curves(readout: Readout, rows: pl.DataFrame, layers: str) -> None:
    names = [name for name in (WITH, WITHOUT, DIFFERENCE) if name in set(rows["series"])]
    figure = charts.curves(rows.drop("aligned_on"), "share of attention, system prompt's content", names, x="step", x_title=X_TITLES[rows["aligned_on"][0]])
    each = "; ".join(f"{name}: {count_range(rows.filter(pl.col('series') == name)['generations'], 'generation')}" for name in names)
    without = rows.filter(pl.col("series") == WITHOUT)["step"].to_list()
    facts = [each, f"mean over generations, heads and {layers}; no error bars", readout.of([readout.n_positives], [readout.n_clusters])]
    if without == [0]:
        facts.append("of answers without the marker only the end was read, not the steps before it")
    charts.show(figure, "trajectories", "The last steps: answers with the marker against answers without", facts, HEIGHT)


def _show_differences(lake: Source, readout: Readout) -> None:
    rows = lake.select(
        """select step, layer, difference, difference_low, difference_high, n_positive, n_negative from trajectory
        where subject = $subject and origin = $origin and (run_id = $run_id or origin = 'published') and difference is not null order by layer, step""",
        subject=readout.subject,
        origin=readout.origin,
        run_id=readout.run_id,
    )
    if rows["step"].n_unique() < 2:
        return
    figure = charts.heat_map(rows, "step", "layer", "difference", ("step", "layer, counted from 0", "share of attention"))
    facts = [
        f"with: {count_range(rows['n_positive'], 'generation')}; without: {count_range(rows['n_negative'], 'generation')}",
        _told_from_zero(rows),
        readout.of([readout.n_positives], [readout.n_clusters]),
    ]
    charts.show(figure, "trajectory differences", "With minus without, by layer", facts, HEIGHT)


def _told_from_zero(rows: pl.DataFrame) -> str:
    """In how many places the interval of the difference leaves out 0."""
    bounded = rows.drop_nulls("difference_low")
    if bounded.is_empty():
        return "means over generations and heads, no interval"
    apart = bounded.filter((pl.col("difference_low") > 0) | (pl.col("difference_high") < 0)).height
    return f"means over generations and heads; the 95% interval over questions leaves out 0 in {apart} of {bounded.height} places, each alone"
