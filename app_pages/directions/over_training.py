"""A training step by step, section of the page Directions: when the marker comes, and when the persona's direction is what it ends as."""

import streamlit as st

from personascope.app_pages.directions.reading import Reading
from personascope.app_pages.shared import charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.figures.training_dynamics import over_steps

ICON = ":material/timeline:"


def show_over_training(lake: Source, reading: Reading) -> None:
    """The figures of the training that made the checkpoint or kept it on its way, and of the same training with other seeds."""
    st.subheader("Over training", divider="gray")
    trainings = lake.select(
        """with own as (select source_persona, lr from dynamics where $checkpoint in (training, checkpoint))
        select distinct d.training from dynamics as d
        join own as o on o.source_persona is not distinct from d.source_persona and o.lr is not distinct from d.lr
        order by d.training""",
        checkpoint=reading.checkpoint,
    )["training"].to_list()
    drawn = over_steps(lake, trainings)
    if not drawn:
        kept = f"No checkpoints of the training of {plain(reading.checkpoint)} were kept and read"
        st.info(f"{kept}: `keep_steps` in a step that trains keeps them, as `personascope run persona-gate --quick` does.", icon=ICON)
        return
    for drawing in drawn:
        charts.show_drawing(drawing)
