"""What can be asked: tables and views by the question they answer, and the columns of one with their meaning."""

import polars as pl
import streamlit as st

from personascope.app_pages.shared.charts import table_height
from personascope.app_pages.shared.text import plain
from personascope.warehouse.asking.shapes import table_types, view_types
from personascope.warehouse.asking.views import ROOMS, rooms, views
from personascope.warehouse.store.schema import tables

HEIGHT = 215
TABLES = "What was measured, as it was stored (tables)"


def show() -> None:
    """Draws the lists and the columns of the one that was picked."""
    groups = {question: [name for name, room in rooms().items() if room == each] for each, question in ROOMS.items()} | {TABLES: sorted(tables())}
    names = [name for group in groups.values() for name in group]
    name = st.selectbox("Columns of", names, index=None, placeholder="a table or view; type to search", key="columns of")
    if name is not None:
        _show_columns(name)
        return
    with st.container(height=HEIGHT, border=False):
        for question, group in groups.items():
            with st.expander(f"{plain(question)} ({len(group)})"):
                st.markdown("\n".join(f"- **{plain(each)}**: {plain(_meaning(each))}" for each in group))


def _meaning(name: str) -> str:
    return views()[name].meaning if name in views() else tables()[name].meaning


def _show_columns(name: str) -> None:
    view = views().get(name)
    grain = view.grain if view else ", ".join(tables()[name].key)
    st.caption(f"{plain(_meaning(name))}. One row for each: {plain(grain)}.")
    types = view_types([name])[name] if view else table_types()[name]
    docs = {column: view.doc(column) if view else tables()[name].docs[column] for column in types}
    rows = pl.DataFrame({"column": list(types), "type": [kind.lower() for kind in types.values()], "meaning": list(docs.values())})
    st.dataframe(rows, hide_index=True, height=table_height(rows, most=6))
