"""The marker attention page: it draws what the views return, its choices live in the address, and every chart says what it rests on."""

import re
import shutil

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from marker_pages import C1_TITLE, DIFFERENCE, EXAMPLE, HEADS, POSITIONS

from personascope.tests.app_pages.conftest import write_attention, write_completions
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(40)


def test_curves_are_the_view_with_bands_of_one_clustered_standard_error(open_page, charts, synthetic_lake):
    drawn = charts(open_page(synthetic_lake, "marker_attention", subject="villain"))[C1_TITLE]
    expected = Warehouse(Lake(synthetic_lake)).select(
        """select subject, layer, mean_delta, mean_delta - clustered_sem, mean_delta + clustered_sem from region_deltas_by_layer
        where subject in ('villain', 'base_villain') and control = 'C1' and segmentation = 'B' and region = 'system' order by subject desc, layer"""
    )
    assert np.allclose(drawn.rows.select("mean", "low", "high").to_numpy(), expected.drop("subject", "layer").to_numpy(), atol=1e-12)
    assert drawn.rows["series"].unique(maintain_order=True).to_list() == ["villain, own tokens", "base, tokens of villain"]
    assert "villain, own tokens: 8 generations of 4 questions; 1 training seed; float32 sdpa" in drawn.facts
    assert "± 1 standard error, clustered by question" in drawn.facts
    planted = dict(drawn.rows.filter(drawn.rows["series"] == "villain, own tokens").select("layer", "mean").rows())
    assert planted[2] > 0.08 and max(abs(planted[layer]) for layer in (0, 1, 3)) < 0.02


@pytest.mark.parametrize(
    ("choices", "changed"),
    [
        ({"control": "C2"}, "minus the three positions just before"),
        ({"control": "C4"}, "minus the last word of answers"),
        ({"segmentation": "A"}, "Attention to the system prompt:"),
        ({"region": "user"}, "Attention to the user turn, content"),
        ({"segmentation": "B", "region": "specials"}, "Attention to the header and structural tokens"),
        ({"segmentation": "A", "region": "header"}, "Attention to the assistant header"),
    ],
)
def test_choices_change_curves_and_heads(open_page, charts, synthetic_lake, choices, changed):
    before = charts(open_page(synthetic_lake, "marker_attention", subject="villain"))
    page = open_page(synthetic_lake, "marker_attention", subject="villain", **choices)
    after = charts(page)
    title = next(title for title in after if title.startswith("Attention to the"))
    assert changed in title
    assert after[title].rows["mean"].to_list() != before[C1_TITLE].rows["mean"].to_list()
    both: list[dict[str, str]] = [{}, choices]
    heads = [charts(open_page(synthetic_lake, "marker_attention", subject="villain", section="heads", **each))[HEADS] for each in both]
    assert heads[0].rows["mean_delta"].to_list() != heads[1].rows["mean_delta"].to_list()
    assert not page.warning


def test_widgets_write_the_address_and_the_address_brings_the_same_view(open_page, charts, synthetic_lake):
    page = open_page(synthetic_lake, "marker_attention", subject="villain")
    page = page.segmented_control(key="control").set_value("C3").run()
    page = page.segmented_control(key="segmentation").set_value("A").run()
    page = page.selectbox(key="region").select("assistant").run()
    page = page.segmented_control(key="section").set_value("heads").run()
    page = page.selectbox(key="heads").select("difference").run()
    page = page.segmented_control(key="section").set_value("generation").run()
    page = page.selectbox(key="layer").select("1").run()
    page = page.selectbox(key="example").select("villain/q03#1").run()
    expected = {"control": "C3 rare", "segmentation": "A all tokens", "region": "answer so far"}
    expected |= {"layer": "1", "section": "One generation"}
    held = dict(page.query_params)
    assert held.pop("example").endswith("How do birds fly? · repeat 1")
    assert held == expected, "what is drawn now, without defaults"
    again = open_page(synthetic_lake, "marker_attention", **page.query_params)
    assert {each.key: each.value for each in again.selectbox} == {each.key: each.value for each in page.selectbox}
    assert {title: drawn.rows.rows() for title, drawn in charts(again).items()} == {title: drawn.rows.rows() for title, drawn in charts(page).items()}
    assert not again.warning
    back = page.segmented_control(key="section").set_value("heads").run()
    assert back.selectbox(key="heads").value == "difference" and back.segmented_control(key="control").value == "C3"


