"""Charts: files that can be opened, many cells, axes that count, colours that can be told apart."""

import io
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import polars as pl
import pytest
import vl_convert
from PIL import Image

from personascope.warehouse.drawing import charts, maps

ROWS = pl.DataFrame(
    {"series": ["a", "a", "b", "b"], "layer": [0, 1, 0, 1], "mean": [0.1, 0.2, 0.0, -0.1], "low": [0.0, 0.1, None, -0.2], "high": [0.2, 0.3, None, 0.0]}
)


@pytest.fixture
def figure() -> charts.Figure:
    return charts.curves(ROWS, "share", ["a", "b"])


def test_a_png_is_a_picture_at_twice_the_size(figure):
    found = charts.picture(figure.spec("A title", ["n = 4"], 200), figure.rows, "png")
    assert found.startswith(b"\x89PNG")
    assert int.from_bytes(found[16:20], "big") == pytest.approx(charts.EXPORT_WIDTH * charts.EXPORT_SCALE, abs=4)


def test_an_svg_says_title_sample_and_axes(figure):
    root = ElementTree.fromstring(charts.picture(figure.spec("A title & more", ["n = 4 generations"], 200), figure.rows, "svg"))
    words = " ".join(root.itertext())
    for part in ("A title & more", "n = 4 generations", "share", "layer, counted from 0"):
        assert part in words


@pytest.mark.parametrize("width", [720, 900])
def test_no_line_of_a_saved_picture_leaves_it(figure, width):
    title, fact = "Marker log-probability of each layer " * 5, "95% jackknife interval over questions of the mean cosine, " * 5
    spec = figure.spec(title, [fact, "n = 4"], 200)
    drawn = np.asarray(Image.open(io.BytesIO(charts.picture(spec, figure.rows, "png", width))).convert("L"))
    assert bool((drawn[:150, -8:] == 255).all()), "a line is cut by the edge"
    words = " ".join("".join(f"{each} " for each in ElementTree.fromstring(charts.picture(spec, figure.rows, "svg", width)).itertext()).split())
    assert title.strip() in words and fact.strip() in words and "n = 4" in words


def test_a_csv_holds_the_rows_that_are_drawn(figure):
    assert pl.read_csv(io.StringIO(figure.rows.write_csv())).equals(ROWS)


@pytest.mark.parametrize(("ends_at", "domain"), [(1.0, [0, 1]), (0.96, [0, 1]), (0.4, None), (2.0, None)])
def test_an_axis_of_shares_ends_at_1_where_the_numbers_come_near_it(ends_at, domain):
    rows = ROWS.with_columns(dose=pl.Series([0.0, ends_at] * 2))
    drawn = charts.curves(rows, "share", ["a", "b"], "dose", "dose").spec("A title", [], 200)["layer"]
    assert {json.dumps(each["encoding"]["x"]["scale"].get("domain")) for each in drawn if "x" in each.get("encoding", {})} == {json.dumps(domain)}


@pytest.mark.parametrize(("ends_at", "step"), [(27, 1), (40, 1), (41, 2), (200, 10), (1200, 100)])
def test_numbers_along_an_axis_do_not_touch(ends_at, step):
    rows = ROWS.with_columns(layer=pl.Series([0, ends_at] * 2))
    drawn = charts.curves(rows, "share", ["a", "b"]).spec("A title", [], 200)["layer"]
    (ticks,) = {tuple(each["encoding"]["x"]["axis"]["values"]) for each in drawn if "x" in each.get("encoding", {})}
    assert ticks == tuple(range(0, ends_at + 1, step))


@pytest.mark.slow(2)
def test_more_cells_than_altair_takes_by_itself():
    rows = pl.DataFrame({"layer": [layer for layer in range(80) for _ in range(64)], "head": list(range(64)) * 80}).with_columns(
        mean_delta=pl.col("head") / 64.0 - 0.5
    )
    assert rows.height == 5120
    figure = maps.heat_map(rows, "head", "layer", "mean_delta", ("head", "layer", "share"))
    assert charts.picture(figure.spec("Heads", ["n = 1"], 400), rows, "svg").count(b"<path") > 5000


