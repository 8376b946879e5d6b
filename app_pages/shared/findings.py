"""The findings of the audit as the app shows them: all on the Audit page, and those of a page beside what it draws."""

import re
import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

import polars as pl
import streamlit as st

from personascope.app_pages.shared import open_in_sql
from personascope.app_pages.shared.bar import Place
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.asking.audit import checks, collect, in_words
from personascope.warehouse.drawing.tones import SEVERITIES
from personascope.warehouse.drawing.words import count

MOST_OPEN, MOST_LISTED = 3, 50  # findings of a check that are not folded, and that are drawn at all
SOON = 1.0  # seconds within which checks come without a word
_RUNS_OF = {"checkpoint": "runs", "persona": "marker_rates"}
_RUN = re.compile(r"'([a-z0-9_-]+-[0-9a-f]{12})'")


def show_findings(lake: Source, page: str, runs: AbstractSet[str] | None = None) -> None:
    """What the audit found on the page of this module name, folded; nothing where it found nothing. A page keeps a place for it and calls it last: in a lake of
    thousands of runs the audit takes longer than the page.

    `runs` are those that the page draws: findings whose evidence lies in other runs are counted, and left to the Audit page.
    """
    rows = collect(lake.select, page, in_turn=told)
    if runs is not None:
        drawn = [_is_of(evidence, runs) for evidence in rows["evidence"]]
        elsewhere, rows = drawn.count(False), rows.filter(pl.Series(drawn, dtype=pl.Boolean))
        if elsewhere:
            st.caption(f"{count(elsewhere, 'finding')} of the audit on others than those chosen here: the Audit page lists all.")
    if not rows.is_empty():
        with st.expander(f"Audit: {in_words(rows)} on what this page shows", icon=SEVERITIES[rows["severity"][0]].icon):
            draw(rows)


def told(checks: Sequence[str]) -> Iterator[str]:
    """The checks one after the other, with a bar that tells how far they are where they take long, as after runs have come to a lake of thousands."""
    place, begun = st.empty(), time.monotonic()
    for number, check in enumerate(checks):
        if time.monotonic() - begun > SOON:
            place.progress(number / len(checks), f"Audit: check {number + 1} of {len(checks)}, {check.replace('_', ' ')}")
        yield check
    place.empty()


def _is_of(evidence: str, runs: AbstractSet[str]) -> bool:
    """Whether a finding is about one of `runs`, or names no run at all."""
    named = set(_RUN.findall(evidence))
    return not named or bool(named & runs)


def about(lake: Source, rows: pl.DataFrame, place: Place) -> pl.DataFrame:
    """The findings that name the checkpoint and the persona of the bar, or a run of theirs."""
    for name in ("checkpoint", "persona"):
        value = getattr(place, name)
        if value is None:
            continue
        runs = set(lake.select(f"select distinct run_id from {_RUNS_OF[name]} where {name} = $value", value=value)["run_id"])
        word = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
        kept = [bool(word.search(" ".join(row)) or runs & set(_RUN.findall(row[2]))) for row in rows.select("subject", "finding", "evidence").iter_rows()]
        rows = rows.filter(pl.Series(kept, dtype=pl.Boolean))
    return rows


def draw(rows: pl.DataFrame) -> None:
    """The findings by check: what each check looks for, then one block a finding: subject, sentence, and the query that shows the rows behind it, to copy."""
    for (check,), found in rows.group_by("check", maintain_order=True):
        severity = SEVERITIES[found["severity"][0]]
        st.markdown(f":{severity.badge}-badge[{found['severity'][0]}] **{plain(str(check).replace('_', ' '))}** · {count(found.height, 'finding')}")
        st.caption(plain(checks()[str(check)].meaning))
        _blocks(found.head(MOST_OPEN))
        if found.height > MOST_OPEN:
            with st.expander(f"{found.height - MOST_OPEN} more of {str(check).replace('_', ' ')}"):
                _blocks(found.slice(MOST_OPEN, MOST_LISTED - MOST_OPEN))
                if found.height > MOST_LISTED:
                    query = f"select subject, finding, evidence from {checks()[str(check)].name} order by subject"
                    st.caption(f"Here are {MOST_LISTED}; the query lists {count(found.height, 'finding')} and those of other choices.")
                    open_in_sql.link(query, key=f"all of {check}")


def _blocks(rows: pl.DataFrame) -> None:
    for row in rows.iter_rows(named=True):
        with st.container(border=True):
            st.markdown(f"**{plain(row['subject'])}**: {plain(row['finding'])}")
            st.code(row["evidence"], language="sql", wrap_lines=True)
            open_in_sql.link(row["evidence"])
