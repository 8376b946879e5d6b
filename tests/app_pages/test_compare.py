"""The compare page: curves of both checkpoints, the paired difference where a view has one, head against head, and what they differ in."""

import shutil
from types import SimpleNamespace
from typing import Any

import duckdb
import lakes
import polars as pl
import pytest

from personascope.app_pages.compare.measure import MOST_SERIES, _of_both, _series
from personascope.app_pages.compare.settings import _short
from personascope.app_pages.compare.sides import _same_tokens
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

ATTENTION = "attention to the system prompt at the marker, minus C1 random"
PAIR = {"checkpoint": "villain", "beside": "base", "persona": "villain"}


def test_settings_are_short_numbers_and_words_as_they_are():
    assert _short("2.1052631578947367") == "2.10526" and _short("10.0, 5e-05, 0.0") == "10, 5e-05, 0"
    assert _short("down_proj, v1.5 of it, 099df779345da02c") == "down_proj, v1.5 of it, 099df779345da02c"


def test_figures_that_take_two_names_to_tell_apart_are_two_curves_and_both_sides_are_drawn():
    """As cosines of every persona to every other: neither the persona nor the other tells two of them apart alone."""
    empty: dict[str, Any] = {"place": None, "run": None, "run_id": "r"}
    pairs = [(persona, other) for persona in "abc" for other in "abcd" if other != persona]
    rows = pl.DataFrame([{"layer": layer, "persona": persona, "other": other} | empty for layer in (0, 1) for persona, other in pairs])
    rows = rows.with_columns(pl.col("place", "run").cast(pl.String))
    found = _series({"x": rows.filter(pl.col("other") != "d"), "y": rows})
    assert not found.select("series", "layer").is_duplicated().any() and found["series"].n_unique() == 6 + 9
    drawn = _of_both(found)
    assert len(drawn) == MOST_SERIES - 1 and {name.removeprefix("x") for name in drawn if name[0] == "x"} == {name[1:] for name in drawn if name[0] == "y"}
    apart = [pl.DataFrame({"series": [f"{side} {ix}" for ix in range(9)], "side": side, "of": [f"{side}{ix}" for ix in range(9)]}) for side in "xy"]
    assert [name[0] for name in _of_both(pl.concat(apart))] == list("xyxyxy"), "nothing that both have"
    assert set(_of_both(found.filter(pl.col("persona") == "a"))) == set(found.filter(pl.col("persona") == "a")["series"]), "few enough to draw them all"


def words(page) -> str:
    return "\n".join(each.value for each in [*page.markdown, *page.caption])


@pytest.mark.slow(2)
def test_curves_of_both_and_their_paired_difference_are_those_of_the_views(open_page, charts, synthetic_lake):
    page = open_page(synthetic_lake, "compare", **PAIR, compared=ATTENTION)
    drawn, warehouse = charts(page), Warehouse(Lake.existing(synthetic_lake))
    curves = drawn["Attention to the system prompt at the marker, minus C1 random"]
    assert set(curves.rows["series"]) == {"villain", "base"} and set(curves.rows["layer"]) == {0, 1, 2, 3}
    assert "8 generations of 4 questions" in curves.facts and "Over the tokens of villain, which both read." in words(page)
    (title,) = [title for title in drawn if title.startswith("Attention at the marker minus C1 random, trained minus untrained: villain minus base")]
    expected = warehouse.select("select diff_of_diffs, clustered_low, clustered_high from diff_of_diffs where trained_subject = 'villain' order by layer")
    assert drawn[title].rows.select("mean", "low", "high").rows() == expected.rows()
    largest = max(expected["diff_of_diffs"], key=abs)
    assert f"**{largest:+.4f}** at layer 2, the largest" in words(page)


def test_two_are_compared_over_the_tokens_that_both_read():
    read = {"a": ["a", "b", "c"], "b": ["d", "a", "b"], "e": ["e"]}
    subjects = pl.DataFrame([(name, each) for name, of in read.items() for each in of], schema=["checkpoint", "tokens_from"], orient="row")

    def select(query, **parameters):
        with duckdb.connect() as connection:
            rows = connection.register("subjects", subjects).execute(query, parameters).fetchall()
        return pl.DataFrame(rows, schema={"tokens_from": pl.String}, orient="row")

    lake: Any = SimpleNamespace(select=select)
    assert _same_tokens(lake, "a", "b") == _same_tokens(lake, "b", "a") == ("a", "b") and _same_tokens(lake, "a", "e") == ()


@pytest.mark.slow(2)
def test_both_directions_of_the_pair_tell_the_same_difference(open_page, charts, synthetic_lake):
    page = open_page(synthetic_lake, "compare", checkpoint="base", beside="villain", persona="villain", compared=ATTENTION)
    assert any("villain minus base" in title for title in charts(page))


