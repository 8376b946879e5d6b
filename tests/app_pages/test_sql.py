"""The SQL page: asked as on the command line, drawn, kept in the address and the session, saved under a name and opened again."""

import io
import shutil

import polars as pl
import pytest

from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.open_in_sql import pack
from personascope.app_pages.sql import result
from personascope.app_pages.sql.asking import ask
from personascope.warehouse.asking import named
from personascope.warehouse.asking.named import NamedQuery
from personascope.warehouse.store.lake import Lake

GATES = "select subject, layer, mean_delta from attention_gates order by subject, layer"


def rows_of(page) -> pl.DataFrame:
    return pl.DataFrame(page.dataframe[0].value)


def run(page, text: str):
    page.text_area[0].set_value(text)
    next(button for button in page.button if button.label == "Run").click()
    page.run()
    assert not page.exception, page.exception
    return page


@pytest.fixture
def lake(synthetic_lake, tmp_path) -> Lake:
    """A copy to save queries into."""
    return Lake(shutil.copytree(synthetic_lake, tmp_path / "lake"))


def test_the_page_begins_with_the_schema_by_question_and_the_gallery(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "sql")
    titles = [each.label for each in page.expander]
    assert sum(title.startswith("Where does a model look") for title in titles) == 2, "in the schema and in the gallery"
    assert not page.dataframe and not page.error
    page.selectbox(key="columns of").select("attention_gates").run()
    found = rows_of(page)
    assert found.columns == ["column", "type", "meaning"] and "mean_delta" in found["column"].to_list() and (found["meaning"] != "").all()


def test_a_query_that_is_typed_is_asked_and_is_the_address(open_page, synthetic_lake):
    page = run(open_page(synthetic_lake, "sql"), GATES)
    assert page.query_params["sql"] == GATES and "**12 rows**, 3 columns" in [each.value for each in page.markdown]
    assert rows_of(page).columns == ["subject", "layer", "mean_delta"] and rows_of(page).height == 12
    again = open_page(synthetic_lake, "sql", sql=GATES)
    assert again.text_area[0].value == GATES and rows_of(again).equals(rows_of(page))


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("drop view runs", "must be exactly one SELECT statement"),
        ("select 1; select 2", "must be exactly one SELECT statement"),
        ("select * from read_csv('/etc/passwd')", "the query failed"),
        ("select * from attention_gate", "Did you mean"),
        ("select current_setting('threads')", "settings of the machine"),
        ("@nothing", "query @nothing is unknown"),
    ],
)
def test_what_the_command_line_refuses_is_refused_in_the_same_words(open_page, synthetic_lake, personascope, query, sentence):
    code, _, err = personascope("sql", query, "--lake", synthetic_lake)
    page = run(open_page(synthetic_lake, "sql"), query)
    assert code == 1 and sentence in err
    assert len(page.error) == 1 and not page.dataframe and sentence in page.error[0].value.replace("\\", "")


def test_a_chart_is_chosen_suggested_and_kept_in_the_address(open_page, synthetic_lake, charts):
    page = open_page(synthetic_lake, "sql", sql=GATES, plot="line")
    (found,) = charts(page).values()
    assert found.title == "mean delta by layer" and "12 rows of the query; lake lake;" in found.facts and found.spec["layer"]
    assert page.selectbox(key="colour").options[0] == "suggested: subject"
    page.selectbox(key="facet").select("subject")
    page.selectbox(key="colour").select("nothing").run()
    (found,) = charts(page).values()
    assert found.spec["facet"]["field"] == "facet" and found.rows["facet"].n_unique() == 3
    assert page.query_params["facet"] == "subject" and page.query_params["colour"] == "nothing" and "x" not in page.query_params


def test_what_cannot_be_drawn_is_a_sentence_beside_the_rows(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "sql", sql=GATES, plot="line", x="subject")
    assert "is text, which has no distances to draw along" in page.warning[0].value and len(page.dataframe) == 1
    none = open_page(synthetic_lake, "sql", sql="select 'a' as word", plot="scatter")
    assert "Points need two columns of numbers" in none.warning[0].value