@pytest.mark.parametrize(("n_layers", "expected"), [(1, [0]), (2, [0, 1]), (28, list(range(28))), (80, list(range(0, 80, 2)))])
def test_every_tick_of_a_layer_axis_is_a_layer(n_layers, expected):
    rows = pl.DataFrame({"layer": list(range(n_layers))}).with_columns(mean=0.5, low=0.25, high=0.75)
    spec = charts.intervals(rows, "difference").spec("t", ["n"], 100)
    axes = [layer["encoding"]["x"]["axis"]["values"] for layer in spec["layer"] if "x" in layer["encoding"]]
    assert axes == [expected, expected]


def test_ticks_of_many_steps_are_round():
    rows = pl.DataFrame({"step": list(range(1, 201))}).with_columns(mean=0.5, low=0.25, high=0.75)
    spec = charts.intervals(rows, "loss", x="step").spec("t", ["n"], 100)
    assert next(layer["encoding"]["x"]["axis"]["values"] for layer in spec["layer"] if "x" in layer["encoding"]) == list(range(10, 201, 10))


def test_a_pair_that_is_not_there_is_grey_in_a_matrix():
    rows = pl.DataFrame({"a": ["p", "q"], "b": ["q", "p"], "cosine": [0.5, 0.5]})
    spec = maps.matrix(rows, "a", "b", "cosine", ("", "", "cosine"), ["p", "q"]).spec("t", [], 100)
    grey = spec["layer"][0]
    assert grey["mark"]["color"] == maps.MISSING and spec["datasets"][grey["data"]["name"]] == [{"a": "p", "b": "p"}, {"a": "q", "b": "q"}]
    whole = pl.concat([rows, pl.DataFrame({"a": ["p", "q"], "b": ["p", "q"], "cosine": [1.0, 1.0]})])
    assert len(maps.matrix(whole, "a", "b", "cosine", ("", "", "cosine"), ["p", "q"]).spec("t", [], 100)["layer"]) == 2


def test_names_of_a_scatter_stand_beside_their_points_and_not_among_its_rows():
    rows = pl.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0], "name": ["a", None]})
    figure = charts.scatter(rows, "x", "y", ("", ""), words="name")
    spec = figure.spec("t", [], 100)
    assert [each["words"] for each in spec["datasets"][spec["layer"][-1]["data"]["name"]]] == ["a"] and figure.rows.equals(rows)
    assert b">a<" in charts.picture(spec, rows, "svg")


def test_lines_at_zero_and_at_the_margin_are_in_the_chart():
    rows = pl.DataFrame({"layer": [0, 1], "mean": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3]})
    spec = charts.intervals(rows, "difference", margin=0.005).spec("t", ["n"], 100)
    drawn = json.loads(json.dumps(charts.with_rows(spec, rows.to_dicts())))
    levels = [drawn["datasets"][layer["data"]["name"]][0]["y"] for layer in drawn["layer"] if layer["data"]["name"] != "rows"]
    assert sorted(levels) == [-0.005, 0, 0.005]


def test_a_heat_map_is_centred_on_zero_whatever_its_values():
    for values, reach in (([0.1, 0.3], 0.3), ([-0.2, 0.1], 0.2), ([0.0, 0.0], 1.0), ([None, 0.4], 0.4)):
        rows = pl.DataFrame({"layer": [0, 1], "head": [0, 0], "value": values}, schema_overrides={"value": pl.Float64})
        spec = maps.heat_map(rows, "head", "layer", "value", ("h", "l", "v")).spec("t", ["n"], 100)
        assert spec["encoding"]["color"]["scale"]["domain"] == [-reach, 0, reach]


def test_series_colours_differ_in_lightness_or_hue_for_colour_blind_readers():
    """Okabe and Ito's palette, in the order used; two series, the common case, are blue and vermilion."""
    assert charts.SERIES[:2] == ["#0072b2", "#d55e00"]
    assert len(set(charts.SERIES)) == len(charts.SERIES) == 7


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_figure_gives_the_same_bytes(figure, kind):
    spec = figure.spec("A title", ["n = 4"], 200)
    first = charts.picture(spec, figure.rows, kind)
    charts._picture.cache_clear()
    assert charts.picture(spec, figure.rows, kind) == first


