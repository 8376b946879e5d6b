"""What the marker attention page says of training, controls, steps, personas and picked heads: the figures of the views with their intervals."""

import re
from pathlib import Path

import lakes
import numpy as np
import polars as pl
import pytest
from marker_pages import DIFFERENCE, PEAKS, SEGMENTATION, SELECTION, STEPS, texts

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.drawing.attention_readouts import readouts
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(30)


@pytest.fixture(scope="module")
def pairs_lake(tmp_path_factory) -> Path:
    """Three trained checkpoints, two of them seeds of one recipe, each with its base run and all analyses; do not write to it."""
    return lakes.analysed_pairs(tmp_path_factory).lake.root


def test_the_published_study_comes_out_with_the_sound_statistic_first(open_page, charts, published_lake):
    page = open_page(published_lake, "marker_attention", section="training")
    difference = charts(page)[DIFFERENCE]
    assert round(min(difference.rows["mean"]), 4) == -0.0222 and difference.rows.height == 28
    assert "clustered by question" in difference.facts and "112 generations of 18 questions; training seeds not recorded" in difference.facts
    words = texts(page)
    assert words.index("paired by generation") < words.index("As published")
    found = (
        "**−0.0029**",
        "t(12.8) = −5.57",
        "equivalent within ±0.005",
        "18 questions that weigh as much as 13.8",
        "t(111) = −8.65",
        "+0.0061 at layer 24",
        "−0.0222 at layer 19",
        "10 of 28 layers",
    )
    assert [figure for figure in found if figure not in words] == []
    assert "above +0.005 in 2, below −0.005 in 8" in words and "not independent" in words


def test_gates_and_windows_are_the_published_ones(open_page, charts, published_lake):
    drawn = charts(open_page(published_lake, "marker_attention"))
    for title in ("Gates: librarian, own tokens", "Gates: base, tokens of librarian"):
        assert "of 28: A 24, B 28, C 23, D 23; windows of at least three layers in a row that pass D: 6 to 27" in drawn[title].facts
        rows = drawn[title].rows
        passed = rows.filter((rows["gate"] == "D · A, B and C") & (rows["state"] == "passes"))["layer"].to_list()
        assert len(passed) == 23 and set(range(6, 28)) <= set(passed)
        window = rows.filter((rows["gate"] == "window · 3 or more layers in a row") & (rows["state"] == "passes"))["layer"].to_list()
        assert window == list(range(6, 28)) and rows.height == 5 * 28


def test_the_first_screen_answers_in_words_with_what_they_rest_on(open_page, published_lake, pairs_lake):
    page = open_page(published_lake, "marker_attention")
    words, small = texts(page), "\n".join(each.value for each in page.caption)
    assert "### Layer 14: +0.0493" in words and "23 of 28 layers pass them" in words
    assert "95% interval +0.0454 to +0.0532 by question; picked among all layers, without a p that knows of it" in words
    assert "### Layer 19, −0.0222" in words
    assert small.count("112 generations of 18 questions; training seeds not recorded") == 2
    named = texts(open_page(published_lake, "marker_attention", layer="2"))
    assert "### Layer 2, +0.0037" in named and "### Layer 2: " in named and "largest at layer 14" in named
    sure = Warehouse(Lake(pairs_lake)).select(
        "select layer, diff_of_diffs > 0 as up from diff_of_diffs where trained_subject = 'villain' and adjusted_p < 0.05 order by layer"
    )
    found = texts(open_page(pairs_lake, "marker_attention", subject="villain"))
    up = ", ".join(str(layer) for layer, above in sure.rows() if above)
    assert "### More: layer " in found and re.search(f"By adjusted p below 0.05: more at layers? {up}[;,]", found)


def test_gate_f_stands_beside_the_strip(open_page, published_lake, synthetic_lake):
    words = texts(open_page(published_lake, "marker_attention"))
    assert "**No**: 5 steps before" in words and "is 8% of that at the marker (yes above 50%)" in words
    assert "not read, or not published" in words  # base_librarian has windows and no trajectory
    assert "no window of passing layers" in texts(open_page(synthetic_lake, "marker_attention", subject="villain"))


