"""Charts that were drawn before: the same for equal rows and choices, new ones for any others."""

import polars as pl

from personascope.warehouse.drawing import charts, kept

ROWS = pl.DataFrame({"series": ["a", "b"], "layer": [0, 1], "mean": [0.1, 0.2], "low": [0.0, None], "high": [0.2, 0.3]})


def test_equal_rows_and_choices_give_the_chart_that_was_drawn():
    first = charts.curves(ROWS, "y", ["a", "b"])
    assert charts.curves(ROWS.clone(), "y", ["a", "b"]) is first and first.spec("t", ["n"], 100) == first.spec("t", ["n"], 100)
    others = [
        charts.curves(ROWS.with_columns(mean=pl.col("mean") + 1), "y", ["a", "b"]),
        charts.curves(ROWS.reverse(), "y", ["a", "b"]),
        charts.curves(ROWS.with_columns(layer=pl.col("layer").cast(pl.Float64)), "y", ["a", "b"]),
        charts.curves(ROWS, "another", ["a", "b"]),
        charts.curves(ROWS, "y", ["b", "a"]),
        charts.curves(ROWS, "y", ["a", "b"], near=True),
        charts.intervals(ROWS, "y"),
    ]
    assert len({id(each) for each in [first, *others]}) == 8
    assert first.spec("one", [], 100)["title"] != first.spec("another", [], 100)["title"]


def test_long_tables_are_drawn_anew():
    rows = pl.DataFrame({"x": [0.0] * (kept.MOST_ROWS + 1), "y": 0.0})
    assert charts.scatter(rows, "x", "y", ("", "")) is not charts.scatter(rows, "x", "y", ("", ""))


def test_a_digest_knows_values_names_and_types():
    tables = [
        ROWS,
        ROWS.rename({"mean": "value"}),
        ROWS.with_columns(pl.col("layer").cast(pl.Int32)),
        ROWS.head(1),
        ROWS.with_columns(pl.lit([1.0]).alias("l")),
    ]
    assert len({kept.digest(each) for each in tables}) == len(tables) and kept.digest(ROWS.clone()) == kept.digest(ROWS)
