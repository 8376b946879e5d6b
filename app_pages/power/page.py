"""What a study has to sample to see what it asks about, from typed figures or from the variances of this lake."""

import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import bar
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.power_curve import curve
from personascope.warehouse.drawing.tables import with_values
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.planning import tables
from personascope.warehouse.planning.lakes import variances
from personascope.warehouse.planning.plan import MEASURES, Measure, Typed, planned
from personascope.warehouse.planning.power import ICC, SHARED, Design

TITLE, ICON, ORDER = "Power", ":material/straighten:", 85
LABELS = {"rate": "marker rate", "attention": "attention, trained minus base", "head": "what a head is worth"}
LAKE, TYPED = "lake", "typed"
SOURCES = {LAKE: "from this lake", TYPED: "typed"}


def main() -> None:
    """Draws the page."""
    st.title(TITLE)
    bar()
    st.markdown("How many questions and samples does a difference need? The replicate is the question; both conditions are asked the same ones.")
    lake = source()
    with st.container(border=True):
        left, right = st.columns(2)
        asked = address.segments("To see", list(MEASURES), "to_see", labels=LABELS, where=left)
        measure: Measure = next(each for each in MEASURES if each == asked)
        rests = address.segments("Variances", list(SOURCES), "variances", labels=SOURCES, where=right)
        start, difference = _asked(measure)
        design = _design()
        typed = _typed(measure) if rests == TYPED else Typed()
    try:
        effect, rests_on = planned(measure, start, difference, typed, _known(lake, measure) if rests == LAKE else None)
        rows = tables.grid(effect, design)
        lines = tables.report(effect, design, rests_on)
    except PersonascopeError as error:
        st.info(plain(error), icon=ICON)
        return
    st.markdown(f"**{plain(lines[0])}**")
    st.caption(plain(lines[1]))
    charts.show_drawing(curve(rows, f"Power to see {effect.words()}", (rests_on, "two-sided 5%, paired t test over questions")))
    config: charts.Columns = {
        "power": st.column_config.NumberColumn("power", format="%.2f"),
        "smallest_difference": st.column_config.NumberColumn("sees with power 0.8", format="%.3g"),
    }
    st.subheader("What designs that ship could see", divider="gray")
    designs = tables.shipped(effect)
    st.dataframe(with_values(designs), hide_index=True, column_config=config, height=charts.table_height(designs), placeholder="nothing")
    st.subheader("Sentence for the study file", divider="gray")
    st.code(lines[-1].strip(), language=None, wrap_lines=True)
    with st.expander("Every number of questions and samples as a table"):
        st.dataframe(with_values(rows), hide_index=True, column_config=config, height=charts.table_height(rows), placeholder="nothing")


def _known(lake: Source, measure: Measure) -> Source | None:
    """The lake where it knows the variances; a rate has defaults without it, and a mean says what is missing."""
    try:
        variances(lake, measure)
    except PersonascopeError:
        return None if measure == "rate" else lake
    return lake


def _asked(measure: Measure) -> tuple[float | None, float]:
    places = st.columns(3)
    start = places[0].number_input("From, %", 0.1, 99.8, 5.0, 1.0, key="from", bind="query-params") / 100 if measure == "rate" else None
    if measure == "rate":
        most = 100 - 100 * (start or 0) - 0.1
        return start, places[1].number_input("Difference, points", 0.1, most, min(5.0, most), 1.0, key="difference_points", bind="query-params") / 100
    return None, places[1].number_input("Difference", 0.0001, None, 0.05, 0.01, format="%.4f", key="difference_of_means", bind="query-params")


def _design() -> Design:
    places = st.columns(4)
    questions = places[0].number_input("Questions", 2, None, 20, 1, key="questions", bind="query-params")
    samples = places[1].number_input("Samples of each", 1, None, 10, 1, key="samples", bind="query-params")
    seeds = places[2].number_input("Training seeds", 1, None, 1, 1, key="seeds", bind="query-params")
    comparisons = places[3].number_input("Comparisons", 1, None, 1, 1, key="comparisons", bind="query-params")
    return Design(questions=int(questions), samples=int(samples), seeds=int(seeds), comparisons=int(comparisons))


def _typed(measure: Measure) -> Typed:
    places = st.columns(3)
    seed_sd = places[2].number_input("Standard deviation of seeds", 0.0, None, 0.0, 0.01, key="seed_sd", bind="query-params")
    if measure == "rate":
        icc = places[0].number_input("Intraclass correlation of questions", 0.0, 1.0, ICC, 0.05, key="icc", bind="query-params")
        shared = places[1].number_input("Correlation of both conditions", 0.0, 1.0, SHARED, 0.05, key="shared", bind="query-params")
        return Typed(icc=icc, shared=shared, seed_sd=seed_sd)
    question_sd = places[0].number_input("Standard deviation between questions", 0.0, None, 0.05, 0.01, key="question_sd", bind="query-params")
    sample_sd = places[1].number_input("Standard deviation within", 0.0, None, 0.05, 0.01, key="sample_sd", bind="query-params")
    return Typed(question_sd=question_sd, sample_sd=sample_sd, seed_sd=seed_sd)
