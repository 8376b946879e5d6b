"""The marker page's question answered in two boxes, before any chart: against the rest of the answer, and against the model without the training."""

import streamlit as st

from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.attention_readouts import Readout
from personascope.warehouse.drawing.words import count, p_value, signed


def show_answer(lake: Source, readout: Readout, other: Readout | None) -> None:
    """What was found at the marker, and what training changed, each with what it rests on."""
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.markdown("**More at the marker than elsewhere in the answer?**")
        _show_marker(lake, readout)
    with right.container(border=True, height="stretch"):
        st.markdown("**Did training change that?**")
        if other is None:
            _show_gap(lake, readout)
        else:
            _show_training(lake, readout, other)


def _show_gap(lake: Source, readout: Readout) -> None:
    """Why there is nothing to hold the readout against, and what to type for it."""
    missing = lake.select(
        """select checkpoint from coverage
        where origin = $origin and extractor = 'attention' and status = 'missing' and persona = $persona and tokens_from = $tokens_from
          and checkpoint <> tokens_from
        order by checkpoint""",
        origin=readout.origin,
        persona=readout.persona,
        tokens_from=readout.tokens_from,
    )
    tokens = readout.tokens_run or "RUN"
    if not missing.is_empty():
        base = missing.item(0, 0)
        command = "" if readout.origin == "published" else f": `personascope extract attention {base} --tokens-from {tokens}`"
        st.warning(f"Cannot be told: {plain(base)} has not read the tokens of {plain(readout.tokens_from)}{command}", icon=":material/difference:")
        return
    st.info(
        f"No other checkpoint to hold {plain(readout.subject)} against: the difference needs one that read the same tokens in the same precision "
        f"(`personascope extract attention --checkpoint ID --tokens-from {tokens}`) and is chosen above.",
        icon=":material/difference:",
    )


def _show_marker(lake: Source, readout: Readout) -> None:
    found = lake.select(
        """select c.n_layers, c.gate_d, c.peak_delta, c.peak_layer, c.lowest_delta, c.lowest_layer, g.n, g.n_clusters, g.adjusted_p,
          (select value from thresholds where name = 'gate_direction') as direction
        from gate_counts as c join attention_gates as g on g.run_id = c.run_id and g.subject = c.subject and g.layer = c.peak_layer
        where c.run_id = $run_id and c.subject = $subject""",
        run_id=readout.run_id,
        subject=readout.subject,
    )
    if found.is_empty():
        st.markdown(f"No generation of {plain(readout.subject)} was read against C1.")
        return
    row = found.row(0, named=True)
    passed = "Cannot be told" if row["gate_d"] is None else f"In {row['gate_d']} of {count(row['n_layers'], 'layer')}"
    picked = (
        f"{p_value(row['adjusted_p'])}, adjusted for all layers" if row["adjusted_p"] is not None else "picked as the largest, without a p that knows of it"
    )
    st.markdown(
        f"### {passed}\n"
        f"which pass gates A to C: above 0 in ≥ {row['direction']:.0%} of generations, mean beyond one standard error, above user turn and answer.\n\n"
        f"Largest {signed(row['peak_delta'])} at layer {row['peak_layer']} ({picked}); "
        f"smallest {signed(row['lowest_delta'])} at layer {row['lowest_layer']}."
    )
    st.caption(f"Share of attention on the system prompt's content, marker minus C1; {readout.name}; {readout.sample([row['n']], [row['n_clusters']])}.")


def _show_training(lake: Source, readout: Readout, other: Readout) -> None:
    row = training(lake, readout, other)
    if row is None:
        st.markdown(f"{plain(readout.subject)} and {plain(other.subject)} share no generation.")
        return
    verdict, interval = "", "no interval: too few questions, or no variation"
    if row["clustered_t"] is not None:
        verdict = "More: " if row["clustered_low"] > 0 else "Less: " if row["clustered_high"] < 0 else "Cannot be told from 0: "
        interval = (
            f"95% interval {signed(row['clustered_low'])} to {signed(row['clustered_high'])}, {p_value(row['clustered_p'])}: Student t over questions, "
            "one test over all layers"
        )
    st.markdown(
        f"### {verdict}{signed(row['mean'])}\n"
        f"{plain(readout.checkpoint)} minus {plain(other.checkpoint)} on identical tokens, mean over layers; {interval}.\n\n"
        f"By layer from {signed(row['min'])} (layer {row['min_layer']}) to {signed(row['max'])} (layer {row['max_layer']})."
    )
    st.caption(f"Marker minus C1, then trained minus base, paired by generation; {readout.sample([row['n']], [row['n_clusters']])}.")


def training(lake: Source, readout: Readout, other: Readout) -> dict | None:
    """The row of `diff_of_diffs_summary` of a pair."""
    found = lake.select("from diff_of_diffs_summary where trained_run = $trained and base_run = $base", trained=readout.run_id, base=other.run_id)
    return None if found.is_empty() else found.row(0, named=True)
