"""Named queries: those saved into the lake and the examples that ship, by the question they answer; the history of the session; and saving."""

from collections.abc import Mapping

import streamlit as st

from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.app_pages.sql import editor
from personascope.app_pages.sql.asking import history
from personascope.warehouse.asking import named
from personascope.warehouse.asking.named import NamedQuery
from personascope.warehouse.asking.views import ROOMS
from personascope.warehouse.drawing.words import count
from personascope.warehouse.errors import PersonascopeError, sentence
from personascope.warehouse.store.lake import Lake

OWN, OTHERS = "Saved in this lake", "What is in the lake, as tables"
LINE = 90  # characters of a query in the history


def name_of(lake: Source, query: str) -> str | None:
    """The name of the query with this text; None where it has none."""
    return next((each.name for each in named.named(Lake(lake.root)).values() if each.sql == query.strip()), None)


def show(lake: Source, expanded: bool) -> None:
    """Draws the gallery by question, those of the lake first."""
    st.subheader("Gallery", divider="gray")
    root = Lake(lake.root)
    known = named.named(root)
    groups: dict[str, list[NamedQuery]] = {OWN: [each for each in known.values() if not each.is_shipped]}
    groups |= {question: [each for each in known.values() if each.is_shipped and each.room == room] for room, question in ROOMS.items()}
    groups[OTHERS] = [each for each in known.values() if each.is_shipped and each.room is None]
    for title, queries in groups.items():
        if queries:
            with st.expander(f"{plain(title)} ({len(queries)})", expanded=expanded and title == OWN):
                for each in queries:
                    _show_entry(each)
    for name, reason in named.strays(root):
        st.caption(f":material/warning: {named.FOLDER}/{plain(name)} is left out: {plain(reason)}")


def _show_entry(query: NamedQuery) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        opens = (query.name, query.chart, query.sql)
        st.button("Open", key=f"open {query.name}", on_click=editor.open_named, args=opens, icon=":material/play_arrow:", type="tertiary")
        st.markdown(f"**{plain(query.name)}**: {plain(query.description) or 'no description'}", width="stretch")


def show_history() -> None:
    """What was asked in this session, the last first."""
    asked = history()
    if asked:
        with st.expander(f"History of this session ({len(asked)})"):
            for place, each in enumerate(asked):
                words = " ".join(each.text.split())
                said = "failed" if each.n_rows is None else count(each.n_rows, "row")
                with st.container(horizontal=True, vertical_alignment="center"):
                    st.button("Open", key=f"again {place}", on_click=editor.open_query, args=(each.text,), icon=":material/history:", type="tertiary")
                    st.markdown(f"`{plain(said)}` {plain(words if len(words) <= LINE else words[:LINE] + '…')}", width="stretch")


def show_saving(lake: Source, query: str, of_chart: Mapping[str, str]) -> None:
    """Saves the query with its chart into the lake."""
    with st.popover("Save", icon=":material/bookmark_add:", type="tertiary"), st.form("save", border=False):
        st.caption(f"Writes `{named.FOLDER}/NAME.sql` into the lake; `personascope sql {named.SIGN}NAME` asks it.")
        name = st.text_input("Name", key="save name", placeholder="small letters, digits, - and _").strip()
        description = st.text_area("What it answers", key="save description", height=80).strip()
        replace = st.checkbox("Replace the query of this name", key="save replace")
        if st.form_submit_button("Save", type="primary"):
            try:
                named.save(Lake(lake.root), NamedQuery(name, description, query, dict(of_chart)), replace)
                st.success(f"Saved: `personascope sql {named.SIGN}{name}`", icon=":material/bookmark_added:")
            except PersonascopeError as error:
                st.error(plain(sentence(error)), icon=":material/error:")
