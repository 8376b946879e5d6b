"""Any question in SQL: typed, asked under the lock and limits of the command line, drawn, downloaded, sent as a link and saved under a name."""

from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from personascope.app_pages.shared.bar import bar
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.text import plain
from personascope.app_pages.sql import chart, editor, gallery, result, schema
from personascope.app_pages.sql.asking import ask, remember
from personascope.warehouse.errors import PersonascopeError, sentence

TITLE, ICON, ORDER = "SQL", ":material/database:", 95
WIDTH = 620  # pixels of the text area


def main() -> None:
    """Draws the page."""
    st.title("SQL")
    bar(silent="A query asks what it says; the bar does not narrow it.")
    lake = source()
    with st.container(horizontal=True, gap="medium"):  # on a narrow screen the schema stands below
        work, beside = st.container(width=WIDTH), st.container(width="stretch")
    with work:
        st.caption("One SELECT over this lake, read-only, with the limits of `personascope sql`; ctrl-enter runs it, and the address is a link to it.")
        query = editor.show(lake)
    with beside:
        schema.show()
    if query:
        _show_answer(lake, query)
    gallery.show_history()
    gallery.show(lake, expanded=not query)


def _show_answer(lake: Source, query: str) -> None:
    try:
        rows = ask(lake, query)
    except PersonascopeError as error:
        remember(query, None)
        st.error(plain(sentence(error)), icon=":material/error:")
        return
    remember(query, rows.height)
    name = gallery.name_of(lake, query)
    file = result.file_stem(query, name, lake)
    facts = [f"lake {Path(lake.root).name}", datetime.now(UTC).strftime("%-d %B %Y")]
    drawn = chart.show(rows, name.replace("-", " ") if name else "", facts, file)
    with result.show(rows, query, file):
        gallery.show_saving(lake, query, drawn)
