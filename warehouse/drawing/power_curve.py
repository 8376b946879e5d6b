"""The curve of a plan: power over the number of questions, one line for each number of samples."""

import polars as pl

from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing

HEIGHT, MOST_LINES = 300, 6


def curve(grid: pl.DataFrame, title: str, facts: tuple[str, ...]) -> Drawing:
    """The curve of a table with columns questions, samples, power, smallest_difference, as `planning.tables.grid` gives it."""
    samples = sorted(grid["samples"].unique())[-MOST_LINES:]
    names = [f"{each} sample{'' if each == 1 else 's'} a question" for each in samples]
    rows = grid.filter(pl.col("samples").is_in(samples)).select(
        "questions",
        series=pl.col("samples").replace_strict(samples, names, return_dtype=pl.String),
        mean="power",
        low=pl.lit(None, pl.Float64),
        high=pl.lit(None, pl.Float64),
        smallest_difference="smallest_difference",
    )
    figure = charts.curves(rows.with_columns(pl.col("questions").cast(pl.Int64)), "power", names, x="questions", x_title="questions")
    return Drawing("power", title, facts, HEIGHT, figure)
