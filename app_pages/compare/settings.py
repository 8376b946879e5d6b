"""What two checkpoints, or two runs, differ in."""

import re

import polars as pl
import streamlit as st

from personascope.app_pages.compare.sides import Side
from personascope.app_pages.shared import charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.run_differences import show_run_differences
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.words import count

NAMES = {
    "lr": "learning rate",
    "lora_r": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "lora_dropout": "LoRA dropout",
    "lora_targets": "LoRA modules",
    "id": "Hub id or path",
}
NUMBER = re.compile(r"-?\d+\.\d+(e[+-]?\d+)?")
ORIGINS = {"card": "of the weights", "training": "of the training"}


def show_settings(lake: Source, first: Side, second: Side) -> None:
    """The parameters of the runs where runs are compared, and the settings of weights and trainings where the checkpoints differ."""
    st.subheader("What they differ in", divider="gray")
    if first.run_id is not None and second.run_id is not None:
        show_run_differences(lake, first.run_id, second.run_id)
    if first.checkpoint != second.checkpoint:
        _show_checkpoints(lake, first.checkpoint, second.checkpoint)


def _short(value: str) -> str:
    """`0.0005, 10` of `0.0005, 10.0`: numbers to six digits, words as they are."""
    return ", ".join(f"{float(each):g}" if NUMBER.fullmatch(each) else each for each in value.split(", "))


def _show_checkpoints(lake: Source, first: str, beside: str) -> None:
    rows = lake.select(
        """select name, value, other_value, origin from checkpoint_differences where checkpoint = $first and other_checkpoint = $beside
        order by origin, name""",
        first=first,
        beside=beside,
    )
    if rows.is_empty():
        st.info("Nothing that runs recorded tells the two checkpoints apart.", icon=":material/drag_handle:")
        return
    st.markdown(f"{count(rows.height, 'setting')} in which {plain(first)} and {plain(beside)} differ, as runs recorded them.")
    shown = rows.with_columns(
        pl.col("value", "other_value").map_elements(_short, return_dtype=pl.String),
        pl.col("origin").replace(ORIGINS),
        pl.col("name").replace(NAMES).str.replace_all("_", " "),
    )
    config: charts.Columns = {"name": "setting", "value": first, "other_value": beside, "origin": "recorded"}
    st.dataframe(shown, hide_index=True, column_config=config, height=charts.table_height(shown), placeholder="not recorded")
