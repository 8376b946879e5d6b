"""The rows of a query: as many as a browser takes, how many there are, and all of them as CSV, Parquet and JSON."""

import io
import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl
import polars.selectors as cs
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from personascope.app_pages.shared.charts import table_height
from personascope.app_pages.shared.lake import Source
from personascope.warehouse.asking.views import table_words, views
from personascope.warehouse.drawing import cells
from personascope.warehouse.drawing.words import count
from personascope.warehouse.store.schema import tables

MOST_ROWS, MOST_BYTES = 10_000, 20_000_000
_NAMES = re.compile(r"\w+")


def file_stem(query: str, name: str | None, lake: Source) -> str:
    """What downloads are called: the query's name or the first table or view it reads, the lake and the day."""
    known = tables().keys() | views().keys()
    first = name or next((word for word in _NAMES.findall(query) if word in known), "query")
    parts = (first, Path(lake.root).name, datetime.now(UTC).strftime("%Y-%m-%d"))
    return "_".join(re.sub(r"[^\w.-]+", "-", part).strip("-") for part in parts)


def show(rows: pl.DataFrame, query: str, file: str) -> DeltaGenerator:
    """Draws the table and its downloads; returns the line of the downloads."""
    shown = fitting(rows)
    words = f"**{count(rows.height, 'row')}**, {count(rows.width, 'column')}"
    if shown.height < rows.height:
        words += f"; the first {shown.height:,} are shown, downloads hold all"
    st.markdown(words)
    if not rows.is_empty():
        helps = {name: st.column_config.Column(help=said) for name in rows.columns if (said := _meaning(name, query))}
        st.dataframe(_for_browser(shown), column_config=helps, hide_index=True, height=table_height(shown))
    line = st.container(horizontal=True)
    with line:
        for kind, data, mime in (
            ("CSV", partial(cells.csv, rows, safe=True), "text/csv"),
            ("Parquet", partial(_parquet, rows, query), "application/vnd.apache.parquet"),
            ("JSON", partial(cells.json, rows), "application/json"),
        ):
            name = f"{file}.{kind.lower()}"
            st.download_button(kind, data, name, mime, on_click="ignore", key=f"rows {kind}", type="tertiary", icon=":material/download:")
    return line


def fitting(rows: pl.DataFrame) -> pl.DataFrame:
    """The first rows, as many as a browser takes."""
    by_size = int(rows.height * MOST_BYTES / max(rows.estimated_size(), 1))
    return rows.head(max(1, min(MOST_ROWS, by_size)))


def _for_browser(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with numbers that a browser can count with, and columns that hold nothing as text."""
    return rows.with_columns(cs.decimal().cast(pl.Float64), cs.by_dtype(pl.Null).cast(pl.String))


def _meaning(column: str, query: str) -> str:
    """What a column means: as the first view that the query names says, else as the tables do."""
    named = (views()[word].docs.get(column, "") for word in _NAMES.findall(query) if word in views())
    return next(filter(None, named), "") or table_words().get(column, "")


def _parquet(rows: pl.DataFrame, query: str) -> bytes:
    file = io.BytesIO()
    rows.write_parquet(file, metadata={"query": query})
    return file.getvalue()
