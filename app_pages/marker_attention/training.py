"""What training changed, section of the marker page: difference of differences by layer, over layers, and where the effect peaks."""

import streamlit as st

from personascope.app_pages.marker_attention.answer import training
from personascope.app_pages.shared import charts
from personascope.app_pages.shared.lake import Source
from personascope.warehouse.drawing.attention_readouts import Readout
from personascope.warehouse.drawing.figures.difference_of_differences import difference, margin_of
from personascope.warehouse.drawing.words import count, degrees, movement, p_value, signed

PEAK_HEIGHT = 30


def show_training(lake: Source, readout: Readout, other: Readout | None) -> None:
    """Trained minus base on identical tokens: by layer, over all layers the sound statistic before the published one, and the shift of the peak."""
    drawing = None if other is None else difference(lake, readout, other)
    if other is None or drawing is None:
        st.info("Nothing to draw without another checkpoint on the same tokens.", icon=":material/difference:")
        return
    charts.show_drawing(drawing)
    _show_summary(lake, readout, other, margin_of(lake))
    _show_peaks(lake, readout, other)


def _show_summary(lake: Source, readout: Readout, other: Readout, margin: float) -> None:
    row = training(lake, readout, other)
    if row is None:
        return
    clustered = (
        f"standard error {row['clustered_sem']:.4f}, t({degrees(row['clustered_df'])}) = {signed(row['clustered_t'], 2)}, {p_value(row['clustered_p'])}, "
        f"95% interval {signed(row['clustered_low'])} to {signed(row['clustered_high'])}"
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
            f"- {movement(row['movement'], row['margin'])}: {_equivalence(row)}\n"
            f"{_limits(row)}"
            f"- generations as independent: {independent}\n"
            f"- above 0 in {row['paired_examples_positive']} of {count(row['n'], 'generation')}"
        )
    with right.container(border=True, height="stretch"):
        st.markdown(
            f"**As published, over layers**\n\n"
            f"- max {signed(row['max'])} at layer {row['max_layer']}, min {signed(row['min'])} at layer {row['min_layer']}\n"
            f"- above 0 in {row['n_positive']} of {count(row['n_layers'], 'layer')}, above +{margin:g} in {row['n_above']}, "
            f"below −{margin:g} in {row['n_below']}\n"
            f"- sign test over layers: {p_value(row['layer_sign_test_p'])}. Descriptive only: layers are not independent of one another"
        )


def _equivalence(row: dict) -> str:
    """What the test against the margin says."""
    if row["equivalence_p"] is None:
        return "no test against the margin can be made"
    return f"two one-sided tests that the mean lies within ±{row['margin']:g}, {p_value(row['equivalence_p'])}"


def _limits(row: dict) -> str:
    """What weakens the interval by question: few questions that weigh, or skewed ones."""
    if row["clustered_df"] is None:
        return ""
    skewed = ", whose means are skewed: the interval is too short on one side" if row["is_skewed"] else ""
    return f"- {count(row['n_clusters'], 'question')} that weigh as much as {degrees(row['n_effective_clusters'])} equally large ones{skewed}\n"


def _show_peaks(lake: Source, readout: Readout, other: Readout) -> None:
    """The layer of the largest effect in each of the two and the shift between them."""
    rows = lake.select(
        """with pair as materialized (
          from peak_shifts where trained_run = $trained and base_run = $base
        )
        select $name as label, peak_layer as mean, peak_low as low, peak_high as high, peak_delta, peak_shift, low as shift_low, high as shift_high, same_share,
          n, n_clusters as questions, n_layers, missing, resamples, seed from pair
        union all
        select $other, base_peak_layer, base_peak_low, base_peak_high, base_peak_delta, peak_shift, low, high, same_share,
          n, n_clusters, n_layers, missing, resamples, seed from pair""",
        trained=readout.run_id,
        base=other.run_id,
        name=readout.name,
        other=other.name,
    )
    if rows.is_empty():
        return
    row = rows.row(0, named=True)
    shift = row["peak_shift"]
    if row["missing"] is None:
        interval = f"shift {_whole(shift)} layers, 95% interval {_whole(row['shift_low'])} to {_whole(row['shift_high'])}"
        method = f"{interval}; the same layer in {row['same_share']:.0%} of {row['resamples']:,} bootstrap resamples of questions, seed {row['seed']}"
    else:
        method = f"shift {_whole(shift)} layers, no interval: {row['missing']}"
    figure = charts.spans(rows.select("label", "mean", "low", "high", "peak_delta", "n", "questions"), "layer, counted from 0", readout.name)
    facts = [method, f"marker minus C1, system prompt, content tokens, {count(row['n_layers'], 'layer')}; {readout.sample([row['n']], [row['questions']])}"]
    charts.show(figure, "peaks", "Where the effect peaks: the layer of its largest mean", facts, 2 * PEAK_HEIGHT)
    if row["missing"] in ("not computed", "outdated"):
        st.caption("The interval is an analysis: `personascope analyse` computes what is missing.")


def _whole(shift: int) -> str:
    """A number of layers with its sign, 0 without one."""
    return signed(shift, 0) if shift else "0"