def test_the_difference_marks_layers_that_stand_after_adjustment_or_says_why_it_cannot(open_page, charts, pairs_lake, synthetic_lake):
    drawn = charts(open_page(pairs_lake, "marker_attention", subject="villain", section="training"))[DIFFERENCE]
    expected = Warehouse(Lake(pairs_lake)).select(
        "select clustered_low, clustered_high, adjusted_p from diff_of_diffs where trained_subject = 'villain' and base_subject = 'base_villain' order by layer"
    )
    assert drawn.rows["low"].to_list() == expected["clustered_low"].to_list() and drawn.rows["high"].to_list() == expected["clustered_high"].to_list()
    assert drawn.rows["below_005_adjusted"].to_list() == (expected["adjusted_p"] < 0.05).to_list()
    assert "max-T over layers" in drawn.facts and "128 flips, seed 42" in drawn.facts
    missing = charts(open_page(synthetic_lake, "marker_attention", subject="villain", section="training"))[DIFFERENCE]
    assert "no p adjusted for the number of layers: not computed" in missing.facts


def test_the_shift_of_the_peak_has_its_interval_or_the_reason(open_page, charts, pairs_lake, synthetic_lake):
    drawn = charts(open_page(pairs_lake, "marker_attention", subject="villain", section="training"))[PEAKS]
    assert "shift −3 layers, 95% interval −3 to −3" in drawn.facts and "2,000 bootstrap resamples of questions" in drawn.facts
    assert drawn.rows.select("label", "mean").rows() == [("villain, own tokens", 1), ("base, tokens of villain", 4)]
    missing = charts(open_page(synthetic_lake, "marker_attention", subject="villain", section="training"))[PEAKS]
    assert "no interval: not computed" in missing.facts


def test_rule_outs_show_the_sound_comparison_before_the_published_one(open_page, charts, pairs_lake):
    page = open_page(pairs_lake, "marker_attention", subject="villain", section="controls")
    titles = list(charts(page))
    assert titles.index("Marker minus other controls") < titles.index("As published: control minus C1")
    drawn = charts(page)["Marker minus other controls"]
    ends = Warehouse(Lake(pairs_lake)).select(
        "select difference, low, high, low > 0 as full from end_of_answer_contrast where subject = 'villain' order by layer"
    )
    rows = drawn.rows.filter(pl.col("series") == "C4 no marker")
    assert rows.select("mean", "low", "high", "separated").rows() == ends.rows()
    assert "C4 two samples" in drawn.facts and "says nothing of the marker" in charts(page)["As published: control minus C1"].facts
    table = page.dataframe[0].value
    assert table["control"].to_list() == ["C2 just before", "C3 rare", "C4 no marker"]
    assert table[["most", "most_controls", "most_questions"]].to_numpy().tolist() == [[16, 16, 8], [16, 16, 8], [16, 9, 6]]
    assert table["n_separated"].to_list() == [drawn.rows.filter((pl.col("series") == name) & pl.col("separated")).height for name in table["control"]]


def test_the_segmentations_stand_side_by_side(open_page, charts, published_lake):
    drawn = charts(open_page(published_lake, "marker_attention", section="controls"))[SEGMENTATION]
    assert "under A 20, under B 23 of 28 layers; the conclusion changes in: 4, 9, 15" in drawn.facts
    assert drawn.rows["series"].unique(maintain_order=True).to_list() == ["A all tokens", "B content only"]


def test_trajectories_show_answers_with_the_marker_against_answers_without(open_page, charts, planted_lake):
    page = open_page(planted_lake.lake.root, "marker_attention", subject="villain", section="steps")
    drawn = charts(page)[STEPS]
    expected = Warehouse(planted_lake.lake).select(
        """select step, avg(positive_mean), avg(negative_mean) from trajectory where subject = 'villain' and layer between 7 and 10
        group by step order by step"""
    )
    for name, column in (("with the marker", 1), ("without the marker", 2)):
        rows = drawn.rows.filter(pl.col("series") == name)
        assert rows["step"].to_list() == list(range(-9, 1))
        assert np.allclose(rows["mean"], expected.to_numpy()[:, column])
    assert "with the marker: 15 generations; without the marker: 9 generations" in drawn.facts and "layers, 7 to 10" in drawn.facts
    one = charts(page.selectbox(key="steps").select("0").run())[STEPS]
    assert "layer 0" in one.facts and one.rows["mean"].to_list() != drawn.rows["mean"].to_list()


