"""The marker page's question answered in two boxes, before any chart: against the rest of the answer, and against the model without the training."""

import streamlit as st

from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.attention_readouts import Readout
from personascope.warehouse.drawing.words import count, p_value, signed
from personascope.warehouse.errors import pasted


def show_answer(lake: Source, readout: Readout, other: Readout | None, layer: int | None = None) -> None:
    """What was found at the marker, and what training changed, each with what it rests on: at `layer`, else where the effect is largest."""
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.markdown("**More at the marker than elsewhere in the answer?**")
        _show_marker(lake, readout, layer)
    with right.container(border=True, height="stretch"):
        st.markdown("**Did training change that?**")
        if other is None:
            _show_gap(lake, readout)
        else:
            _show_training(lake, readout, other, layer)


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
        known = not lake.select("select 1 from checkpoints where checkpoint = $base limit 1", base=base).is_empty()
        who = f"ID --name {pasted(base)}" if known else pasted(base)
        command = "" if readout.origin == "published" else f": `personascope extract attention --checkpoint {who} --tokens-from {tokens}`"
        st.warning(f"Cannot be told: {plain(base)} has not read the tokens of {plain(readout.tokens_from)}{command}", icon=":material/difference:")
        return
    st.info(
        f"No other checkpoint to hold {plain(readout.subject)} against: the difference needs one that read the same tokens in the same precision "
        f"(`personascope extract attention --checkpoint ID --tokens-from {tokens}`) and is chosen above.",
        icon=":material/difference:",
    )


def _show_marker(lake: Source, readout: Readout, layer: int | None) -> None:
    found = lake.select(
        """select c.n_layers, c.gate_d as n_passed, c.peak_layer, c.lowest_delta, c.lowest_layer, g.layer, g.mean_delta,
          g.mean_delta - t_half_width(g.clustered_sem, g.clustered_df) as clustered_low,
          g.mean_delta + t_half_width(g.clustered_sem, g.clustered_df) as clustered_high, g.adjusted_p, g.gate_d as passed, g.n, g.n_clusters,
          (select value from thresholds where name = 'gate_direction') as direction
        from gate_counts as c join attention_gates as g on g.run_id = c.run_id and g.subject = c.subject and g.layer = coalesce($layer, c.peak_layer)
        where c.run_id = $run_id and c.subject = $subject""",
        run_id=readout.run_id,
        subject=readout.subject,
        layer=layer,
    )
    if found.is_empty():
        st.markdown(f"No generation of {plain(readout.subject)} was read against C1{'' if layer is None else f' at layer {layer}'}.")
        return
    row = found.row(0, named=True)
    where = "the largest of all" if row["layer"] == row["peak_layer"] else f"largest at layer {row['peak_layer']}"
    passed = "" if row["passed"] is None else "; it passes gates A to C" if row["passed"] else "; it does not pass gates A to C"
    gates = (
        "whether layers pass gates A to C cannot be told" if row["n_passed"] is None else f"{row['n_passed']} of {count(row['n_layers'], 'layer')} pass them"
    )
    st.markdown(
        f"### Layer {row['layer']}: {signed(row['mean_delta'])}\n"
        f"{_interval(row)}; {_adjusted(row['adjusted_p'], layer)}.\n\n"
        f"That layer is {where}{passed}; {gates} (above 0 in ≥ {row['direction']:.0%} of generations, mean beyond one standard error, above user turn and "
        f"answer). Smallest {signed(row['lowest_delta'])} at layer {row['lowest_layer']}."
    )
    st.caption(f"Share of attention on the system prompt's content, marker minus C1; {readout.name}; {readout.sample([row['n']], [row['n_clusters']])}.")


def _show_training(lake: Source, readout: Readout, other: Readout, layer: int | None) -> None:
    rows = lake.select(
        """select layer, diff_of_diffs, clustered_low, clustered_high, adjusted_p, adjusted_p < 0.05 as sure, n, n_clusters from diff_of_diffs
        where trained_run = $trained and base_run = $base order by adjusted_p nulls last, abs(diff_of_diffs) desc, layer""",
        trained=readout.run_id,
        base=other.run_id,
    )
    at = rows if layer is None else rows.filter(rows["layer"] == layer)
    if at.is_empty():
        st.markdown(f"{plain(readout.subject)} and {plain(other.subject)} share no generation{'' if layer is None else f' at layer {layer}'}.")
        return
    row = at.row(0, named=True)
    verdict = "" if row["sure"] is None else "Cannot be told from 0: " if not row["sure"] else "More: " if row["diff_of_diffs"] > 0 else "Less: "
    sure, known = rows.filter(rows["sure"]), rows.height - rows["sure"].null_count()
    up, down = (sure.filter((sure["diff_of_diffs"] > 0) == above)["layer"].sort().to_list() for above in (True, False))
    signs = [
        f"{words} at {'layer' if len(layers) == 1 else 'layers'} {', '.join(map(str, layers))}" for words, layers in (("more", up), ("less", down)) if layers
    ]
    others = "" if not known else f"By adjusted p below 0.05: {'; '.join(signs) or 'no layer'}, of {count(rows.height, 'layer')}."
    st.markdown(
        f"### {verdict}{'layer' if verdict else 'Layer'} {row['layer']}, {signed(row['diff_of_diffs'])}\n"
        f"{plain(readout.checkpoint)} minus {plain(other.checkpoint)} on identical tokens; {_interval(row)}; {_adjusted(row['adjusted_p'], layer)}.\n\n"
        f"{others}"
    )
    st.caption(f"Marker minus C1, then trained minus base, paired by generation; {readout.sample([row['n']], [row['n_clusters']])}.")


def _interval(row: dict) -> str:
    if row["clustered_low"] is None:
        return "no interval: too few questions, or no variation"
    return f"95% interval {signed(row['clustered_low'])} to {signed(row['clustered_high'])} by question"


def _adjusted(p: float | None, layer: int | None) -> str:
    """What p says of a layer that was named, or picked among all."""
    if p is not None:
        return f"{p_value(p)}, adjusted for all layers"
    return "without a p that knows of the other layers" if layer is not None else "picked among all layers, without a p that knows of it"


def training(lake: Source, readout: Readout, other: Readout) -> dict | None:
    """The row of `diff_of_diffs_summary` of a pair."""
    found = lake.select("from diff_of_diffs_summary where trained_run = $trained and base_run = $base", trained=readout.run_id, base=other.run_id)
    return None if found.is_empty() else found.row(0, named=True)