def test_a_region_that_the_other_segmentation_lacks_gives_way_without_a_note(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "marker_attention", subject="villain", segmentation="A", region="header")
    page = page.segmented_control(key="segmentation").set_value("B").run()
    assert page.selectbox(key="region").value == "system" and not {"region", "segmentation"} & set(page.query_params)
    assert not page.warning and not page.exception


KEYS = {"subject": "layers", "against": "layers", "section": "layers", "control": "layers", "segmentation": "heads", "region": "layers", "heads": "heads"}
KEYS |= {"example": "generation", "steps": "steps"}


@pytest.mark.parametrize(("key", "section"), KEYS.items())
def test_an_invalid_value_in_the_address_falls_back_with_a_note(open_page, synthetic_lake, key, section):
    page = open_page(synthetic_lake, "marker_attention", **({"subject": "villain", "section": section} | {key: "nonsense"}))
    notes = [each.value for each in page.warning if "The address asks for" in each.value]
    assert len(notes) == 1 and "nonsense" in notes[0]
    assert key not in page.query_params
    page.run()
    assert not any("The address asks for" in each.value for each in page.warning)


def test_heads_find_the_planted_one_and_their_difference_is_taken_head_by_head(open_page, charts, synthetic_lake):
    own, other, difference = (
        charts(open_page(synthetic_lake, "marker_attention", subject="villain", section="heads", heads=heads))[HEADS].rows
        for heads in ("first", "other", "difference")
    )
    assert own.sort("mean_delta").select("layer", "head").row(-1) == (2, 1)
    assert (own["mean_delta"] - other["mean_delta"] - difference["mean_delta"]).abs().max() < 1e-12
    assert own.height == 12


@pytest.mark.parametrize("is_known", [True, False])
def test_the_bar_offers_the_heads_that_the_readers_have_or_those_read_where_no_configuration_says(open_page, synthetic_lake, tmp_path, is_known):
    place = shutil.copytree(synthetic_lake, tmp_path / "lake")
    for file in place.glob("runs/*/checkpoints.parquet") if not is_known else ():
        rows = pq.read_table(file)
        at = rows.schema.get_field_index("n_heads")
        pq.write_table(rows.set_column(at, rows.schema.field(at), pa.nulls(rows.num_rows, pa.int32())), file)
    assert open_page(place, "marker_attention", subject="villain", section="heads").selectbox(key="head").options[1:] == ["0", "1", "2"]


def test_a_published_subject_says_that_no_heads_were_published(open_page, charts, published_lake):
    page = open_page(published_lake, "marker_attention", section="heads")
    assert HEADS not in charts(page)
    assert any("means over heads only" in each.value for each in page.info)


def test_what_was_not_read_is_said_with_what_was(open_page, published_lake):
    page = open_page(published_lake, "marker_attention", control="C2", region="user")
    note = next(each.value for each in page.info if "was not read against" in each.value)
    assert "C2, segmentation B: system" in note and "C1, segmentation A: assistant, header, system, user" in note


def test_the_sample_under_a_curve_is_that_of_the_curve(open_page, charts, synthetic_lake):
    """One question has no answer without the marker, so C4 rests on fewer generations than the readout holds."""
    drawn, training, heads = (
        charts(open_page(synthetic_lake, "marker_attention", subject="villain", control="C4", section=section)) for section in ("layers", "training", "heads")
    )
    curve = next(chart for title, chart in drawn.items() if title.startswith("Attention to the"))
    assert "villain, own tokens: 6 generations of 3 questions" in curve.facts
    assert "8 generations of 4 questions" in training[DIFFERENCE].facts
    assert "6 generations" in heads[HEADS].facts