def test_a_chart_is_laid_out_once_for_all_three_formats(figure, monkeypatch):
    laid_out: list[str] = []
    lay_out = vl_convert.vegalite_to_svg

    def counted(spec: str) -> str:
        laid_out.append(spec)
        return lay_out(spec)

    monkeypatch.setattr(vl_convert, "vegalite_to_svg", counted)
    spec = figure.spec("A title", ["n = 4"], 210)
    kinds: tuple[charts.Kind, ...] = ("png", "svg", "pdf")
    assert [charts.picture(spec, figure.rows, kind)[:4] for kind in kinds] == [b"\x89PNG", b"<svg", b"%PDF"]
    assert len(laid_out) == 1
    assert charts.picture(spec, figure.rows, "png") == charts._packed(vl_convert.vegalite_to_png(laid_out[0], scale=charts.EXPORT_SCALE))


def test_a_pdf_holds_its_letters_as_text(figure):
    """Letters stay letters: fonts are inside, and a page draws with them; a picture put into a PDF would hold none."""
    found = charts.picture(figure.spec("A title", ["n = 4"], 200), figure.rows, "pdf")
    assert found.startswith(b"%PDF") and b"%%EOF" in found[-32:]
    assert characters(found) >= set("Atitleshare=4")


def characters(pdf: bytes) -> set[str]:
    """What the fonts of a PDF can write, by their tables from glyphs to Unicode."""
    tables = b"".join(re.findall(rb"beginbf(?:char|range)(.*?)endbf", pdf, re.DOTALL))
    return {chr(int(code, 16)) for code in re.findall(rb"<[0-9a-fA-F]+> <([0-9a-fA-F]{4})>", tables)}


def test_a_cell_without_a_value_is_grey_and_holds_no_number():
    rows = pl.DataFrame({"a": ["x", "x", "y", "y"], "b": ["x", "y", "x", "y"], "cosine": [1.0, None, None, 0.5]})
    figure = maps.matrix(rows, "a", "b", "cosine", ("", "", "cosine"), ["x", "y"])
    drawn = charts.picture(figure.spec("t", ["n"], 100), rows, "svg").decode()
    texts = [each.text for each in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert {"1", "0.5"} <= set(texts) and "null" not in texts
    assert drawn.count(f'fill="{charts.MISSING}"') == 2
    full = maps.matrix(rows.fill_null(0.25), "a", "b", "cosine", ("", "", "cosine"), ["x", "y"])
    assert charts.MISSING not in charts.picture(full.spec("t", ["n"], 100), full.rows, "svg").decode()


def test_the_last_digit_of_a_sum_does_not_change_a_file(figure):
    drawn = charts.Drawing("name", "title", ("n = 4",), 200, figure)
    shaken = charts.Drawing("name", "title", ("n = 4",), 200, charts.curves(ROWS.with_columns(pl.col("mean") * (1 + 1e-15)), "share", ["a", "b"]))
    other = charts.Drawing("name", "title", ("n = 4",), 200, charts.curves(ROWS.with_columns(pl.col("mean") * 1.001), "share", ["a", "b"]))
    assert not shaken.figure.rows.equals(ROWS)
    assert drawn.picture("svg") == shaken.picture("svg") != other.picture("svg")


def test_spans_keep_the_order_of_the_rows_and_mark_the_chosen_one():
    rows = pl.DataFrame({"label": ["b", 'a "quoted"'], "mean": [0.2, -0.1], "low": [0.1, None], "high": [0.3, None]})
    spec = charts.spans(rows, "share", 'a "quoted"').spec("t", ["n"], 60)
    encodings = [layer["encoding"] for layer in spec["layer"] if "y" in layer["encoding"]]
    assert all(each["y"]["sort"] == ["b", 'a "quoted"'] for each in encodings)
    drawn = charts.picture(spec, rows, "svg").decode()
    assert (drawn.count(charts.ORANGE), drawn.count(charts.BLUE)) == (1, 2)
