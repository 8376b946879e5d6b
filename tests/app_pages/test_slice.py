"""The slice page: figures of every study on one page, each with n and method, and links that keep checkpoint, persona and layer."""

import polars as pl
import pytest
import streamlit
from large_lake import kept_by, pretend

from personascope.app_pages.shared.lake import _warehouse, open_source
from personascope.app_pages.slice.figures import _labels
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import OF_GENERATIONS
from personascope.warehouse.store.lake import Lake

CHOSEN = {"checkpoint": "villain", "persona": "villain", "layer": "2"}


def words(page) -> str:
    return "\n".join(each.value for each in page.markdown)


def test_one_persona_at_one_layer_in_sentences_charts_and_tables(open_page, charts, synthetic_lake):
    page = open_page(synthetic_lake, "slice", **CHOSEN)
    assert page.subheader[0].value == "villain as villain, layer 2"
    moved = Warehouse(Lake.existing(synthetic_lake)).select(
        "select diff_of_diffs, clustered_low, n from diff_of_diffs where layer = 2 and trained_subject = 'villain'"
    )
    (value, low, n) = moved.row(0)
    assert f"**{value:.4f} share of attention**" in words(page) and f"{n} generations of 4 questions" in words(page)
    assert f"95% {low:.4f}".replace(".", "\\.") in words(page).replace("−", "-")
    drawn = charts(page)["Attention: share of attention"]
    assert "questions" in drawn.facts and "clustered by question" in drawn.facts
    assert set(drawn.rows.columns) >= {"low", "high", "n", "method"}
    tables = [each.value for each in page.dataframe]
    assert all({"n", "n_of", "method", "link"} <= set(table.columns) for table in tables)
    links = [link for table in tables for link in table["link"]]
    assert any(link == "marker_attention?checkpoint=villain&persona=villain&layer=2#Marker%20attention" for link in links)
    assert any(link.startswith("completions?") for link in links)
    assert "Completions that hold the marker \\[ZLT\\], the persona it was trained on" in words(page)


@pytest.mark.slow(3)
def test_in_a_large_lake_it_waits_for_nothing_that_sums_up_all_of_it(open_page, planted_lake, monkeypatch):
    pretend(monkeypatch)
    streamlit.cache_resource.clear()
    streamlit.cache_data.clear()
    assert open_page(planted_lake.lake.root, "slice", **CHOSEN).subheader[0].value == "villain as villain, layer 2"
    lake = open_source()
    assert lake is not None and kept_by(_warehouse(lake.root, lake.fingerprint)).isdisjoint(OF_GENERATIONS)
    streamlit.cache_resource.clear()


def test_what_is_not_chosen_is_said(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "slice", checkpoint="librarian")
    assert page.subheader[0].value.startswith("librarian as librarian, layer ")
    assert any("Until you choose, it is persona librarian" in each.value for each in page.caption)


def test_a_reader_of_others_tokens_says_whose(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "slice", checkpoint="base", persona="villain", layer="2")
    assert "tokens of villain" in words(page)


@pytest.mark.slow(2)
def test_published_figures_alone_make_a_slice(open_page, published_lake):
    page = open_page(published_lake, "slice")
    assert not page.error and page.subheader and page.dataframe


@pytest.mark.slow(2)
def test_names_of_others_stay_text(open_page, hostile_lake):
    root, name = hostile_lake
    page = open_page(root, "slice", checkpoint=name, persona=name)
    assert "\\*\\*p\\*\\*" in page.subheader[0].value


def test_a_lake_without_measurements_says_what_would_fill_it(open_page, tmp_path):
    from personascope.warehouse.store.manifest import RunSpec

    lake = Lake.open(tmp_path / "lake")
    writer = lake.start(RunSpec(kind="ingest", extractor="prompts", version=1, identity={"file": "a"}), force=True)
    writer.write_part("all", {"examples": [{"prompt_set": "p", "example_id": "a/q", "persona": "a", "question_id": "q", "question": "Why?"}]})
    writer.commit()
    assert "Nothing has been measured" in open_page(lake.root, "slice").info[0].value


def test_figures_of_two_runs_are_told_apart_by_words_and_by_ids_only_where_words_fail():
    rows = pl.DataFrame(
        {"measure": ["m"] * 4, "head": [1, 1, 2, 2], "other": [None] * 4, "place": ["last"] * 4, "run": ["echo", "pairs"] * 2, "run_id": ["a-1", "a-2"] * 2},
        schema_overrides={"other": pl.String},
    )
    assert _labels(rows) == ["head 1 · echo", "head 1 · pairs", "head 2 · echo", "head 2 · pairs"]
    assert _labels(rows.with_columns(run=pl.lit(None, pl.String)))[:2] == ["head 1 · a-1", "head 1 · a-2"]
