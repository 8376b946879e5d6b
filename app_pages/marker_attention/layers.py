"""The marker study by layer, section of the marker page: curves, gates A to D with their windows, and gate F beside them."""

import polars as pl
import streamlit as st

from personascope.app_pages.shared import charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.attention_readouts import Readout
from personascope.warehouse.drawing.figures.layer_curves import Contrast, curves
from personascope.warehouse.drawing.words import count

__all__ = ["Contrast", "show_curves", "show_gates"]

GATE_HEIGHT = 26
PASSES, FAILS, UNKNOWN = "passes", "does not", "cannot be told"
GATE_LOOKS = {PASSES: (charts.BLUE, "✓"), FAILS: ("#a8abb540", ""), UNKNOWN: ("#e6c84640", "")}


def show_curves(lake: Source, readouts: list[Readout], contrast: Contrast) -> None:
    """Marker minus control by layer, one line a readout, with bands of one standard error."""
    drawing = curves(lake, readouts, contrast)
    if drawing is None:
        _say_what_there_is(lake, readouts[0], contrast)
    else:
        charts.show_drawing(drawing)


def _say_what_there_is(lake: Source, readout: Readout, contrast: Contrast) -> None:
    there = lake.select(
        """select control, segmentation, string_agg(distinct region, ', ' order by region) as regions from region_deltas_by_layer
        where subject = $subject and (run_id = $run_id or origin = 'published') group by control, segmentation order by control, segmentation""",
        subject=readout.subject,
        run_id=readout.run_id,
    )
    known = "\n".join(f"- {row['control']}, segmentation {row['segmentation']}: {row['regions']}" for row in there.iter_rows(named=True))
    missing = f"{contrast.control} on {contrast.region_name} (segmentation {contrast.segmentation})"
    st.info(f"{plain(readout.subject)} was not read against {missing}. What there is:\n{known or '- nothing'}", icon=":material/show_chart:")


def show_gates(lake: Source, readouts: list[Readout]) -> None:
    """Which layers pass the study's gates A to D and the windows they make, with gate F of the whole readout beside them."""
    limits = dict(lake.select("select name, value from thresholds").rows())
    gates = {
        "gate_a": f"A · above 0 in ≥ {limits['gate_direction']:.0%} of generations",
        "gate_b": "B · mean beyond ± 1 standard error of 0",
        "gate_c": "C · above user turn and answer",
        "gate_d": "D · A, B and C",
        "in_window": "window · 3 or more layers in a row",
    }
    for each in readouts:
        rows = lake.select(
            """unpivot (
              with windows as (
                from gate_windows where run_id = $run_id and subject = $subject
              )
              select g.layer, g.gate_a, g.gate_b, g.gate_c, g.gate_d, case when g.gate_d is not null then w.window_ix is not null end as in_window,
                g.mean_delta as mean, g.sem_delta as sem, g.direction as share_above_0, g.clustered_p, g.n, g.n_clusters as questions
              from attention_gates as g
              left join windows as w on g.layer between w.first_layer and w.last_layer
              where g.run_id = $run_id and g.subject = $subject
            ) on gate_a, gate_b, gate_c, gate_d, in_window into name gate value passed""",
            run_id=each.run_id,
            subject=each.subject,
        )
        if rows.is_empty():
            continue
        left, right = st.columns([7, 2], gap="medium")
        with left:
            _show_gate_strip(lake, each, rows, gates)
        with right.container(border=True):
            _show_gate_f(lake, each, limits)


def _show_gate_strip(lake: Source, readout: Readout, rows: pl.DataFrame, gates: dict[str, str]) -> None:
    counts = lake.select("from gate_counts where run_id = $run_id and subject = $subject", run_id=readout.run_id, subject=readout.subject).row(0, named=True)
    windows = lake.select(
        "select first_layer, last_layer from gate_windows where run_id = $run_id and subject = $subject order by first_layer",
        run_id=readout.run_id,
        subject=readout.subject,
    ).rows()
    state = pl.when(pl.col("passed")).then(pl.lit(PASSES)).when(pl.col("passed").is_not_null()).then(pl.lit(FAILS)).otherwise(pl.lit(UNKNOWN))
    rows = rows.with_columns(gate=pl.col("gate").replace_strict(gates), state=state).drop("passed").sort("gate", "layer")
    passed = ", ".join(f"{name} {counts[f'gate_{name.lower()}'] if counts[f'gate_{name.lower()}'] is not None else '–'}" for name in "ABCD")
    spans = ", ".join(f"{first} to {last}" for first, last in windows) or "none"
    facts = [
        f"layers that pass, of {counts['n_layers']}: {passed}; windows of at least three layers in a row that pass D: {spans}",
        f"system prompt, content tokens, against C1; {counts['sem_method']} standard error in B; {readout.sample(rows['n'], rows['questions'])}",
    ]
    figure = charts.states(rows, "layer", "gate", "layer, counted from 0", list(gates.values()), GATE_LOOKS)
    charts.show(figure, f"gates {readout.subject}", f"Gates: {readout.name}", facts, GATE_HEIGHT * len(gates))


def _show_gate_f(lake: Source, readout: Readout, limits: dict[str, float]) -> None:
    """Was attention raised well before the marker already?"""
    found = lake.select(
        """select *, (select count(*) from gate_windows where run_id = $run_id and subject = $subject) as n_windows
        from gate_f where run_id = $run_id and subject = $subject""",
        run_id=readout.run_id,
        subject=readout.subject,
    )
    st.markdown("**F · raised before the marker already?**")
    row = None if found.is_empty() else found.row(0, named=True)
    if row is None or not row["applicable"]:
        why = (
            "no window of passing layers"
            if row is None or not row["n_windows"]
            else "the steps before the marker were not read, or not published, in answers with it and without"
        )
        st.markdown(f"Cannot be told: {why}.")
        return
    st.markdown(
        f"**{'Yes' if row['reframe'] else 'No'}**: {limits['trajectory_lead']:g} steps before, the difference between answers with and without the marker is "
        f"{row['ratio']:.0%} of that at the marker (yes above {limits['trajectory_ratio']:.0%})."
    )
    st.caption(f"Mean over layers {row['first_layer']} to {row['last_layer']}: {row['early']:.4f} against {row['at_marker']:.4f}; absolute values.")
    if row["ratio_missing"] is None and row["ratio_low"] is not None:
        sure = "cannot be told yes from no" if row["reframe_sure"] is None else "holds in all of it"
        st.caption(
            f"95% interval of the share {row['ratio_low']:.0%} to {row['ratio_high']:.0%} (Fieller, {count(row['n_clusters'], 'question')}): the answer {sure}."
        )
    else:
        st.caption(f"No interval of the share: {row['ratio_missing'] or 'only means were published'}.")
