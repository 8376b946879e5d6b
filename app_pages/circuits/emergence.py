"""Emergence, section of the circuits page: layers at which the target becomes top-1, how it rises before, what stood there, and how alike the phrasings are."""

import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.circuit_readers import Reader
from personascope.warehouse.drawing.figures.emergence_layers import MEASURES, emergence
from personascope.warehouse.drawing.figures.prompt_form_similarity import similarity
from personascope.warehouse.drawing.figures.target_rise import VALUES, rise
from personascope.warehouse.drawing.tables import with_values
from personascope.warehouse.drawing.words import count

LABELS = {"stays": "Stays top-1", "stays, one word": "Stays, one word", "first": "First time"}
MOST_ROWS = 12


def show_emergence(lake: Source, reader: Reader) -> None:
    """The histogram by phrasing, rank and probability by layer, the table behind them, and the cosine of two phrasings by layer."""
    if reader.lens_run is None:
        st.info(f"No logit lens of {plain(reader.subject)} was read: `personascope extract logit_lens` reads one.", icon=":material/layers:")
        return
    help_words = "; ".join(f"{LABELS[name]}: {meaning}" for name, meaning in MEASURES.items())
    measure = address.segments("Emergence", list(MEASURES), "emergence", labels=LABELS, help=help_words)
    drawing = emergence(lake, reader, measure, f"emergence {measure}")
    if drawing is not None:
        charts.show_drawing(drawing)
    for value in VALUES:
        if (risen := rise(lake, reader, value, f"target {value}")) is not None:
            charts.show_drawing(risen)
    _show_table(lake, reader)
    alike = similarity(lake, checkpoint=reader.checkpoint)
    if alike is not None:
        charts.show_drawing(alike)


def _show_table(lake: Source, reader: Reader) -> None:
    rows = lake.select(
        """select prompt_form, target, emergence_layer, emergence_layer_normalised, first_layer, reason, token_before, script_before, final_token, final_prob,
          n_lost, n_lost_to_spelling, n_other_script, n_tied, example_id
        from emergence where run_id = $run and subject = $subject and stratum = $stratum
        order by prompt_form, emergence_layer nulls last, target, example_id, sample_ix""",
        run=reader.lens_run,
        subject=reader.subject,
        stratum=reader.stratum,
    )
    shown = with_values(rows)
    config: charts.Columns = {
        "prompt_form": "form",
        "emergence_layer": st.column_config.NumberColumn("stays from", help="First layer from which on the target alone is top-1."),
        "emergence_layer_normalised": st.column_config.NumberColumn("one word", help="The same with spaces and capitals ignored."),
        "first_layer": st.column_config.NumberColumn("first at"),
        "reason": st.column_config.TextColumn(
            "why none", help="never: another token is top-1 at the last layer; tied: the target shares the highest logit there."
        ),
        "token_before": st.column_config.TextColumn("token before", help="Top-1 token of the layer before."),
        "script_before": "its script",
        "final_token": "final token",
        "final_prob": st.column_config.NumberColumn("probability", format="percent"),
        "n_lost": st.column_config.NumberColumn("lost again", help="Layers behind the first time at which another token is top-1."),
        "n_lost_to_spelling": st.column_config.NumberColumn("to spelling", help="Those at which it is the same word but for spaces and capitals."),
        "n_other_script": st.column_config.NumberColumn("other script", help="Layers before emergence whose top-1 token is in another script than the target."),
        "n_tied": "ties",
        "example_id": "example",
    }
    st.dataframe(shown, hide_index=True, column_config=config, height=charts.table_height(shown, MOST_ROWS), placeholder="–")
    changed = rows.filter(rows["n_lost"] > 0).height
    st.caption(f"{count(rows.height, reader.what)}; at {changed} of them another token takes over again after the target was top-1. View `emergence`.")