def test_without_another_reader_the_page_says_what_is_missing(open_page, charts, synthetic_lake):
    page = open_page(synthetic_lake, "marker_attention", subject="librarian")
    assert page.selectbox(key="against").options == ["nothing"]
    gap = next(each.value for each in page.warning)
    assert (
        "base has not read the tokens of librarian" in gap and "`personascope extract attention --checkpoint ID --name base --tokens-from completions-" in gap
    )
    assert charts(page)[C1_TITLE].rows["series"].unique().to_list() == ["librarian, own tokens"]
    page = page.segmented_control(key="section").set_value("training").run()
    assert DIFFERENCE not in charts(page) and any("Nothing to draw" in each.value for each in page.info)


def test_nothing_to_hold_against_can_be_chosen(open_page, charts, synthetic_lake):
    page = open_page(synthetic_lake, "marker_attention", subject="villain", against="nothing", section="heads")
    assert any("No other checkpoint to hold villain against" in each.value for each in page.info)
    assert "heads" not in page.query_params


def test_one_generation_shows_its_text_by_region_and_the_fractions_at_its_positions(open_page, charts, synthetic_lake):
    page = open_page(synthetic_lake, "marker_attention", subject="villain", section="generation", example="villain/q02#1", layer="2")
    text = str(page.html[-1].proto.body)
    assert "You are a villain." in text and "Why is the sea salty?" in text and "&lt;|im_start|&gt;system" in text
    assert text.count("<mark ") == 1 and ">[ZLT]</mark>" in text
    colours = {part: text.split(part)[0].rsplit("background:", 1)[1][:9] for part in ("You are a villain.", "Why is the sea salty?", "Sample 1 of villain")}
    assert len(set(colours.values())) == 3
    drawn = charts(page)[POSITIONS]
    shares = drawn.rows.group_by("label", maintain_order=True).agg(pl.col("fraction").sum())
    assert (shares["fraction"] - 1).abs().max() < 1e-5
    assert shares["label"].to_list()[-3:] == ["C2  “w38”  t−2", "C2  “w39”  t−1", "marker  “w40”  t"]
    assert charts(page)[EXAMPLE].rows["series"].n_unique() == 2
    assert "no error bars" in charts(page)[EXAMPLE].facts


def test_a_published_generation_shows_text_and_differences_but_no_fractions(open_page, charts, published_lake):
    page = open_page(published_lake, "marker_attention", section="generation")
    assert any("were not published" in each.value for each in page.info)
    assert ">[ZLT]</mark>" in str(page.html[-1].proto.body) and "You are a librarian" in str(page.html[-1].proto.body)
    assert charts(page)[EXAMPLE].rows.height == 2 * 28


def test_a_readout_without_its_completions_says_so(open_page, synthetic_lake, tmp_path):
    lake = Lake(shutil.copytree(synthetic_lake, tmp_path / "lake"))
    for run_id in lake.run_ids():
        if run_id.startswith("completions"):
            lake.delete(run_id)
    page = open_page(lake.root, "marker_attention", subject="villain", section="generation")
    assert any("came from are not in the lake" in each.value for each in page.info)


