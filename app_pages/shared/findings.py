"""The findings of the audit as the app shows them: all on the Audit page, and those of a page beside what it draws."""

import re
from collections.abc import Set as AbstractSet

import polars as pl
import streamlit as st

from personascope.app_pages.shared import open_in_sql
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.asking.audit import collect, in_words
from personascope.warehouse.drawing.tones import SEVERITIES
from personascope.warehouse.drawing.words import count

_RUN = re.compile(r"'([a-z0-9_-]+-[0-9a-f]{12})'")


def show_findings(lake: Source, page: str, runs: AbstractSet[str] | None = None) -> None:
    """What the audit found on the page of this module name, folded; nothing where it found nothing.

    `runs` are those that the page draws: findings whose evidence lies in other runs are counted, and left to the Audit page.
    """
    rows = collect(lake.select, page)
    if runs is not None:
        drawn = [_is_of(evidence, runs) for evidence in rows["evidence"]]
        elsewhere, rows = drawn.count(False), rows.filter(pl.Series(drawn, dtype=pl.Boolean))
        if elsewhere:
            st.caption(f"{count(elsewhere, 'finding')} of the audit on others than those chosen here: the Audit page lists all.")
    if not rows.is_empty():
        with st.expander(f"Audit: {in_words(rows)} on what this page shows", icon=SEVERITIES[rows["severity"][0]].icon):
            draw(rows)


def _is_of(evidence: str, runs: AbstractSet[str]) -> bool:
    """Whether a finding is about one of `runs`, or names no run at all."""
    named = set(_RUN.findall(evidence))
    return not named or bool(named & runs)


def draw(rows: pl.DataFrame) -> None:
    """One block per finding: severity, check, subject, the sentence, and the query that shows the rows behind it, to copy."""
    for row in rows.iter_rows(named=True):
        head = f":{SEVERITIES[row['severity']].badge}-badge[{row['severity']}] **{plain(row['check'].replace('_', ' '))}** · {plain(row['subject'])}"
        with st.container(border=True):
            st.markdown(f"{head}  \n{plain(row['finding'])}")
            st.code(row["evidence"], language="sql", wrap_lines=True)
            open_in_sql.link(row["evidence"])
