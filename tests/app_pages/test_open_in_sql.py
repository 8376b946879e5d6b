"""Links to the SQL page: what stands in an address is the query, and a figure's query is one whose answer holds its rows."""

import io

import pandas as pd
import polars as pl
import pytest
import streamlit as st

from personascope.app_pages.shared import charts as drawing
from personascope.app_pages.shared import open_in_sql
from personascope.app_pages.shared.open_in_sql import LONGEST, behind, note, pack, runs_behind, self_contained, unpack
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake


@pytest.mark.parametrize("query", ["from runs", "~tilde", "select 'ü€😀' -- " + "é" * 3_000, "select 1 -- " + "long " * 5_000, ""])
def test_what_stands_in_an_address_is_the_query(query):
    packed = pack(query)
    assert packed is not None and len(packed) <= LONGEST and unpack(packed) == query


@pytest.mark.parametrize("value", ["~not base64!", "~AAAA", "~"])
def test_a_packed_query_that_is_none_is_a_sentence(value):
    with pytest.raises(PersonascopeError, match="cut off or changed on its way"):
        unpack(value)


def test_what_unpacks_without_end_is_refused(monkeypatch):
    packed = pack("select 1 -- " + "long " * 5_000)
    monkeypatch.setattr(open_in_sql, "MOST_TEXT", 1_000)
    with pytest.raises(PersonascopeError, match="cut off or changed"):
        unpack(str(packed))


def test_values_take_the_place_of_parameters_and_nothing_else():
    query = """select '$run', "$run", $run as a, $n, $yes -- $run
        from t where x = $none and $missing"""
    assert self_contained(query, {"run": "it's", "n": 1e-05, "yes": True, "none": None}) == (
        """select '$run', "$run", 'it''s' as a, 1e-05, true -- $run\nfrom t where x = null and $missing"""
    )


@pytest.fixture
def asked():
    """Two answers of this session."""
    st.session_state.clear()
    first = pl.DataFrame({"layer": [0, 1], "mean": [0.1, 0.2], "state": ["up", "down"], "n": [5, 5]})
    note("first $who", {"who": "a"}, first)
    note("second", {}, first.with_columns(pl.col("mean") + 1))
    yield first
    st.session_state.clear()


def test_the_query_of_a_figure_is_the_one_whose_answer_holds_its_rows(asked):
    assert behind(asked) == "first 'a'"
    assert behind(asked.tail(1).select("layer", "mean")) == "first 'a'", "some rows and columns"
    assert behind(asked.with_columns(state=pl.lit("in words"), extra=pl.lit(1))) == "first 'a'", "words of a page"
    assert behind(asked.with_columns(pl.col("mean") + 1)) == "second"
    note("a third", {}, asked)
    assert behind(asked.head(1)) == "a third", "of equals the last that was asked"
    assert behind(asked) == "first 'a'", "found before, and holds them still"
    note("first $who", {"who": "a"}, asked.with_columns(pl.col("mean") - 1))
    assert behind(asked) == "a third", "what was found before answers otherwise by now"


def test_rows_of_two_answers_are_their_union(asked):
    both = pl.concat([asked, asked.with_columns(pl.col("mean") + 1)])
    assert behind(both) == "(\nfirst 'a'\n)\nunion all by name\n(\nsecond\n)"


@pytest.mark.parametrize("change", [{"mean": 7.0}, {"mean": None, "n": 6.5}])
def test_what_a_page_computed_has_no_query(asked, change):
    assert behind(asked.with_columns(**{name: pl.lit(value, pl.Float64) for name, value in change.items()})) is None
    assert behind(asked.with_columns(layer=pl.Series([1, 0]))) is None, "each number is there, the rows are not"
    assert behind(asked.select("layer", other=pl.col("mean"))) is None, "a count alone recognises no measurement"


def test_a_session_keeps_so_many_answers_and_none_that_is_large(asked, monkeypatch):
    monkeypatch.setattr(open_in_sql, "KEPT", 2)
    monkeypatch.setattr(open_in_sql, "MOST_ROWS", 5)
    note("large", {}, pl.concat([asked] * 3))
    note("third", {}, asked.select("layer"))
    assert behind(asked) is None and behind(asked.with_columns(pl.col("mean") + 1)) == "second"


@pytest.mark.slow(4)
@pytest.mark.parametrize("page", ["overview", "completions", "marker_attention"])
def test_every_figure_opens_the_query_that_gave_its_rows(open_page, charts, linked_queries, synthetic_lake, page):
    drawn = open_page(synthetic_lake, page)
    evidence = {code.value for code in drawn.code}
    queries = [query for query in linked_queries(drawn) if query not in evidence]
    figures = list(charts(drawn).values())
    assert figures and len(queries) == len(figures)
    warehouse = Warehouse(Lake(synthetic_lake))
    for figure, query in zip(figures, queries, strict=True):
        answer = warehouse.select(query)
        numbers = [name for name in figure.rows.columns if name in answer.columns and figure.rows.schema[name].is_float()]
        assert numbers or page == "overview"
        for name in numbers:
            assert set(figure.rows[name].drop_nulls()) <= set(answer[name].cast(pl.Float64).drop_nulls())


def test_the_runs_of_a_figure_are_those_its_query_is_bound_to(asked):
    assert runs_behind(asked) == set()
    runs = ["attention-0123456789ab", "marker-lora-ba9876543210"]
    note(
        "third $first or run_id in ($both) or name = $other",
        {"first": runs[0], "both": ",".join(runs), "other": "at-0123456789abc"},
        asked.with_columns(pl.col("mean") + 5),
    )
    assert runs_behind(asked.with_columns(pl.col("mean") + 5)) == set(runs)


@pytest.mark.slow(8)
@pytest.mark.parametrize("page", ["marker_attention", "completions", "slice", "compare"])
def test_a_figure_names_what_it_is_of_and_its_download_the_runs_that_it_is_made_of(open_page, charts, synthetic_lake, monkeypatch, page):
    named, origin, lake = {}, drawing.origin, Warehouse(Lake(synthetic_lake))
    monkeypatch.setattr(drawing, "origin", lambda title, facts, runs: named.update({title: set(runs)}) or origin(title, facts, runs))
    sections = ["layers", "training", "controls", "steps", "personas", "heads", "generation"] if page == "marker_attention" else ["-"]
    for section in sections:
        drawn = charts(open_page(synthetic_lake, page, checkpoint="villain", persona="villain", layer="2", section=section))
        for title, each in drawn.items():
            told = [title, each.facts, *(name for column in {"series", "label"} & set(each.rows.columns) for name in each.rows[column])]
            assert any("villain" in words for words in told), title
    known = set(lake.select("select run_id from runs")["run_id"])
    assert named and all(runs and runs <= known for runs in named.values()), {title for title, runs in named.items() if not runs}


def test_a_download_reads_back_as_the_docs_say_whatever_its_texts_hold():
    rows = pl.DataFrame({"token": ["#", "a #b", 'x,"y"', "l1\n# l2", None, "plain"], "mean": [1.5, -2.0, 1e-9, 3.0, 0.5, None]})
    text = drawing._csv(["Title. facts", "choices: persona: a\n#b"], rows)
    assert text.startswith("# Title. facts\n# choices: persona: a #b\n")
    assert pl.read_csv(io.StringIO(text), comment_prefix="#").rows() == rows.rows()
    assert pl.from_pandas(pd.read_csv(io.StringIO(text), comment="#")).rows() == rows.rows()
