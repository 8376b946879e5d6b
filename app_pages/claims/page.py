"""What the data say of published sentences: a verdict for each, the number found, and the query that gave it."""

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address, open_in_sql
from personascope.app_pages.shared.bar import bar
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing import markup
from personascope.warehouse.drawing.tones import VERDICTS
from personascope.warehouse.drawing.words import count

TITLE, ICON, ORDER = "Claims", ":material/fact_check:", 70
EVERY = "all"
MEANINGS = {
    "contradicted": "the data say otherwise",
    "imprecise": "true at a coarser rounding or on a narrower scope than stated",
    "not derivable": "data are missing",
    "confirmed": "the data say so",
}
PAGE_SIZE = 25
_BADGE = "display:inline-block;padding:.05em .6em;border-radius:.6em;color:#fff;font-size:.85em;font-weight:600;white-space:nowrap"
_MUTED = "opacity:.75;font-size:.88em"
_FACTS = "display:grid;grid-template-columns:2.5fr 2fr 2fr 7fr;column-gap:1.6em;overflow-wrap:anywhere"


def main() -> None:
    """Draws the page."""
    st.title("Claims")
    bar()
    st.caption("Published sentences made checkable: each has one query, whose value is held against the published one.")
    lake = source()
    checks = lake.select("select study, max(checked) as checked, bool_or(stale) as stale, max(new_runs) as new_runs from claims group by study order by study")
    if checks.is_empty():
        st.info("No claims were checked in this lake yet: `personascope check` checks those of all studies and records the verdicts.", icon=ICON)
        return
    show_age(checks)
    study, verdict = choose(lake, checks["study"].to_list())
    show_claims(lake, study, verdict)


def show_age(checks: pl.DataFrame) -> None:
    """Which verdicts are older than what is in the lake, and what to type."""
    old = checks.filter(pl.col("stale"))
    if old.is_empty():
        return
    lines = [f"- **{plain(row['study'])}**: {_since(row['new_runs'])} `personascope check {row['study']}`" for row in old.iter_rows(named=True)]
    st.warning("These verdicts are older than the lake, check again:\n" + "\n".join(lines), icon=":material/history:")


def _since(new_runs: int) -> str:
    return f"{count(abs(new_runs), 'run')} {'more' if new_runs > 0 else 'fewer'} since." if new_runs else "runs were redone or replaced since."


def choose(lake: Source, studies: list[str]) -> tuple[str, str]:
    """The study and the verdict to show; EVERY stands for no restriction."""
    with st.container(border=True):
        left, right = st.columns([2, 6])
        study = address.select("Study", [EVERY, *studies], "study", where=left)
        counted = dict(lake.select(f"select verdict, count(*) from claims where {_of_study()} group by verdict", study=study).rows())
        meaning = "; ".join(f"{word}: {words}" for word, words in MEANINGS.items())
        verdict = address.segments("Verdict", [EVERY, *VERDICTS], "verdict", help=meaning, where=right)
        counts = ", ".join(f"{counted.get(word, 0)} {word}" for word in VERDICTS)
        right.caption(f"{count(sum(counted.values()), 'claim')}: {counts}")
    return study, verdict


def _of_study() -> str:
    return f"($study = '{EVERY}' or study = $study)"


def show_claims(lake: Source, study: str, verdict: str) -> None:
    """The claims that pass the filters, those that matter most first."""
    order = ", ".join(f"'{word}'" for word in VERDICTS)
    rows = lake.select(
        f"""select * from claims where {_of_study()} and ($verdict = '{EVERY}' or verdict = $verdict)
        order by list_position([{order}], verdict), study, place""",
        study=study,
        verdict=verdict,
    )
    if rows.is_empty():
        st.info("No claim has this verdict.", icon=":material/filter_alt_off:")
        return
    number = address.page(-(-rows.height // PAGE_SIZE), "claims_page", [study, verdict])
    for row in rows.slice((number - 1) * PAGE_SIZE, PAGE_SIZE).iter_rows(named=True):
        with st.container(border=True):
            st.html(_card(row))
            with st.expander("Query"):
                st.code(row["query"], language="sql", wrap_lines=True)
                open_in_sql.link(row["query"])


def _card(row: dict) -> str:
    colour = VERDICTS[row["verdict"]].colour
    found = markup.html(row["found"]) if row["found"] is not None else "nothing"
    looked_at = "" if row["n_rows"] is None else f' <span style="{_MUTED}">of {count(row["n_rows"], "row")}</span>'
    facts = [("measured", markup.html(row["measured"]) + looked_at), ("published", f"<b>{markup.html(row['expected'])}</b>"), ("found", f"<b>{found}</b>")]
    if row["standing"] != "not registered":
        since = f": {markup.html(row['changed'])}" if row["changed"] else ""
        facts.append(("written", f"{row['standing']}{since}"))
    if row["detail"]:
        facts.append(("detail", markup.html(row["detail"])))
    cells = "".join(f'<div><div style="{_MUTED}">{name}</div>{value}</div>' for name, value in facts)
    return (
        f'<div><span style="{_BADGE};background:{colour}">{row["verdict"]}</span> &nbsp;“{markup.html(row["statement"])}”</div>'
        f'<div style="{_MUTED};margin:.15em 0 .4em">{markup.html(row["source"])} · {markup.html(row["study"])} · {markup.html(row["claim"])}</div>'
        f'<div style="{_FACTS}">{cells}</div>'
    )