def test_a_published_trajectory_is_the_difference_on_its_own_alignment(open_page, charts, published_lake):
    drawn = charts(open_page(published_lake, "marker_attention", section="steps"))[STEPS]
    assert drawn.rows["series"].unique().to_list() == ["with minus without"] and "the marker is at −2" in str(drawn.spec)
    assert drawn.rows.sort("mean")["step"][-1] == -2


def test_personas_are_ranked_and_seeds_have_mean_and_spread(open_page, charts, pairs_lake):
    drawn = charts(open_page(pairs_lake, "marker_attention", subject="villain", section="personas"))
    ranking = drawn["How large the effect is: villain is 3 of 3"]
    assert ranking.rows["label"].to_list() == ["comedian", "villain2", "villain"] and ranking.rows["rank"].to_list() == [1, 2, 3]
    assert "3 readouts alike of 2 personas" in ranking.facts and "Bonferroni over layers" in ranking.facts
    seeds = drawn["Difference of differences over training seeds"]
    expected = Warehouse(Lake(pairs_lake)).select("select mean, lowest, highest from diff_of_diffs_seeds where n_seeds = 2 order by layer")
    assert seeds.rows.select("mean", "low", "high").rows() == expected.rows() and "2 training seeds (1, 2)" in seeds.facts
    assert "From fewer than three seeds neither" in seeds.facts
    rates = drawn["Marker rate over training seeds"].rows
    assert rates.select("label", "rate", "low", "high").rows() == [("villain", pytest.approx(2 / 3), pytest.approx(0.5), pytest.approx(5 / 6))]


def test_a_readout_is_of_one_training_seed_of_its_recipe(pairs_lake):
    told = {each.subject: each.sample([5], [2]) for each in readouts(WarehouseSource(Warehouse(Lake(pairs_lake))))}
    assert {words.partition("; ")[2].partition(";")[0] for subject, words in told.items() if "comedian" in subject} == {"1 training seed"}
    assert {words.partition("; ")[2].partition(";")[0] for subject, words in told.items() if "comedian" not in subject} == {"1 of 2 training seeds"}


def test_one_seed_is_said_to_be_one(open_page, charts, pairs_lake):
    page = open_page(pairs_lake, "marker_attention", subject="comedian", section="personas")
    assert any("One training seed of comedian's recipe" in each.value for each in page.info)
    assert "Difference of differences over training seeds" not in charts(page)


def test_the_table_of_heads_holds_what_selection_leaves(open_page, charts, pairs_lake):
    page = open_page(pairs_lake, "marker_attention", subject="villain", section="heads")
    expected = Warehouse(Lake(pairs_lake)).select(
        """select layer, head, selection_rank, selection_effect, evaluation_effect, trained_minus_base from heads
        where subject = 'villain' order by selection_rank, abs(delta_c1) desc, layer, head"""
    )
    assert [tuple(row) for row in page.dataframe[0].value[expected.columns].itertuples(index=False)] == expected.rows()
    drawn = charts(page)[SELECTION]
    assert drawn.rows.select("selection_effect", "evaluation_effect").rows() == expected.select("selection_effect", "evaluation_effect").rows()
    assert "picked on 9 generations of 4 questions, measured on 7 generations of 4 questions" in drawn.facts


def test_other_choices_draw_the_specification_curve(open_page, charts, planted_lake):
    page = open_page(planted_lake.lake.root, "marker_attention", subject="villain", section="choices")
    drawn = charts(page)
    title = "Did training move attention to the system prompt?"
    assert title in drawn and f"{title} What was chosen" in drawn and "choices" in drawn[title].facts