def test_the_gallery_opens_a_query_with_its_chart_and_another_follows(open_page, synthetic_lake, charts):
    page = open_page(synthetic_lake, "sql")
    page.button(key="open attention-effects").click().run()
    assert page.query_params["sql"] == "@attention-effects" and page.query_params["plot"] == "heat map"
    (found,) = charts(page).values()
    assert found.title == "attention effects" and found.spec["mark"]["type"] == "rect"
    page.button(key="open runs-of-this-lake").click().run()
    assert not page.exception
    assert page.query_params == {"sql": "@runs-of-this-lake"} and not page.get("vega_lite_chart") and rows_of(page).height == 6
    page.button(key="open attention-by-region").click().run()
    assert not page.exception and page.query_params["plot"] == "line" and page.query_params["facet"] == "reader"
    assert list(charts(page)) == ["attention by region"]
    link = open_page(synthetic_lake, "sql", sql="@attention-effects")
    assert link.text_area[0].value == named.examples()["attention-effects"].sql and len(charts(link)) == 1


def test_the_history_of_the_session_leads_back(open_page, synthetic_lake):
    page = run(run(open_page(synthetic_lake, "sql"), GATES), "select 1 as one")
    run(page, "select nothing")
    said = [each.value for each in page.markdown if each.value.startswith("`")]
    assert [words.split(" ", 2)[0] for words in said][:3] == ["`failed`", "`1", "`12"]
    page.button(key="again 2").click().run()
    assert page.query_params["sql"] == GATES and rows_of(page).height == 12


@pytest.mark.slow(2)
def test_a_query_is_saved_with_its_chart_and_never_over_another_in_silence(open_page, lake, personascope):
    page = open_page(lake.root, "sql", sql=GATES, plot="line")

    def save(name: str, replace: bool = False) -> None:
        page.text_input(key="save name").set_value(name)
        page.text_area(key="save description").set_value("Gates by layer.")
        page.checkbox(key="save replace").set_value(replace)
        next(button for button in page.button if button.label == "Save").click()
        page.run()
        assert not page.exception

    save("Not a name")
    assert "expected 1 to 63 small letters" in page.error[0].value and not (lake.root / "queries").exists()
    save("gates")
    assert page.success and not page.error
    assert named.saved(lake) == {"gates": NamedQuery("gates", "Gates by layer.", GATES, {"kind": "line", "x": "layer", "y": "mean_delta", "colour": "subject"})}
    save("gates")
    assert "is there already" in page.error[0].value.replace("\\", "")
    save("gates", replace=True)
    assert page.success and not page.error
    assert personascope("sql", "@gates", "--lake", lake.root)[1].count("\n") == 13
    assert any(each.label.startswith("Saved in this lake (1)") for each in open_page(lake.root, "sql").expander)


def test_a_query_too_long_for_an_address_runs_and_says_so(open_page, synthetic_lake):
    words = ", ".join(f"'{number * 7919 % 1_000_003:x}{number}'" for number in range(2_000))
    page = run(open_page(synthetic_lake, "sql"), f"select len([{words}]) as n")
    assert "too long for an address" in " ".join(each.value for each in page.caption) and "sql" not in page.query_params
    assert rows_of(page)["n"].to_list() == [2_000]
    page.selectbox(key="columns of").select("runs").run()
    assert len(page.dataframe) == 2, "it stays while something else is chosen"


def test_a_link_that_was_cut_off_says_so(open_page, synthetic_lake):
    packed = pack("select 1 -- " + "words " * 2_000)
    assert packed is not None and packed.startswith("~")
    page = open_page(synthetic_lake, "sql", sql=packed[:-9])
    assert "was cut off or changed on its way" in page.error[0].value and not page.dataframe


@pytest.mark.slow(2)
def test_downloads_are_named_after_what_they_hold_and_hold_every_row(synthetic_lake):
    lake = Source(str(synthetic_lake), "f", 6)
    stem = result.file_stem(GATES, None, lake)
    assert stem.startswith("attention_gates_lake_20") and result.file_stem("select 1", "a b", lake).startswith("a-b_lake_20")
    rows = ask(lake, "select i, '=1+1' as word, [i] as list from range(12000) as r(i)")
    assert result.fitting(rows).height == result.MOST_ROWS
    found = pl.read_parquet(io.BytesIO(result._parquet(rows, "select 1")))
    assert found.equals(rows) and pl.read_parquet_metadata(io.BytesIO(result._parquet(rows, "select 1")))["query"] == "select 1"
    wide = pl.DataFrame({"vector": [[0.0] * 4_000] * 2_000})
    assert 0 < result.fitting(wide).height < 1_000