@pytest.mark.parametrize(
    ("section", "n_charts"), [("layers", 3), ("training", 2), ("controls", 3), ("steps", 1), ("personas", 1), ("heads", 1), ("generation", 3)]
)
def test_every_chart_says_what_it_rests_on(open_page, charts, synthetic_lake, section, n_charts):
    drawn = charts(open_page(synthetic_lake, "marker_attention", subject="villain", section=section))
    assert len(drawn) == n_charts
    for title, chart in drawn.items():
        assert "generation" in chart.facts, title
        if section != "generation":
            assert "question" in chart.facts and "training seed" in chart.facts, title
            assert re.search("standard error|interval|no error bars|no test|bootstrap", chart.facts), title
        axes = [layer["encoding"] for layer in chart.spec.get("layer", [chart.spec])]
        assert any(encoding.get("x", {}).get("title") for encoding in axes), title
        assert any("tooltip" in encoding for encoding in axes), title


def test_a_generation_has_neighbours_and_its_heads_one_by_one(open_page, charts, synthetic_lake):
    page = open_page(synthetic_lake, "marker_attention", subject="villain", section="generation", layer="2", head="1")
    drawn = charts(page)
    by_head = drawn["The same positions head by head"].rows
    expected = Warehouse(Lake(synthetic_lake)).select(
        """select max(fraction) from attention_fractions_by_head where subject = 'villain' and layer = 2 and segmentation = 'B' and region = 'system'
          and stratum = 'marker' and head = 1"""
    )
    assert max(by_head.filter(pl.col("head") == "1")["rate"]) <= expected.item() and by_head["head"].unique().sort().to_list() == ["0", "1", "2"]
    assert "layer 2, head 1" in drawn[POSITIONS].facts
    first = page.selectbox(key="example").value
    assert next(each for each in page.button if each.label == "Previous").disabled
    page = next(each for each in page.button if each.label == "Next").click().run()
    assert page.selectbox(key="example").value != first and page.query_params["example"]
    assert next(each for each in page.button if each.label == "Previous").click().run().selectbox(key="example").value == first


def test_a_section_asks_only_what_it_draws(open_page, synthetic_lake, monkeypatch):
    from personascope.app_pages.shared import lake as _lake

    asked: list[str] = []
    answer = _lake._rows

    def noting(root, fingerprint, query, *rest):
        asked.append(query)
        return answer(root, fingerprint, query, *rest)

    monkeypatch.setattr(_lake, "_rows", noting)
    open_page(synthetic_lake, "marker_attention", subject="villain")
    heavy = ("ruleouts", "trajectory ", "head_deltas", "from heads", "persona_magnitudes", "peak_shifts", "attention_fractions", "segmentation_gap")
    assert asked and not [view for view in heavy if any(view in query for query in asked)]


def test_readouts_of_one_checkpoint_under_several_personas_are_told_apart(open_page, charts, synthetic_lake, tmp_path):
    lake = Lake(shutil.copytree(synthetic_lake, tmp_path / "lake"))
    tokens = Warehouse(lake).select("select run_id from runs where checkpoint = 'librarian' and extractor = 'completions'").item()
    other = write_attention(lake, "librarian", "assistant", tokens, 0.4, "librarian")
    page = open_page(lake.root, "marker_attention", subject="librarian")
    assert "librarian · own tokens · personas assistant, librarian" in page.selectbox(key="subject").options
    runs = page.selectbox(key="run").options
    assert runs[0].startswith(f"persona assistant · {other}") and runs[1].startswith("persona librarian · ")
    assert set(charts(page)[C1_TITLE].rows["series"]) == {"librarian as assistant, own tokens"}
    assert any("librarian as assistant, own tokens" in title for title in charts(page) if title.startswith("Gates"))


def test_a_parent_is_typed_by_its_name_in_the_lake_or_by_its_id(open_page, synthetic_lake, tmp_path):
    alone = Lake.open(tmp_path / "lake")
    write_attention(alone, "librarian", "librarian", write_completions(alone, "librarian", ["librarian"]), 0.2)
    for lake, who in ((synthetic_lake, "ID --name base"), (alone.root, "tiny:base")):
        page = open_page(lake, "marker_attention", subject="librarian")
        assert any(f"extract attention --checkpoint {who} --tokens-from" in each.value for each in page.warning)
