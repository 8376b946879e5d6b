"""What the audit finds in the lake: mistakes that published work of this kind has made, each with the query that shows its rows."""

import streamlit as st

from personascope.app_pages.shared import address
from personascope.app_pages.shared.bar import bar
from personascope.app_pages.shared.findings import about, draw, told
from personascope.app_pages.shared.lake import source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.asking.audit import SEVERITIES, checks, collect, in_words

TITLE, ICON, ORDER = "Audit", ":material/troubleshoot:", 90
EVERY = "all"


def main() -> None:
    """Draws the page."""
    st.title("Audit")
    lake = source()
    named = lake.select("select distinct checkpoint, null as persona from runs union select null, persona from marker_rates")
    checkpoints, personas = (named[name].drop_nulls().unique().sort().to_list() for name in ("checkpoint", "persona"))
    place = bar(checkpoints=checkpoints, personas=personas)
    rows = about(lake, collect(lake.select, in_turn=told), place)
    st.markdown(f"{len(checks())} checks look for mistakes that published work of this kind has made, in extracted and published data alike.")
    if rows.is_empty():
        where = "this lake" if place.checkpoint is None and place.persona is None else "what the bar names"
        st.success(f"They find nothing in {where}.", icon=":material/check_circle:")
        show_checks()
        return
    for box, (severity, meaning) in zip(st.columns(len(SEVERITIES)), SEVERITIES.items(), strict=True):
        box.metric(f"{severity.capitalize()}s", f"{(rows['severity'] == severity).sum():,}", border=True, help=f"{meaning}.")
    left, middle, right = st.columns([4, 3, 4])
    grade = address.segments("Severity", [EVERY, *SEVERITIES], "severity", where=left)
    check = address.select("Check", [EVERY, *rows["check"].unique().sort()], "check", labels={name: name.replace("_", " ") for name in checks()}, where=middle)
    words = right.text_input("About", key="about", placeholder="words, in capitals or not", bind="query-params") or ""
    chosen = {"severity": grade, "check": check}
    for column, value in chosen.items():
        rows = rows if value == EVERY else rows.filter(rows[column] == value)
    rows = rows.filter(rows["subject"].str.to_lowercase().str.contains(words.lower(), literal=True))
    if rows.is_empty():
        st.info("No finding passes these filters.", icon=":material/filter_alt_off:")
    else:
        st.markdown(f"**{in_words(rows)}**; each query can be given to `personascope sql` as it stands.")
        draw(rows)
    show_checks()


def show_checks() -> None:
    """Every check with what it looks for, whether it found something or not."""
    with st.expander("What is checked"):
        lines = [f"- **{plain(name.replace('_', ' '))}** ({view.severity}): {plain(view.meaning)}" for name, view in sorted(checks().items())]
        st.markdown("\n".join(lines))
