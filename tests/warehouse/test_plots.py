"""Plots of any rows: drawn in the look of the house, refused in a sentence where they would mislead, suggested where they can be drawn."""

import datetime
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from personascope.warehouse.drawing.charts import BLUE, SERIES
from personascope.warehouse.drawing.plots import KINDS, MOST_POINTS, Plot, plot, refusal, suggested
from personascope.warehouse.errors import PersonascopeError

ROWS = pl.DataFrame(
    {
        "subject": ["a"] * 3 + ["b"] * 3,
        "layer": [0, 1, 2] * 2,
        "mean": [0.1, 0.2, 0.3, -0.1, 0.0, 0.1],
        "low": [0.0, 0.1, 0.2, -0.2, -0.1, 0.0],
        "high": [0.2, 0.3, 0.4, 0.0, 0.1, 0.2],
        "n": [20] * 6,
        "parts": [[1.0]] * 6,
        "said": [True, None] * 3,
    }
)
LINE = Plot("line", "layer", "mean", "subject")


def encodings(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The encodings of every mark of a specification."""
    inner = spec.get("spec", spec)
    return [layer["encoding"] for layer in inner.get("layer", [inner])]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("facet", [None, "said"])
def test_every_kind_is_drawn_with_its_sample_under_the_title(kind, facet):
    wanted = {
        "line": LINE,
        "bar": Plot("bar", "layer", "mean", "subject"),
        "scatter": Plot("scatter", "low", "mean", "subject"),
        "heat map": Plot("heat map", "layer", "subject", "mean"),
    }[kind]
    picture = plot(ROWS, replace(wanted, facet=facet), "A title", ["lake here"])
    words = " ".join(ElementTree.fromstring(picture.file("svg")).itertext())
    assert all(part in words for part in ("A title", "6 rows of the query; lake here", "layer" if kind != "scatter" else "low", "subject"))
    assert ("not recorded" in words) == (facet is not None), "a value that is not known has a panel of its own"
    assert picture.is_wide == (facet is None) and picture.file("png").startswith(b"\x89PNG")


def test_colours_are_those_of_the_house():
    colour = encodings(plot(ROWS, LINE, "t").spec)[-1]["color"]
    assert colour["scale"] == {"domain": ["a", "b"], "range": SERIES[:2]}
    alone = plot(ROWS.head(3), Plot("line", "layer", "mean"), "t").spec["layer"][-1]
    assert alone["mark"]["color"] == BLUE and "color" not in alone["encoding"]
    cells = encodings(plot(ROWS, Plot("heat map", "layer", "subject", "mean"), "t").spec)[0]["color"]["scale"]
    assert cells["domain"] == [-0.3, 0, 0.3] and cells["scheme"] == "blueorange", "values on both sides of zero"
    positive = plot(ROWS.with_columns(pl.col("mean") + 1), Plot("heat map", "layer", "subject", "mean"), "t")
    assert encodings(positive.spec)[0]["color"]["scale"] == {"scheme": "blues"}


def test_an_interval_is_drawn_only_where_it_holds_what_is_drawn():
    assert "thin lines from low to high" in plot(ROWS, LINE, "t").spec["title"]["subtitle"][0]
    assert "thin lines" not in plot(ROWS.with_columns(pl.col("low") + 1), LINE, "t").spec["title"]["subtitle"][0]
    assert "thin lines" not in plot(ROWS, Plot("scatter", "mean", "n"), "t").spec["title"]["subtitle"][0]


def test_rows_without_a_place_are_left_out_and_counted():
    rows = ROWS.with_columns(pl.Series("mean", [0.1, None, float("nan"), float("inf"), 0.0, 0.1]))
    picture = plot(rows, LINE, "t")
    assert picture.rows.height == 3 and "3 rows of the query" in picture.spec["title"]["subtitle"][0]
    assert "3 rows without a number left out" in picture.spec["title"]["subtitle"][0]


def test_names_that_vega_reads_otherwise_are_columns_like_others():
    rows = ROWS.rename({"mean": "a.b[0]:'q'", "layer": "count(*)"}).rename({"subject": "x"})
    picture = plot(rows, Plot("line", "count(*)", "a.b[0]:'q'", "x"), "t")
    words = " ".join(ElementTree.fromstring(picture.file("svg")).itertext())
    assert "a.b[0]:'q'" in words and "count(*)" in words and picture.file("svg").count(b"<path") > 6


def test_days_and_moments_run_along_an_axis_and_powers_of_ten_are_said():
    days = [datetime.date(2026, 11, day) for day in (1, 2, 3)]
    rows = pl.DataFrame({"day": days, "at": [datetime.datetime(2026, 11, 1, hour) for hour in (1, 2, 3)], "lr": [1e-6, 1e-4, 1e-2], "y": [1, 2, 3]})
    assert encodings(plot(rows, Plot("line", "day", "y"), "t").spec)[0]["x"]["type"] == "temporal"
    assert plot(rows, Plot("scatter", "at", "y"), "t").rows["x"][0] == "2026-11-01T01:00:00.000"
    assert encodings(plot(rows, Plot("scatter", "lr", "y"), "t").spec)[0]["x"]["title"] == "lr (log scale)"
    json.dumps(plot(rows, Plot("bar", "day", "y"), "t").rows.to_dicts())


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (Plot("line", "layers", "mean"), "x: the query has no column 'layers'; it has subject, layer"),
        (Plot("line", "layer", "parts"), "y: 'parts' holds lists or structures"),
        (Plot("line", "subject", "mean"), "x: 'subject' is text, which has no distances"),
        (Plot("line", "layer", "subject"), "y: 'subject' is no column of numbers, which lines need there"),
        (Plot("scatter", "layer", "said"), "y: 'said' is no column of numbers, which points need there"),
        (Plot("bar", "subject", "said"), "neither 'subject' nor 'said' is a column of numbers"),
        (Plot("heat map", "layer", "subject"), "a heat map needs a colour"),
        (Plot("heat map", "layer", "mean", "subject"), "colour: 'subject' is no column of numbers"),
        (Plot("line", "layer", "mean"), r"2 rows fall on one point \(x = 0\)|2 rows fall on one point \(layer = 0\)"),
        (Plot("bar", "subject", "mean"), r"3 rows fall on one bar \(subject = a\); make what tells them apart colour or facet"),
        (Plot("heat map", "subject", "n", "mean"), r"3 rows fall on one cell \(subject = a, n = 20\); make what tells them apart the facet"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(wanted, reason):
    with pytest.raises(PersonascopeError, match=reason):
        plot(ROWS, wanted, "t")


def test_more_than_a_reader_can_tell_apart_is_refused():
    many = pl.DataFrame({"x": range(MOST_POINTS + 1), "y": range(MOST_POINTS + 1), "word": [str(i) for i in range(MOST_POINTS + 1)]})
    some = many.head(90)
    reasons = {
        refusal(many, Plot("scatter", "x", "y")): "points are more than",
        refusal(some, Plot("scatter", "x", "y", "word")): "colour: 'word' has 90 values, and 7 colours",
        refusal(some, Plot("scatter", "x", "y", None, "word")): "facet: 'word' has 90 values, and 12 panels",
        refusal(some, Plot("bar", "word", "y")): "90 bars are more",
        refusal(many.head(300), Plot("heat map", "x", "word", "y")): "300 values along an axis",
        refusal(many.head(0), Plot("scatter", "x", "y")): "no rows",
        refusal(many.head(2).with_columns(y=pl.lit(None, pl.Float64)), Plot("scatter", "x", "y")): "none of the 2 rows",
    }
    assert [(found, part) for found, part in reasons.items() if found is None or part not in found] == []
    assert refusal(some, Plot("scatter", "x", "y", "y")) is None, "many numbers run along a scale"


def test_what_is_suggested_can_be_drawn_and_keeps_what_was_chosen():
    assert suggested(ROWS, "line") == Plot("line", "layer", "mean", "subject")
    assert suggested(ROWS, "line", {"colour": None}) == Plot("line", "layer", "mean", None, "subject")
    assert suggested(ROWS, "heat map") == Plot("heat map", "layer", "subject", "mean")
    assert suggested(ROWS, "bar", {"y": "n"}) is not None
    for kind in KINDS:
        found = suggested(ROWS, kind)
        assert found is not None and refusal(ROWS, found) is None
    chosen = suggested(ROWS, "line", {"x": "subject"})
    assert chosen is not None and chosen.x == "subject" and refusal(ROWS, chosen), "what was chosen is refused, not replaced"
    assert suggested(ROWS.select("subject", "parts"), "line") is None
