"""The query: typed, from the address, or opened from the gallery and the history; what was run stands in the address."""

from collections.abc import Mapping

import streamlit as st

from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.open_in_sql import LONGEST, pack, unpack
from personascope.app_pages.shared.text import plain
from personascope.app_pages.sql import chart
from personascope.warehouse.asking import named
from personascope.warehouse.errors import PersonascopeError, sentence
from personascope.warehouse.store.lake import Lake

KEY = "sql"
HEIGHT = 190
PLACEHOLDER = "select subject, layer, mean_delta from attention_gates order by subject, layer"
_TEXT, _RUN, _ADDRESS = "sql text", "sql that runs", "sql of the address"


def show(lake: Source) -> str | None:
    """Draws the text area; the query that is to be asked, None where there is none yet."""
    asked = st.query_params.get(KEY, "")
    if asked != st.session_state.get(_ADDRESS, ""):
        _take_from_address(lake, asked)
    with st.form("query", border=False):
        st.text_area("Query", key=_TEXT, height=HEIGHT, placeholder=PLACEHOLDER, label_visibility="collapsed", help="Ctrl-enter runs it.")
        run = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:", help="Or ctrl-enter in the text.")
    typed = (st.session_state[_TEXT] or "").strip()
    if run and typed:
        try:
            _run(lake, typed)
        except PersonascopeError as error:
            st.session_state.pop(_RUN, None)
            st.error(plain(sentence(error)), icon=":material/error:")
    query = st.session_state.get(_RUN)
    if query and not st.session_state.get(_ADDRESS):
        words = f"This query is too long for an address (more than {LONGEST:,} characters packed): save it under a name to share it."
        st.caption(f":material/link_off: {words}")
    return query


def open_query(text: str, of_chart: Mapping[str, str] | None = None) -> None:
    """Takes a query as if it had been typed and run, with a chart by role; for callbacks, which run before the page is drawn."""
    st.session_state[_TEXT] = text
    _keep(text, text)
    if of_chart is not None:
        chart.choose(of_chart)


def open_named(name: str, of_chart: Mapping[str, str], text: str) -> None:
    """The same for a named query, whose name makes a short address."""
    st.session_state[_TEXT] = text
    _keep(text, f"{named.SIGN}{name}")
    chart.choose(of_chart)


def _run(lake: Source, typed: str) -> None:
    if typed.startswith(named.SIGN):
        found = named.find(Lake(lake.root), typed)
        _keep(found.sql, typed)
        chart.choose(found.chart)
    else:
        _keep(typed, typed)


def _keep(query: str, words: str) -> None:
    """Makes it the query that runs and, where it is not too long, the address."""
    packed = pack(words) or ""
    st.session_state[_RUN], st.session_state[_ADDRESS] = query, packed
    if packed:
        st.query_params[KEY] = packed
    else:
        st.query_params.pop(KEY, None)


def _take_from_address(lake: Source, asked: str) -> None:
    """The query of a link, or of the address that Back and Forward lead to."""
    st.session_state[_ADDRESS] = asked
    st.session_state.pop(_RUN, None)
    try:
        text = unpack(asked).strip()
        if text.startswith(named.SIGN):
            found = named.find(Lake(lake.root), text)
            text = found.sql
            if chart.KEYS["kind"] not in st.query_params:
                chart.choose(found.chart)
    except PersonascopeError as error:
        st.error(plain(sentence(error)), icon=":material/link_off:")
        text = ""
    st.session_state[_TEXT] = text
    if text:
        st.session_state[_RUN] = text
