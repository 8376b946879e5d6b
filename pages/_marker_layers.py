"""The marker study by layer and head: curves, difference of differences, gates, heat map."""

import polars as pl
import streamlit as st

from pages import _charts as charts
from pages._lake import Source
from pages._readouts import Readout
from pages._text import plain
from pages._url import Choices
from pages._words import count, p_value, signed
from warehouse.figures.difference_of_differences import difference, margin_of
from warehouse.figures.layer_curves import Contrast, curves

__all__ = ["Contrast", "show_curves", "show_difference", "show_gates", "show_heads"]

GATE_HEIGHT = 26
PASSES, FAILS, UNKNOWN = "passes", "does not", "cannot be told"
GATE_LOOKS = {PASSES: (charts.BLUE, "✓"), FAILS: ("#d9dbe1", ""), UNKNOWN: ("#f6f0d8", "")}
TOP_HEADS = 12


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


def show_difference(lake: Source, readout: Readout, other: Readout | None) -> None:
    """Trained minus base on identical tokens: by layer, and over all layers the sound statistic before the published one."""
    drawing = None if other is None else difference(lake, readout, other)
    if other is None or drawing is None:
        st.info(
            f"No other checkpoint to hold {plain(readout.subject)} against: the difference needs one that read the same tokens in the same precision "
            "(`personascope extract attention CHECKPOINT --tokens-from RUN`).",
            icon=":material/difference:",
        )
        return
    charts.show_drawing(drawing)
    _show_summary(lake, readout, other, margin_of(lake))


def _show_summary(lake: Source, readout: Readout, other: Readout, margin: float) -> None:
    found = lake.select("from diff_of_diffs_summary where trained_run = $trained and base_run = $base", trained=readout.run_id, base=other.run_id)
    if found.is_empty():
        return
    row = found.row(0, named=True)
    clustered = (
        f"standard error {row['clustered_sem']:.4f}, t({row['n_clusters'] - 1}) = {signed(row['clustered_t'], 2)}, {p_value(row['clustered_p'])}"
        if row["clustered_t"] is not None
        else "not defined (too few questions, or no variation)"
    )
    independent = (
        f"t({row['n'] - 1}) = {signed(row['paired_t'], 2)}, {p_value(row['paired_p'])}" if row["paired_t"] is not None else "not defined (no variation)"
    )
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.markdown(
            f"**Over all layers, paired by generation**\n\n"
            f"Mean difference **{signed(row['mean'])}** · {count(row['n'], 'generation')}, {count(row['n_clusters'], 'question')}\n"
            f"- clustered by question: {clustered}\n"
            f"- generations as independent: {independent}\n"
            f"- above 0 in {row['paired_examples_positive']} of {count(row['n'], 'generation')}\n"
            f"- peak {signed(row['trained_peak'])} at layer {row['trained_peak_layer']}; {plain(other.checkpoint)} {signed(row['base_peak'])} at layer "
            f"{row['base_peak_layer']}"
        )
    with right.container(border=True, height="stretch"):
        st.markdown(
            f"**As published, over layers**\n\n"
            f"- max {signed(row['max'])} at layer {row['max_layer']}, min {signed(row['min'])} at layer {row['min_layer']}\n"
            f"- above 0 in {row['n_positive']} of {count(row['n_layers'], 'layer')}, above +{margin:g} in {row['n_above']}, "
            f"below −{margin:g} in {row['n_below']}\n"
            f"- sign test over layers: {p_value(row['layer_sign_test_p'])}. Descriptive only: layers are not independent of one another"
        )


def show_gates(lake: Source, readouts: list[Readout]) -> None:
    """Which layers pass the study's gates A to D, and the windows they make."""
    direction = lake.select("select value from thresholds where name = 'gate_direction'").item()
    gates = {
        "gate_a": f"A · above 0 in ≥ {direction:.0%} of generations",
        "gate_b": "B · mean beyond ± 1 standard error of 0",
        "gate_c": "C · above user turn and answer",
        "gate_d": "D · A, B and C",
    }
    for each in readouts:
        rows = lake.select(
            """unpivot (
              select layer, gate_a, gate_b, gate_c, gate_d, mean_delta as mean, sem_delta as sem, direction as share_above_0, clustered_p, n,
                n_clusters as questions
              from attention_gates where run_id = $run_id and subject = $subject
            ) on gate_a, gate_b, gate_c, gate_d into name gate value passed""",
            run_id=each.run_id,
            subject=each.subject,
        )
        if rows.is_empty():
            continue
        _show_gate_strip(lake, each, rows, gates)


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


def show_heads(lake: Source, readout: Readout, other: Readout | None, contrast: Contrast, choices: Choices) -> None:
    """Marker minus control of every head, and the heads with the largest."""
    views = {"first": readout.name} | ({"other": other.name, "difference": f"{readout.checkpoint} minus {other.checkpoint}"} if other else {})
    which = choices.select("Heads of", list(views), "heads", labels=views) if other else "first"
    one = "select layer, head, mean_delta, n from head_deltas where run_id = $run_id and subject = $subject"
    where = "and control = $control and segmentation = $segmentation and region = $region"
    parameters = {"control": contrast.control, "segmentation": contrast.segmentation, "region": contrast.region}
    if which == "difference" and other is not None:
        rows = lake.select(
            f"""select a.layer, a.head, a.mean_delta - b.mean_delta as mean_delta, a.n
            from ({one} {where}) as a
            join ({one.replace("$run_id", "$other_run").replace("$subject", "$other_subject")} {where}) as b using (layer, head)
            order by layer, head""",
            run_id=readout.run_id,
            subject=readout.subject,
            other_run=other.run_id,
            other_subject=other.subject,
            **parameters,
        )
    else:
        chosen = other if which == "other" and other is not None else readout
        rows = lake.select(f"{one} {where} order by layer, head", run_id=chosen.run_id, subject=chosen.subject, **parameters)
    if rows.is_empty():
        why = "its publication holds means over heads only" if readout.origin == "published" else f"nothing was read against {contrast.control}"
        st.info(f"No single heads of {plain(readout.subject)} are in this lake: {why}.", icon=":material/grid_on:")
        return
    left, right = st.columns([5, 2], gap="medium")
    with left:
        n_layers = rows["layer"].n_unique()
        figure = charts.heat_map(rows, "head", "layer", "mean_delta", ("head, counted from 0", "layer, counted from 0", "share of attention"))
        facts = [f"mean over {count(rows['n'][0], 'generation')}; no test; {views[which]}; {contrast.control}, {contrast.region_name}"]
        height = max(180, min(16 * n_layers, 640))
        charts.show(figure, "heads", "Marker minus control, head by head", facts, height)
    with right:
        st.caption("Largest, either way")
        top = rows.drop("n").sort(pl.col("mean_delta").abs(), descending=True, nulls_last=True).head(TOP_HEADS)
        st.dataframe(
            top, hide_index=True, height=charts.table_height(top), column_config={"mean_delta": st.column_config.NumberColumn("difference", format="%+.4f")}
        )
