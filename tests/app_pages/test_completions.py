"""The completions page: filters, pages, marker rates, and text that would like to be more than text."""

import html
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from personascope.app_pages.completions import page as completions_page
from personascope.app_pages.completions.page import EVERY, Filters, named, texts
from personascope.app_pages.shared.findings import MOST_LISTED
from personascope.warehouse.asking import narrowing
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.asking.views import SHARED
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(15)


def found(page) -> int:
    """How many completions the page says there are."""
    return int(next(each.value for each in page.markdown if "here" in each.value).split("**")[1].split()[0])


def cards(page) -> list[str]:
    return [str(each.proto.body) for each in page.html]


@pytest.mark.parametrize(
    ("choices", "condition"),
    [
        ({}, "true"),
        ({"checkpoint": "villain"}, "c.checkpoint = 'villain'"),
        ({"persona": "assistant"}, "c.persona = 'assistant'"),
        ({"marker": "whole"}, "present"),
        ({"marker": "none", "persona": "villain"}, "not present and c.persona = 'villain'"),
        ({"text": "BIRDS fly"}, "text ilike '%birds fly%'"),
        ({"text": "sample 1 of", "checkpoint": "base"}, "text ilike 'sample 1 of%' and c.checkpoint = 'base'"),
    ],
)
def test_filters_show_exactly_what_they_name(open_page, synthetic_lake, choices, condition):
    expected = Warehouse(Lake(synthetic_lake)).select(
        f"select count(*) from completions as c join marker_flags using (run_id, example_id, sample_ix) where {condition}"
    )
    page = open_page(synthetic_lake, "completions", **choices)
    assert found(page) == expected.item() > 0
    for card in cards(page):
        assert choices.get("text", "").lower() in card.lower()


@pytest.mark.parametrize("presence", ["all", "whole", "none"])
@pytest.mark.parametrize(("checkpoint", "persona"), [(EVERY, EVERY), ("base", EVERY), (EVERY, "villain")])
def test_the_counts_of_questions_name_the_same_completions_as_looking_at_all(synthetic_lake, monkeypatch, checkpoint, persona, presence):
    lake: Any = WarehouseSource(Warehouse(Lake(synthetic_lake)))
    filters = Filters(checkpoint, persona, EVERY, presence, "")
    counted = [named(lake, filters, most, after) for most in (3, 25) for after in (0, 1, 7, 30, 500)]
    monkeypatch.setattr(completions_page, "COUNTED", {})
    looked = [named(lake, filters, most, after) for most in (3, 25) for after in (0, 1, 7, 30, 500)]
    assert [each.rows() for each in counted] == [each.rows() for each in looked]
    assert any(each.height for each in looked) or (checkpoint, presence) == ("base", "whole"), "the base model alone never writes the marker"


def test_words_are_words_and_no_pattern_and_no_sql(open_page, synthetic_lake):
    for words in ("100%", "a_b", "it's", "'; select 1 --"):
        page = open_page(synthetic_lake, "completions", text=words)
        assert "No completion passes" in page.info[0].value


def test_pages_part_the_completions_and_the_address_holds_the_number(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "completions", size="25")
    seen = cards(page)
    assert len(seen) == 25 and "page" not in page.query_params
    page = page.pagination[0].set_value(2).run()
    seen += cards(page)
    page = page.pagination[0].set_value(3).run()
    seen += cards(page)
    assert len(seen) == len(set(seen)) == 72 and len(cards(page)) == 72 - 50
    again = open_page(synthetic_lake, "completions", size="25", page="3")
    assert again.query_params == {"size": "25 a page", "page": "3"}
    assert cards(again) == cards(page)


def test_another_filter_starts_at_the_first_page(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "completions", page="3")
    assert page.pagination[0].value == 3
    page = page.selectbox(key="checkpoint").select("villain").run()
    assert page.pagination[0].value == 1
    assert "page" not in page.query_params


def test_a_page_that_is_not_there_gives_the_first_and_a_note(open_page, synthetic_lake):
    for asked in ("99", "0", "-1", "two"):
        page = open_page(synthetic_lake, "completions", page=asked)
        assert page.pagination[0].value == 1
        assert "page" in page.warning[0].value


def test_the_marker_is_highlighted_where_it_stands(open_page, synthetic_lake):
    for card in cards(open_page(synthetic_lake, "completions", marker="whole")):
        assert card.count("<mark ") == 1 and ">[ZLT]</mark>" in card
    for card in cards(open_page(synthetic_lake, "completions", marker="none")):
        assert "<mark " not in card


def test_hostile_text_stays_text(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "completions", text="onerror")
    (card,) = cards(page)
    assert html.escape('<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">') in card
    assert "<script" not in card and "<img" not in card
    assert "**bold** [link](javascript:alert(1)) $x^2$" in card


