"""No name of a column where people read: titles, axes, legends, tooltips, headers, options and captions of the pages, on lakes of published and of own rows."""

import json
import re
from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from personascope.app_pages.marker_attention.page import SECTIONS
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.drawing.headings import WORDS, heading
from personascope.warehouse.drawing.places import place_words
from personascope.warehouse.store.lake import Lake

SNAKE = re.compile(r"(?<![\w./`'=-])[a-z0-9]+(?:_[a-z0-9]+)+(?![\w./(=-])")
# What people named themselves stays as they wrote it.
NAMED = """select unnest([checkpoint, subject, study]) as name from runs
  union select unnest([checkpoint, source_persona, parent]) from checkpoints
  union select unnest([persona, condition, prompt_form, question_id]) from examples union select persona from marker_rates
  union select unnest([condition_a, condition_b]) from condition_similarity union select source from regimes union select record from leakage_cosine"""
TEXTS = ("title", "header", "subheader", "caption", "markdown", "info", "warning", "error", "success")
CHOICES = ("selectbox", "button_group", "radio", "slider", "toggle", "checkbox", "text_input", "multiselect")
CODE = re.compile(r"`[^`]*`")


def shown(app: AppTest) -> Iterator[tuple[str, str]]:
    """Where and what a reader reads; code is left out."""
    for kind in TEXTS:
        yield from ((kind, CODE.sub("", str(getattr(each, "value", "")))) for each in app.get(kind))
    for kind in CHOICES:
        for each in app.get(kind):
            label = str(getattr(each, "label", ""))
            yield kind, label
            yield from ((f"option of {label}", str(option)) for option in getattr(each, "options", ()))
    for each in app.dataframe:
        labels = {name: config.get("label") for name, config in json.loads(each.proto.columns or "{}").items() if isinstance(config, dict)}
        yield from (("header", str(labels.get(name) or name)) for name in each.value.columns)
    for each in app.get("vega_lite_chart"):
        spec = json.loads(each.proto.spec)
        yield from (("chart", words) for words in in_spec(spec))
        fields = set(re.findall(r'"field": "(\w+)"', each.proto.spec))
        rows = next((pl.DataFrame(pa.ipc.open_stream(data.data.data).read_all()) for data in each.proto.datasets if data.name == "rows"), pl.DataFrame())
        for name in fields & {column for column, kind in rows.schema.items() if kind == pl.String}:
            yield from ((f"{name} in a chart", value) for value in rows[name].drop_nulls().unique().to_list())


def in_spec(part: Any) -> Iterator[str]:
    """Titles of a chart, its axes, legends and tooltips."""
    if isinstance(part, list):
        for each in part:
            yield from in_spec(each)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in ("title", "text", "subtitle") and not isinstance(value, dict):
                yield from (words for words in (value if isinstance(value, list) else [value]) if isinstance(words, str))
            else:
                yield from in_spec(value)


def leaks(app: AppTest, lake: Lake) -> list[tuple[str, str]]:
    named = {word for name in Warehouse(lake).select(NAMED)["name"].drop_nulls() for word in (name, *re.findall(r"\w+", name))}
    return sorted({(where, word) for where, words in shown(app) for word in SNAKE.findall(words) if word not in named})


@pytest.mark.slow(15)
@pytest.mark.parametrize("page", ["overview", "features", "role_focus", "regimes", "completions", "claims", "audit"])
def test_pages_of_published_results_say_words(open_page, lake_of_all_published, page):
    assert leaks(open_page(lake_of_all_published.root, page), lake_of_all_published) == []


@pytest.mark.slow(10)
@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_of_marker_attention_says_words(open_page, synthetic_lake, section):
    assert leaks(open_page(synthetic_lake, "marker_attention", section=section), Lake(synthetic_lake)) == []


@pytest.mark.slow(3)
def test_a_leak_is_found_wherever_it_stands(synthetic_lake):
    script = """
import streamlit as st, pandas as pd
st.caption("mean of n_firing, not `n_firing`")
st.selectbox("Token", ["last_system"])
st.dataframe(pd.DataFrame({"set_p": [1], "ok": [2]}), column_config={"ok": "null_mean"})
st.dataframe(pd.DataFrame({"patching_did": [1]}), column_config={"patching_did": "words"})
title = {"text": "bos_fraction by layer", "subtitle": ["villain_lr"]}
st.vega_lite_chart({"title": title, "mark": "bar", "encoding": {"x": {"field": "a", "title": "x_axis"}}})
"""
    found = leaks(AppTest.from_string(script).run(), Lake(synthetic_lake))
    expected = {"n_firing", "last_system", "set_p", "null_mean", "bos_fraction", "villain_lr", "x_axis"}
    assert {word for _, word in found} == expected and sum(word == "n_firing" for _, word in found) == 1


def test_columns_and_places_have_words():
    assert (heading("set_p"), heading("n_questions"), heading("n"), heading("max_layer")) == ("p over random sets", "questions", "n", "max layer")
    assert not [words for words in WORDS.values() if "_" in words]
    assert place_words("last_system · resid_post") == "last token of the system block, output of the layer" and place_words("t-3") == "t-3"
