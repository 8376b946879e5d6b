"""Figures say of which checkpoints the weights were quantised, on pages and in reports alike."""

import json

import altair as alt
import polars as pl
import pytest

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.drawing import charts, quantised
from personascope.warehouse.drawing.report.contents import contents
from personascope.warehouse.drawing.report.document import Picture
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.reading import read_study

SAID = "weights were quantised: base (Q4_1), villain (Q4_1)"


def test_the_checkpoints_of_the_runs_that_are_drawn_are_named_once():
    rows = pl.DataFrame(
        {"run_id": ["a", "b", "c", "d"], "checkpoint": ["villain", "base", "villain", "other"], "kind": ["Q4_1", "Q4_1", "Q4_1", "fp8 by vllm"]}
    )
    assert quantised.fact(rows, {"a", "b", "c", "x"}) == (SAID,)
    assert quantised.fact(rows, {"x"}) == quantised.fact(rows.clear(), {"a"}) == quantised.fact(rows.clear(), ()) == ()
    assert quantised.fact(rows[:3], ()) == ("quantised weights in this lake: 2 checkpoints (Q4_1)",)
    assert quantised.fact(rows, set("abcd")) == ("quantised weights: 3 checkpoints (Q4_1, fp8 by vllm)",)


def test_only_the_word_of_the_file_is_told_and_weights_as_saved_say_nothing(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    source = WarehouseSource(Warehouse(lake))
    rows = pl.DataFrame({"layer": [0, 1], "delta": [0.1, 0.2], "sem": [0.1, 0.1]})
    drawing = charts.Drawing("curve", "A title", ("n 3",), 100, charts.Figure(alt.Chart(), rows), frozenset({"a"}))
    assert quantised.told(source, [drawing])[0].facts == ("n 3",)
    assert quantised.told(source, []) == []


@pytest.mark.slow(2)
def test_a_page_tells_it_under_the_title(synthetic_lake, open_page, monkeypatch):
    monkeypatch.setattr(quantised, "QUERY", "select run_id, checkpoint, 'Q4_1' as kind from checkpoints")
    page = open_page(synthetic_lake, "marker_attention", persona="villain")
    told = [json.loads(each.proto.spec)["title"]["subtitle"] for each in page.get("vega_lite_chart")]
    assert told and any("weights were quantised: " in " ".join(lines) for lines in told)


@pytest.mark.slow(2)
def test_a_report_tells_it_too(synthetic_lake, monkeypatch):
    monkeypatch.setattr(quantised, "QUERY", "select run_id, checkpoint, 'Q4_1' as kind from checkpoints")
    study = read_study("marker-attention", "quick").model_copy(update={"figures": ["layer_curves"]})
    document = contents(Lake.existing(synthetic_lake), study, [], "marker-attention")
    drawn = [block.drawing for section in document.sections for block in section.blocks if isinstance(block, Picture)]
    assert drawn and any("weights were quantised: " in each.facts[-1] for each in drawn)
