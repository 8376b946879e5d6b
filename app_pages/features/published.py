"""Published tables of features: those that differ most, how far differences point along named ones, and how alike conditions are, as printed."""

from dataclasses import replace

import streamlit as st

from personascope.app_pages.shared import charts
from personascope.app_pages.shared.lake import Source
from personascope.warehouse.drawing.figures import condition_similarity, feature_effects, feature_projections
from personascope.warehouse.drawing.places import in_words

STUDY, PUBLISHED = "sae-conditions", "published"
ANY = """(select run_id from published_feature_differences limit 1) union all (select run_id from published_projections limit 1)
  union all (select run_id from published_similarities limit 1)"""


def show_published(lake: Source) -> None:
    """The figures of the study over published tables alone; nothing where the lake holds none."""
    if lake.select(ANY).is_empty():
        return
    drawings = [drawing for figure in (feature_effects, feature_projections, condition_similarity) for drawing in figure.draw(lake, STUDY, PUBLISHED)]
    st.subheader("As published", divider="gray")
    st.markdown("Typed from what others printed, at the precision it was printed with; samples and seeds are said where they were.")
    for drawing in drawings:
        charts.show_drawing(replace(drawing, figure=replace(drawing.figure, rows=in_words(drawing.figure.rows))))