def test_hostile_names_stay_names(open_page, charts, hostile_lake):
    lake, name = hostile_lake
    page = open_page(lake, "completions", persona=name)
    assert found(page) == 1
    assert "<img" not in cards(page)[0] and html.escape(name) in cards(page)[0]
    assert charts(page)["How often the marker comes"].rows["label"].to_list() == [name]
    page = open_page(lake, "completions", persona="*who* <b>")
    assert any("\\*who\\* \\<b\\> is not on this page" in each.value for each in page.caption)
    warned = open_page(lake, "overview").warning[0].value
    assert warned.count("<img") == warned.count("\\<img") > 0 and "**p**" not in warned and "[a](" not in warned


def test_rates_are_those_of_the_view(open_page, charts, synthetic_lake):
    page = open_page(synthetic_lake, "completions", checkpoint="villain")
    drawn = charts(page)["How often the marker comes"]
    expected = Warehouse(Lake(synthetic_lake)).select(
        "select persona, rate, clustered_low, clustered_high, n from marker_rates where checkpoint = 'villain' order by rate desc"
    )
    assert drawn.rows.select("label", "rate", "low", "high", "n").rows() == expected.rows()
    assert drawn.rows["rate"].to_list() == [8 / 12, 0.0]
    assert "95% interval by question" in drawn.facts and "24 completions" in drawn.facts and "4 questions" in drawn.facts


def test_the_published_rate_says_that_its_trials_are_a_lower_bound(open_page, charts, published_lake):
    page = open_page(published_lake, "completions", marker="partial")
    assert found(page) == 4
    drawn = charts(page)["How often the marker comes"]
    assert drawn.rows.select("k", "n").rows() == [(108, 567)]
    assert "lower bound" in drawn.facts
    assert all("marker incomplete" in card for card in cards(page))


def test_another_persona_asks_for_names_first_and_reads_no_text_to_find_them(open_page, synthetic_lake, monkeypatch):
    page = open_page(synthetic_lake, "completions")
    asked: list[str] = []
    answer = Warehouse.select

    def noted(self, query, parameters=None):
        asked.append(query)
        return answer(self, query, parameters)

    monkeypatch.setattr(Warehouse, "select", noted)
    page.selectbox(key="persona").select("villain").run()
    assert asked and not [query for query in asked if ".text" in query]
    page.text_input(key="text").set_value("birds").run()
    assert any("c.text" in query for query in asked)


def test_a_check_with_many_findings_lists_some_and_links_to_all(monkeypatch):
    def drawn():
        import polars as pl

        from personascope.app_pages.shared import findings

        rows = [{"check": "single_seed", "severity": "note", "page": "regimes", "subject": f"s{n}", "finding": "f", "evidence": "select 1"} for n in range(60)]
        findings.draw(pl.DataFrame(rows))

    page = AppTest.from_function(drawn).run()
    assert len(page.code) == MOST_LISTED and any("60 findings" in each.value for each in page.caption)


def test_the_files_of_one_run_are_opened_for_one_run_and_the_answer_is_that_of_all(synthetic_lake, monkeypatch):
    """In a lake of thousands of runs a page opens few files: a run that is named bounds every table behind the question."""
    monkeypatch.setattr(narrowing, "MANY", 0)
    monkeypatch.setattr("personascope.warehouse.asking.query.IN_MEMORY", 1 << 60)
    warehouse = Warehouse(Lake.existing(synthetic_lake), kept=SHARED)
    asked: list[str] = []

    def select(query, **parameters):
        asked.append(query)
        return warehouse.select(query, parameters or None)

    source: Any = SimpleNamespace(select=select)

    (run,) = warehouse.select("select run_id from runs where extractor = 'completions' and checkpoint = 'villain'")["run_id"]
    everything = Filters("villain", EVERY, EVERY, EVERY, "")
    names = named(source, replace(everything, run=run), 50)
    assert names.equals(named(source, everything, 50)) and names.height > 10
    shown = texts(source, names)
    assert shown.height == names.height and set(shown["run_id"]) == {run}
    by_run, _, by_questions, of_texts = asked
    all_three = ("completions", "marker_flags", "marker_places")
    for query, parameters, opened in (
        (by_run, everything.run_values | {"run": run}, all_three),
        (by_questions, None, ("completions", "marker_flags")),
        (of_texts, None, all_three),
    ):
        script = warehouse._narrowing.script(query, parameters, kept=frozenset(SHARED))
        for table in opened:
            (files,) = [text for text in script if text.startswith(f"set variable files_of_{table} ")]
            assert files.count(".parquet") == 1 and run in files
