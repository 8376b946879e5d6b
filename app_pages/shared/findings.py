"""The findings of the audit as the app shows them: all on the Audit page, and those of a page beside what it draws."""

import polars as pl
import streamlit as st

from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.asking.audit import collect, in_words
from personascope.warehouse.drawing.tones import SEVERITIES


def show_findings(lake: Source, page: str) -> None:
    """What the audit found on the page of this module name, folded; nothing where it found nothing."""
    rows = collect(lake.select, page)
    if not rows.is_empty():
        with st.expander(f"Audit: {in_words(rows)} on what this page shows", icon=SEVERITIES[rows["severity"][0]].icon):
            draw(rows)


def draw(rows: pl.DataFrame) -> None:
    """One block per finding: severity, check, subject, the sentence, and the query that shows the rows behind it, to copy."""
    for row in rows.iter_rows(named=True):
        head = f":{SEVERITIES[row['severity']].badge}-badge[{row['severity']}] **{plain(row['check'].replace('_', ' '))}** · {plain(row['subject'])}"
        with st.container(border=True):
            st.markdown(f"{head}  \n{plain(row['finding'])}")
            st.code(row["evidence"], language="sql", wrap_lines=True)
