"""Shows the charts of `personascope.warehouse.drawing.charts` in the app, each downloadable as PNG, SVG and CSV."""

import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from textwrap import wrap
from typing import Any, TypeAlias

import polars as pl
import streamlit as st

from personascope.app_pages.shared import open_in_sql
from personascope.app_pages.shared.bar import KEYS
from personascope.app_pages.shared.lake import quantised_weights
from personascope.app_pages.shared.root import lake_root
from personascope.warehouse.drawing import cells
from personascope.warehouse.drawing.charts import (
    BLUE,
    GREY,
    ORANGE,
    PICK,
    Drawing,
    Figure,
    bars,
    curves,
    intervals,
    on_dark,
    picture,
    rates,
    scatter,
    spans,
    stacked,
    states,
    strips,
    with_rows,
)
from personascope.warehouse.drawing.maps import heat_map, rate_cells, rate_matrix

__all__ = [
    "BLUE",
    "GREY",
    "ORANGE",
    "Columns",
    "Figure",
    "bars",
    "curves",
    "heat_map",
    "intervals",
    "picture",
    "rate_cells",
    "rate_matrix",
    "rates",
    "scatter",
    "show",
    "show_drawing",
    "spans",
    "stacked",
    "states",
    "strips",
    "table_height",
]

TABLE_ROW = 35
TITLE_LINE, FACT_LINE = 68, 92  # characters
# Vega cuts a title at the width the chart had when it was drawn first, which grows where columns wrap; what is wider than its place ends in "…".
LIMIT = {"expr": "width > 0 ? containerSize()[0] : 0"}
LINE, LETTER, SYMBOL = 500, 6.2, 28  # pixels of a legend's line, of a letter in it, and of what stands before a name
Columns: TypeAlias = dict[str, Any]
_MIME = {"png": "image/png", "svg": "image/svg+xml", "csv": "text/csv"}


def show_drawing(drawing: Drawing) -> None:
    """Draws a figure that the report of a study holds too."""
    show(drawing.figure, drawing.name, drawing.title, drawing.facts, drawing.height, runs=drawing.runs)


def show(
    figure: Figure,
    name: str,
    title: str,
    facts: Sequence[str],
    height: int,
    on_pick: Callable[[dict[str, Any]], None] | None = None,
    runs: Collection[str] = (),
) -> None:
    """Draws the figure over the whole width, `height` pixels between its axes, with its downloads; `name` begins their file names and is unique on the page.

    `runs` are those it draws, where its rows do not say so.

    `on_pick` is called with the fields of a cell that was clicked, before the page is drawn again; only for figures that can be clicked.
    """
    of_rows = (run for column in figure.rows.columns if column == "run_id" or column.endswith("_run") for run in figure.rows[column].drop_nulls())
    runs = {*runs, *of_rows} or open_in_sql.runs_behind(figure.rows)
    facts = (*facts, *quantised_weights(runs))
    spec = narrowed(figure.spec(title, facts, height))
    file = file_name(name)
    header = origin(title, facts, runs)
    downloads = (
        ("png", partial(picture, spec, figure.rows, "png")),
        ("svg", partial(picture, spec, figure.rows, "svg")),
        ("csv", partial(_csv, header, figure.rows)),
    )
    drawn = with_rows(on_dark(spec) if st.context.theme.type == "dark" else spec, figure.rows)
    together = st.container(gap=None)
    key, words = f"chart {name}", f"{title}. {'. '.join(facts)}."
    if on_pick is None:
        together.vega_lite_chart(spec=drawn, theme=None, key=key, alt=words)
    else:
        clicked = partial(_picked, key, on_pick)
        together.vega_lite_chart(spec=drawn, theme=None, key=key, alt=words, on_select=clicked, selection_mode=PICK)
    below = together.container(horizontal=True)
    open_in_sql.link_of(figure.rows, below)
    with below.popover("Download", icon=":material/download:", type="tertiary"):
        for kind, data in downloads:
            st.download_button(kind.upper(), data, file_name=f"{file}.{kind}", mime=_MIME[kind], on_click="ignore", key=f"{name} {kind}", width="stretch")


def narrowed(spec: dict[str, Any]) -> dict[str, Any]:
    """Title, facts and legend in lines that fit beside the sidebar on a screen of 800 pixels, since charts cut what is longer."""
    text, facts = spec["title"]["text"], spec["title"]["subtitle"]
    lines = wrap(text, TITLE_LINE, break_on_hyphens=False)
    title = {
        "text": lines if len(lines) > 1 else text,
        "subtitle": [line for fact in facts for line in wrap(fact, FACT_LINE, break_on_hyphens=False)],
        "limit": LIMIT,
    }
    return _with_columns(spec) | {"title": title}


def _with_columns(part: Any) -> Any:
    """The specification with legends of names in columns where one line would not hold them."""
    if isinstance(part, list):
        return [_with_columns(each) for each in part]
    if not isinstance(part, dict):
        return part
    part = {name: _with_columns(each) if name in ("encoding", "layer", "color", "shape", "hconcat", "vconcat", "spec") else each for name, each in part.items()}
    names = part["scale"].get("domain") if isinstance(part.get("scale"), dict) else None
    if isinstance(names, list) and all(isinstance(name, str) for name in names) and part.get("legend", {}) is not None:
        widths = [SYMBOL + LETTER * len(name) for name in names]
        if sum(widths) > LINE:
            part["legend"] = part.get("legend", {}) | {"columns": max(1, int(LINE // max(widths)))}
    return part


def file_name(name: str) -> str:
    """Name of a download without its ending: what it is, what the bar chooses, the lake and the day."""
    chosen = [f"{key}-{value}" for key in KEYS if (value := st.query_params.get(key))]
    words = [name, *chosen, lake_root().name, datetime.now(UTC).strftime("%Y-%m-%d")]
    return "_".join(re.sub(r"[^\w.-]+", "-", word).strip("-") for word in words)


def origin(title: str, facts: Sequence[str], runs: Collection[str]) -> list[str]:
    """What a download is and where it comes from, a line each: title, sample, choices, runs where they are known, lake and time."""
    choices = "; ".join(f"{key}: {value}" for key, value in st.query_params.to_dict().items()) or "defaults"
    lines = [f"{title}. {'. '.join(facts)}", f"choices: {choices}", *([f"runs: {', '.join(sorted(runs))}"] if runs else [])]
    return [*lines, f"lake: {lake_root()}, {datetime.now(UTC).strftime('%Y-%m-%d %H:%M')} UTC"]


def _csv(header: Sequence[str], rows: pl.DataFrame) -> str:
    """Rows for a spreadsheet under lines that begin with #, which readers take for comment; texts that hold one are quoted, so that they stay."""
    return "".join(f"# {' '.join(line.split())}\n" for line in header) + cells.csv(rows, safe=True, quoted=True)


def table_height(rows: pl.DataFrame, most: int = 12, row: int = TABLE_ROW) -> int:
    """Height in pixels of a table that shows all rows, or `most` of them and a scroll bar; `row` is that of one."""
    return TABLE_ROW + row * min(rows.height, most) + 2


def _picked(key: str, on_pick: Callable[[dict[str, Any]], None]) -> None:
    for cell in st.session_state[key]["selection"][PICK]:
        on_pick(cell)
