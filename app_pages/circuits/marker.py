"""Trained against base at the marker, section of the circuits page: the layers at which the marker's first token rises in each, on the same tokens."""

import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.circuit_readers import Reader
from personascope.warehouse.drawing.figures.marker_rise import VALUES, rise
from personascope.warehouse.drawing.tables import with_values

LABELS = {"prob": "Probability", "logit": "Logit"}
NOBODY = "no other"


def show_marker(lake: Source, reader: Reader) -> None:
    """The overlay of one trained checkpoint and one that read its tokens, and the differences by layer."""
    pairs = lake.select(
        """select distinct trained_run, base_run, trained_subject, base_subject,
          trained_subject || ' and ' || coalesce(base_subject, $nobody) as name
        from marker_lens order by trained_run = $run or coalesce(base_run = $run, false) desc, name, trained_run, base_run""",
        run=reader.lens_run,
        nobody=NOBODY,
    )
    if pairs.is_empty():
        st.info("No logit lens was read at a marker: `personascope run marker-circuits` reads one.", icon=":material/compare_arrows:")
        return
    keys = [f"{row['trained_run']}/{row['base_run'] or ''}" for row in pairs.rows(named=True)]
    left, right = st.columns(2)
    key = address.select("Trained and base", keys, "trained", labels=dict(zip(keys, pairs["name"], strict=True)), where=left)
    value = address.segments("Measure", list(VALUES), "quantity", labels=LABELS, where=right)
    pair = pairs.row(keys.index(key), named=True)
    drawing = rise(lake, pair["trained_run"], pair["base_run"], value, "marker rise")
    if drawing is not None:
        charts.show_drawing(drawing)
    rows = lake.select(
        """select layer, trained_prob, base_prob, prob_difference, prob_low, prob_high, prob_adjusted_p, logit_difference, logit_low, logit_high,
          logit_adjusted_p, trained_rank, base_rank, trained_top1, base_top1, n, n_clusters
        from marker_lens where trained_run = $trained and base_run is not distinct from $base order by layer""",
        trained=pair["trained_run"],
        base=pair["base_run"],
    )
    shown = with_values(rows)
    formats = {"prob": "%.3f", "logit": "%+.2f", "top1": "percent", "rank": "%d"}
    config: charts.Columns = {
        name: st.column_config.NumberColumn(name.replace("_", " "), format=next(kind for part, kind in formats.items() if part in name))
        for name in shown.columns
        if any(part in name for part in formats)
    } | {"n_clusters": "questions"}
    st.dataframe(shown, hide_index=True, column_config=config, height=charts.table_height(shown), placeholder="–")
    st.caption(
        f"{plain(pair['name'])}; intervals 95% t over questions, each layer alone; p adjusted for all layers (max-T, sign flips of questions). "
        "View `marker_lens`."
    )
