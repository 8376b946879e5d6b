"""What is written on a chart fits beside the sidebar on a screen of 800 pixels: title, facts, legend, numbers in cells."""

import polars as pl
import pytest

from personascope.app_pages.shared.charts import FACT_LINE, LIMIT, TITLE_LINE, narrowed
from personascope.warehouse.drawing import charts, maps

ROWS = pl.DataFrame({"series": ["a", "b"], "layer": [0, 1], "mean": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3]})


def legends(part: object) -> list[dict]:
    """The legends of coloured series in a specification."""
    if isinstance(part, list):
        return [each for one in part for each in legends(one)]
    if not isinstance(part, dict):
        return []
    own = [part["color"].get("legend", {})] if isinstance(part.get("color"), dict) and "scale" in part["color"] else []
    return own + [each for one in part.values() for each in legends(one)]


@pytest.mark.parametrize(("names", "columns"), [(["a", "b"], None), (["x" * 60, "y" * 60], 1), (["checkpoint " + letter * 12 for letter in "abcdef"], 2)])
def test_words_and_legends_are_broken_into_lines_and_none_is_lost(names, columns):
    title, fact = "What training moved, " * 6 + "over seeds", "95% interval by question (Wilson's on effective completions); " * 4 + "no seed"
    spec = narrowed(charts.curves(ROWS, "y", names).spec(title, [fact, "short"], 100))
    lines, facts = spec["title"]["text"], spec["title"]["subtitle"]
    assert max(map(len, lines)) <= TITLE_LINE and " ".join(lines) == title
    assert max(map(len, facts)) <= FACT_LINE and " ".join(facts) == f"{fact} short"
    found = legends(spec)
    assert found and all(legend.get("columns") == columns for legend in found)


def test_a_short_title_stays_one_line_and_is_cut_at_the_width_of_its_place():
    title = narrowed(charts.curves(ROWS, "y", ["a", "b"]).spec("Short", ["n"], 100))["title"]
    assert title == {"text": "Short", "subtitle": ["n"], "limit": LIMIT}, "not at the width before columns wrapped"


@pytest.mark.parametrize("n", [7, 25])
def test_numbers_in_cells_shrink_with_the_cells_and_go_where_they_would_run_together(n):
    names = [f"p{number}" for number in range(n)]
    rows = pl.DataFrame({"a": names, "b": names, "cosine": [0.5] * n})
    layers = maps.matrix(rows, "a", "b", "cosine", ("", "", "cosine"), names).spec("t", [], 100)["layer"]
    (numbers,) = [layer["mark"] for layer in layers if layer["mark"]["type"] == "text"]
    assert f"width / {maps.EM * n:g} < {maps.LEAST_FONT} ? 0 : 1" in numbers["opacity"]["expr"]
    assert numbers["fontSize"]["expr"] == f"clamp(width / {maps.EM * n:g}, {maps.LEAST_FONT}, {maps.FONT})"