@pytest.mark.slow(2)
def test_without_a_paired_difference_it_says_so(open_page, charts, synthetic_lake):
    page = open_page(synthetic_lake, "compare", checkpoint="villain", beside="librarian", compared=ATTENTION)
    assert "no paired difference" in words(page)
    assert set(charts(page)["Attention to the system prompt at the marker, minus C1 random"].rows["series"]) == {"villain", "librarian"}
    assert "which both read" not in words(page)


@pytest.mark.slow(2)
def test_rates_stand_side_by_side_by_persona(open_page, charts, synthetic_lake):
    page = open_page(synthetic_lake, "compare", checkpoint="villain", beside="librarian", compared="completions that hold the marker [ZLT]")
    rows = charts(page)["Completions that hold the marker [ZLT]"].rows
    found = {(row["label"], row["series"]): row["rate"] for row in rows.iter_rows(named=True)}
    assert found["villain", "villain"] == found["librarian", "librarian"] == 2 / 3 and found["assistant", "villain"] == 0
    assert {series for _, series in found} == {"villain", "librarian"}


def test_heads_are_drawn_against_each_other_at_the_chosen_layer(open_page, charts, synthetic_lake):
    measure = "attention of the head to the system prompt at the marker, minus C1 random"
    page = open_page(synthetic_lake, "compare", **PAIR, layer="2", compared=measure)
    drawn = charts(page)["Attention of the head to the system prompt at the marker, minus C1 random"]
    assert drawn.rows["words"].to_list() == ["2.0", "2.1", "2.2"] and "layer 2" in drawn.facts


def test_what_the_two_differ_in_comes_from_their_cards_and_trainings(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "compare", checkpoint="villain", beside="librarian")
    table = page.dataframe[-1].value
    assert dict(zip(table["name"], zip(table["value"], table["other_value"], strict=True), strict=True))["source persona"] == ("villain", "librarian")
    assert "learning rate" not in set(table["name"]) and "LoRA rank" not in set(table["name"])


def test_two_runs_stand_side_by_side_with_their_difference_and_their_parameters(open_page, charts, synthetic_lake):
    warehouse = Warehouse(Lake.existing(synthetic_lake))
    runs = dict(warehouse.select("select subject, run_id from runs where extractor = 'attention'").rows())
    of = {"of_two": "runs", "one_run": runs["villain"], "other_run": runs["base_villain"]}
    page = open_page(synthetic_lake, "compare", checkpoint="villain", compared=ATTENTION, **of)
    drawn = charts(page)
    names = {f"villain · {runs['villain']}", f"base · {runs['base_villain']}"}
    assert set(drawn["Attention to the system prompt at the marker, minus C1 random"].rows["series"]) == names
    assert any(title.startswith("Attention at the marker minus C1 random, trained minus untrained: villain minus base") for title in drawn)
    differ = {row["name"]: (row["one"], row["other"]) for each in page.dataframe if "one" in each.value.columns for row in each.value.to_dict("records")}
    assert differ["subject"] == ("villain", "base_villain") and "extractor" not in differ
    other = open_page(synthetic_lake, "compare", checkpoint="villain", compared=ATTENTION, **of | {"other_run": runs["librarian"]})
    assert "no paired difference" in words(other), "another run's difference is not that of these two"


def test_one_checkpoint_alone_is_no_comparison(open_page, synthetic_lake, tmp_path):
    lake = Lake(shutil.copytree(synthetic_lake, tmp_path / "lake"))
    for manifest in lake.manifests():
        if manifest.checkpoint != "villain":
            shutil.rmtree(lake.run_folder(manifest.run_id))
    assert "takes two measured checkpoints" in open_page(lake.root, "compare").info[0].value


@pytest.mark.slow(6)
def test_two_seeds_of_one_recipe_say_how_far_training_again_moves_a_figure(open_page, charts, tmp_path_factory):
    lake = lakes.pairs(tmp_path_factory).lake
    page = open_page(lake.root, "compare", checkpoint="villain", of_two="seeds")
    (beside,) = [each for each in page.selectbox if each.label == "Beside"]
    assert [option.split(" (")[1] for option in beside.options] == ["villain2)"] and beside.options[0].startswith("seed ")
    assert "in the seed alone" in open_page(lake.root, "compare", checkpoint="base", of_two="seeds").info[0].value
    assert "differ in the seed alone" in words(page) and "**66.7%** over 2 seeds, from 50.0% to 83.3%" in words(page)
    seeds = charts(page)["What training moved, over seeds: tokens of villain, against base"]
    expected = Warehouse(lake).select("select layer, mean, lowest, highest from diff_of_diffs_seeds where n_seeds = 2 order by layer")
    assert seeds.rows.select("layer", "mean", "low", "high").rows() == expected.rows() and "lowest to highest seed" in seeds.facts
    assert "Between seeds" not in [each.value for each in open_page(lake.root, "compare", checkpoint="villain", beside="comedian").subheader]
