"""A chart of a query's rows: kind, axes, colour and panels chosen or suggested, all in the address; what cannot be drawn is said in a sentence."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.charts import Kind, on_dark, with_rows
from personascope.warehouse.drawing.plots import KINDS, Picture, Plot, PlotKind, drawable, plot, suggested
from personascope.warehouse.errors import PersonascopeError, sentence

KEYS = {"kind": "plot", "x": "x", "y": "y", "colour": "colour", "facet": "facet"}
NO_CHART, SUGGESTED, NOTHING = "none", "suggested", "nothing"
WIDTH = 200  # pixels of a choice
LABELS = {"x": "x", "y": "y", "colour": "Colour", "facet": "Panels"}
NEEDS = {
    "line": "a line needs numbers, dates or moments along x and numbers along y",
    "bar": "bars need a column of numbers and one whose values differ",
    "scatter": "points need two columns of numbers",
    "heat map": "a heat map needs two columns whose values differ and one of numbers",
}


def choose(of_chart: Mapping[str, str]) -> None:
    """Sets every choice by role, `kind` among them; none is no chart. Call it before the choices are drawn."""
    _set("kind", of_chart.get("kind", NO_CHART), NO_CHART)
    for role in LABELS:
        otherwise = NOTHING if of_chart and role in ("colour", "facet") else SUGGESTED
        _set(role, of_chart.get(role, otherwise), SUGGESTED)


def _set(role: str, value: str, default: str) -> None:
    """Here and in the address, which a choice that is drawn already corrects by itself."""
    is_drawn = KEYS[role] in st.session_state
    st.session_state[KEYS[role]] = value
    if not is_drawn:
        if value == default:
            st.query_params.pop(KEYS[role], None)
        else:
            st.query_params[KEYS[role]] = value


def show(rows: pl.DataFrame, title: str, facts: list[str], file: str) -> dict[str, str]:
    """Draws the choices and the chart; what is drawn of which column by role, as a named query keeps it, empty where there is no chart."""
    kind = address.segments("Chart", [NO_CHART, *KINDS], KEYS["kind"], labels={NO_CHART: "no chart"})
    if kind == NO_CHART:
        return {}
    wanted = _choices(rows, next(each for each in KINDS if each == kind))
    if wanted is None:
        st.warning(f"{NEEDS[kind]}.".capitalize(), icon=":material/bar_chart_off:")
        return {}
    try:
        picture = plot(rows, wanted, title or f"{wanted.y} by {wanted.x}".replace("_", " "), facts)
    except PersonascopeError as error:
        st.warning(plain(sentence(error)), icon=":material/bar_chart_off:")
        return {}
    _draw(picture, file, wanted)
    return {"kind": wanted.kind} | wanted.columns()


def _choices(rows: pl.DataFrame, kind: PlotKind) -> Plot | None:
    """What the reader chose, and for the rest what can be drawn with it."""
    names = [name for name in drawable(rows) if name not in (SUGGESTED, NOTHING)]
    optional = ("facet",) if kind == "heat map" else ("colour", "facet")
    with st.container(horizontal=True):  # which wraps on a narrow screen
        places = {role: st.container(width=WIDTH) for role in LABELS}
    options = {role: [SUGGESTED, *([NOTHING] if role in optional else []), *names] for role in LABELS}
    asked = {role: st.session_state.get(KEYS[role], st.query_params.get(KEYS[role], SUGGESTED)) for role in LABELS}
    found = suggested(rows, kind, {role: None if value == NOTHING else value for role, value in asked.items() if value in options[role] and value != SUGGESTED})
    taken = found.columns() if found else {}
    chosen: dict[str, str | None] = {}
    for role, place in places.items():
        labels = {SUGGESTED: f"suggested: {taken.get(role, 'nothing')}"}
        value = address.select(LABELS[role], options[role], KEYS[role], labels=labels, where=place)
        if value != SUGGESTED:
            chosen[role] = None if value == NOTHING else value
    return suggested(rows, kind, chosen)


def _draw(picture: Picture, file: str, wanted: Plot) -> None:
    words = f"{wanted.kind} of {wanted.y} by {wanted.x}"
    width: Literal["stretch", "content"] = "stretch" if picture.is_wide else "content"
    spec = on_dark(picture.spec) if st.context.theme.type == "dark" else picture.spec
    st.vega_lite_chart(spec=with_rows(spec, picture.rows), theme=None, key="plot of the query", alt=words, width=width)
    with st.container(horizontal=True):
        kinds: dict[Kind, str] = {"svg": "image/svg+xml", "png": "image/png"}
        for kind, mime in kinds.items():
            data = partial(picture.file, kind)
            st.download_button(kind.upper(), data, f"{file}.{kind}", mime, on_click="ignore", key=f"chart {kind}", type="tertiary", icon=":material/download:")
