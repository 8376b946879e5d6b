"""How far an answer of a page hangs on choices: the specification curve of the figures, with what was chosen below it."""

import streamlit as st

from personascope.app_pages.shared import charts
from personascope.app_pages.shared.lake import Source, Value
from personascope.warehouse.drawing.figures.specification_curve import answers, maps

NOTHING = "This answer has one choice only in this lake, or lacks the one it is compared with."


def show_choices(lake: Source, question: str, **of: str) -> None:
    """The curve of the answers to `question` (attention, rfc or features) whose key columns have the values in `of`."""
    drawings = answers(lake, question, **of)
    if not drawings:
        st.info(NOTHING, icon=":material/alt_route:")
    for drawing in drawings:
        charts.show_drawing(drawing)


def show_clean_choices(lake: Source, **sweep: Value) -> None:
    """The map of one sweep: the share of the choices of leak and thresholds under which each cell is clean."""
    for drawing in maps(lake, None, **sweep):
        charts.show_drawing(drawing)
