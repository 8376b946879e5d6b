"""The studies of the lake, section of the overview: what each found in a sentence, its state and the ways to it; and which pages wait for data."""

import streamlit as st

from personascope.app_pages.serving.reports import address as reports_address
from personascope.app_pages.shared import address
from personascope.app_pages.shared.lake import Source, open_source
from personascope.app_pages.shared.links import page_title
from personascope.app_pages.shared.root import lake_root
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.headlines import headline
from personascope.warehouse.drawing.report.shelf import INDEX, About, lake_state, reports
from personascope.warehouse.drawing.words import count
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.writer import staged
from personascope.warehouse.studies.progress import progress
from personascope.warehouse.studies.reading import page_names, read_source

MOST_WRITTEN = 5  # runs that are listed while they are written
SECONDS = 10  # between two looks at a lake that is being written
# What a page draws, and the study that would fill it.
FILLED_BY = {
    "marker_attention": ("Marker attention", "select count(*) > 0 as there from subjects", "marker-attention"),
    "completions": ("Completions", "select count(*) > 0 as there from runs where extractor = 'completions'", "marker-attention"),
    "regimes": ("Regimes", "select count(*) > 0 as there from regimes", "lr-epochs"),
    "role_focus": ("Role focus", "select count(*) > 0 as there from rfc_summary", "role-focus"),
    "features": ("Features", "select count(*) > 0 as there from feature_test_summary", "sae-conditions"),
    "circuits": ("Circuits", "select count(*) > 0 as there from circuit_runs", "echo"),
    "personas": ("Personas", "select count(*) > 0 as there from persona_vectors", "lr-epochs"),
    "directions": ("Directions", "select count(*) > 0 as there from directions", "persona-gate"),
}


def show_studies(lake: Source) -> None:
    """Each study that has runs or an answer here: its sentence, its state, and links to its pages."""
    counted = dict(lake.select("select study, count(*) from runs where study is not null group by study order by study").rows())
    filled = {study for _, query, study in FILLED_BY.values() if study in counted or lake.select(query).item()}
    there = {study: headline(lake, study) for study in dict.fromkeys([*counted, *sorted(filled)])}
    there = {study: words for study, words in there.items() if words or study in counted}
    writing = Lake.existing(lake.root).writing()
    if not there and not writing:
        return
    st.subheader("Studies", divider="gray")
    if writing:
        _follow(lake.fingerprint)
    checks = {
        row["study"]: row
        for row in lake.select(
            """select study, count(*) as n, count(*) filter (verdict = 'confirmed') as confirmed, bool_or(stale) as stale from claims group by study"""
        ).iter_rows(named=True)
    }
    manifests = list(Lake(lake.root).manifests())
    written, now = reports(Lake(lake.root)), lake_state(Lake(lake.root))
    gaps = lake.select("select count(*) from coverage where status = 'missing'").item()
    for study, words in there.items():
        with st.container(border=True):
            state = [count(counted[study], "run") if study in counted else "no run of this study; the lake answers it all the same"]
            if study in counted and (found := progress(study, manifests)) is not None:
                state.append(found.words())
            if study == "marker-attention" and gaps:
                state.append(f"{count(gaps, 'gap')} in the coverage below")
            if study in checks:
                check = checks[study]
                state.append(f"{check['confirmed']} of {count(check['n'], 'claim')} confirmed{', older than the lake' if check['stale'] else ''}")
            st.markdown(f"**{plain(study)}** · {plain(words or 'its views have no answer yet: the study is not complete')}")
            st.caption(f"{'; '.join(state)}.")
            with st.container(horizontal=True):
                for page in _pages(study) or _pages_of_report(study, written):
                    address.link(FILLED_BY[page][0] if page in FILLED_BY else page_title(page), page, ":material/arrow_forward:")
                _link_report(study, written, now)
    if written:
        st.markdown(f"[All reports of this lake](/reports/{INDEX})")


def _link_report(study: str, written: dict[str, About], now: str) -> None:
    """The way to the report of a study, and what to type for one that is missing or older than the lake."""
    folder, about = next(((name, about) for name, about in written.items() if about.study == study), (None, None))
    typed = f"`personascope report {study.replace('`', '')}`"
    if folder is None or about is None:
        st.caption(f"Report: {typed}")
        return
    st.markdown(f":material/description: [Report]({reports_address(folder)}){'' if about.lake_state == now else f', older than the lake: {typed}'}")


def _pages(study: str) -> list[str]:
    """The pages of a study that ships; a study of the reader's own is not looked for."""
    try:
        return list(read_source(study).study.pages)
    except PersonascopeError:
        return []


def _pages_of_report(study: str, written: dict[str, About]) -> list[str]:
    """Those that the report of a study of the reader's own names."""
    return [page for about in written.values() if about.study == study for page in about.pages if page in page_names()]


def show_empty_pages(lake: Source) -> None:
    """One line on the pages that have nothing to draw yet, and what would fill them."""
    empty = [(title, study) for title, query, study in FILLED_BY.values() if not lake.select(query).item()]
    if empty:
        words = "; ".join(f"{title}: `personascope run {study} --quick`" for title, study in empty)
        st.caption(f"Without data in this lake, and what would fill them: {words}.")


@st.fragment(run_every=SECONDS)
def _follow(fingerprint: str) -> None:
    """What is being written at the moment and how far it is; draws the page again when a run came, went or was redone."""
    now = open_source()
    if now is not None and now.fingerprint != fingerprint:
        st.rerun()
    there = Lake(lake_root())
    writing = there.writing()
    if not writing:
        st.info("Nothing is being written any more.", icon=":material/done:")
        return
    lines = [f"- {plain(run_id)}{_share(*staged(there.staging_folder / run_id))}" for run_id in writing[:MOST_WRITTEN]]
    more = [f"- and {len(writing) - MOST_WRITTEN} more"] if len(writing) > MOST_WRITTEN else []
    st.info("\n".join([f"{count(len(writing), 'run')} being written. This page follows.", *lines, *more]), icon=":material/progress_activity:")


def _share(done: int, expected: int | None) -> str:
    return f": {done} of {count(expected, 'part')} done" if expected else ""
