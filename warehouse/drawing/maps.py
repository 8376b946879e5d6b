"""Maps: values, rates and words in a grid of two axes, in the look of the charts; numbers stand in the cells where they fit."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from personascope.warehouse.drawing import axes
from personascope.warehouse.drawing.charts import BLACK, EXPORT_WIDTH, INK, LEVEL_LABELS, MISSING, ORANGE, PICK, ROWS, Figure, either, in_order, tooltip
from personascope.warehouse.drawing.kept import kept

DARK_FROM = 0.55
MOST_NUMBERS = 30
MOST_LETTERS = 80  # of all names below a matrix, where they are written level
NARROWEST_WORDS = 40  # pixels of a cell
FONT, LEAST_FONT, EM = 10, 9, 2.3  # sizes of a number in a cell in pixels; its width over its size
KNOWN = "isValid(datum.rate)"
QUARTERS = [0, 0.25, 0.5, 0.75, 1]  # of a legend of shares, so that its numbers stay apart


@kept
def heat_map(rows: pl.DataFrame, x: str, y: str, value: str, titles: tuple[str, str, str]) -> Figure:
    """Values around 0 over two counted axes, both from 0 (titles of x, y and value); orange is above 0, blue below."""
    reach = max((abs(number) for number in rows[value].drop_nulls()), default=0.0) or 1.0
    chart = (
        alt.Chart(ROWS)
        .mark_rect()
        .encode(
            x=alt.X(f"{x}:O", title=titles[0], axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y(f"{y}:O", title=titles[1], axis=alt.Axis(labelOverlap=True)),
            color=alt.Color(
                f"{value}:Q",
                title=titles[2],
                scale=alt.Scale(scheme="blueorange", domain=[-reach, 0, reach]),
                legend=alt.Legend(gradientLength=260, format="+.2~g"),
            ),
            tooltip=tooltip(rows),
        )
    )
    return Figure(chart, rows)


@kept
def rate_cells(rows: pl.DataFrame, x: str, y: str, titles: tuple[str, str]) -> Figure:
    """Rates between 0 and 1 in a grid of two counted axes, `y` upwards, from columns rate (NULL: grey), words, framed and chosen; a click picks x and y.

    `words` stands in the cell over its rate; framed cells have a coloured edge and chosen ones a black one. Where the rows have a column failure, a cell that
    holds one is crossed and its tooltip says why; where they have a column interval, it stands small under the rate.
    """
    base = alt.Chart(ROWS).encode(
        x=alt.X(f"{x}:O", title=titles[0], axis=alt.Axis(labelAngle=0, labelExpr=axes.label(rows, x))),
        y=alt.Y(f"{y}:O", title=titles[1], sort="descending", axis=alt.Axis(labelExpr=axes.label(rows, y))),
    )
    click = alt.selection_point(name=PICK, fields=[x, y], on="click", clear=False)
    hidden = ("words", "framed", "chosen", "failure", "interval")
    with_interval = "interval" in rows.columns
    cells, missing = _rate_rectangles(base, rows, hidden)
    edge = base.mark_rect(fillOpacity=0, strokeWidth=3, strokeJoin="round").encode(
        stroke=alt.StrokeValue(ORANGE, condition={"test": "datum.chosen", "value": BLACK}), tooltip=tooltip(rows, hidden)
    )
    texts = base.mark_text(fontSize=14, fontWeight=700, dy=-15 if with_interval else -8).encode(text=alt.Text("words:N"), color=_on_rate())
    numbers = base.mark_text(fontSize=11, dy=1 if with_interval else 9).transform_filter(KNOWN).encode(text=alt.Text("rate:Q", format=".3~p"), color=_on_rate())
    framed, chosen = (edge.transform_filter(f"datum.{name}") for name in ("framed", "chosen"))
    layers = [cells.add_params(click), missing, framed, chosen, texts, numbers]
    if with_interval:
        layers.append(base.mark_text(fontSize=9, dy=15).encode(text=alt.Text("interval:N"), color=_on_rate()))
    if "failure" in rows.columns:
        lost = base.transform_filter("isValid(datum.failure)").encode(tooltip=tooltip(rows.select(x, y, "failure")))
        layers += [lost.mark_rect(fill=MISSING, stroke="white", strokeWidth=2), lost.mark_text(text="✕", fontSize=20, color=ORANGE)]
    return Figure(alt.layer(*layers), rows)


@kept
def rate_matrix(rows: pl.DataFrame, x: str, y: str, x_title: str, y_order: Sequence[str]) -> Figure:
    """Rates between 0 and 1 of named rows and columns, columns in the order of the rows; a cell without a rate (NULL) is grey."""
    base = alt.Chart(ROWS).encode(
        x=alt.X(f"{x}:N", title=x_title, sort=in_order(rows[x]), axis=alt.Axis(labelAngle=-90)),
        y=alt.Y(f"{y}:N", title=None, sort=list(y_order)),
    )
    cells = _rate_rectangles(base, rows, legend=True)
    if rows[x].n_unique() > MOST_NUMBERS:
        return Figure(alt.layer(*cells), rows)
    numbers = base.mark_text(**_fitting(rows[x].n_unique())).encode(text=alt.Text("rate:Q", format=".0%"), color=_on_rate())
    return Figure(alt.layer(*cells, numbers.transform_filter(KNOWN)), rows)


@kept
def matrix(rows: pl.DataFrame, x: str, y: str, value: str, titles: tuple[str, str, str], order: Sequence[str]) -> Figure:
    """A value per pair of names, both axes in `order`, each value printed in its cell (titles of x, y and value); darker is larger.

    A pair that is NULL or not there is grey.
    """
    known = rows[value].drop_nulls()
    low, high = (min(known), max(known)) if len(known) else (0.0, 1.0)
    middle = (low + high) / 2
    few = len(order) <= LEVEL_LABELS
    level = few and len(order) * max(map(len, order), default=0) <= MOST_LETTERS
    base = alt.Chart(ROWS).encode(
        x=alt.X(f"{x}:N", title=titles[0], sort=list(order), axis=alt.Axis(labelAngle=0 if level else -35)),
        y=alt.Y(f"{y}:N", title=titles[1], sort=list(order)),
    )
    shade = alt.Color(f"{value}:Q", title=titles[2], scale=alt.Scale(scheme="blues", domain=[low, high]), legend=alt.Legend(gradientLength=200))
    cells = base.mark_rect(stroke="white", strokeWidth=2).encode(color=shade, tooltip=tooltip(rows))
    ink = either(f"datum['{value}'] > {middle}", "white", INK)
    numbers = base.mark_text(**({"fontSize": 12} if few else _fitting(len(order)))).encode(
        text=alt.Text(f"{value}:Q", format=".4~f" if few else ".2f"), color=ink
    )
    there = set(rows.select(x, y).iter_rows())
    absent = [{x: across, y: down} for across in order for down in order if (across, down) not in there]
    empty = [base.mark_rect(stroke="white", strokeWidth=2, color=MISSING).properties(data=alt.InlineData(values=absent))] if absent else []
    if len(known) == rows.height:
        return Figure(alt.layer(*empty, cells, numbers), rows)
    valid = f"isValid(datum['{value}'])"
    missing = base.mark_rect(stroke="white", strokeWidth=2, color=MISSING).encode(tooltip=tooltip(rows))
    return Figure(alt.layer(*empty, *(each.transform_filter(valid) for each in (cells, numbers)), missing.transform_filter(f"!{valid}")), rows)


@kept
def token_grid(rows: pl.DataFrame, x: str, y: str, words: str, shade: str, titles: tuple[str, str, str], hidden: Sequence[str] = ()) -> Figure:
    """A token in every cell of two counted axes, `y` upwards, shaded by a share between 0 and 1 (titles of x, y and shade); framed cells have a black edge.

    Where the cells are too narrow for words, the tooltip alone has them.
    """
    base = alt.Chart(ROWS).encode(
        x=alt.X(f"{x}:O", title=titles[0], axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y(f"{y}:O", title=titles[1], sort="descending", axis=alt.Axis(labelOverlap=True)),
    )
    hidden = ("framed", *hidden)
    scale = alt.Scale(scheme="blues", domain=[0, 1])
    legend = alt.Legend(format="%", gradientLength=200, values=QUARTERS)
    cells = base.mark_rect(stroke="white").encode(color=alt.Color(f"{shade}:Q", title=titles[2], scale=scale, legend=legend), tooltip=tooltip(rows, hidden))
    edges = base.mark_rect(fillOpacity=0, stroke=BLACK, strokeWidth=1.5).transform_filter("datum.framed").encode(tooltip=tooltip(rows, hidden))
    ink = either(f"datum['{shade}'] > {DARK_FROM}", "white", INK)
    width = EXPORT_WIDTH / rows[x].n_unique()
    texts = [base.mark_text(fontSize=11, limit=width).encode(text=alt.Text(f"{words}:N"), color=ink)] if width >= NARROWEST_WORDS else []
    return Figure(alt.layer(cells, edges, *texts), rows)


def _fitting(n_columns: int) -> dict[str, Any]:
    """The size of numbers in so many columns: smaller where cells are narrow, and none where they would run into each other, by the width on the screen."""
    size = f"width / {EM * n_columns:g}"
    return {"fontSize": alt.ExprRef(f"clamp({size}, {LEAST_FONT}, {FONT})"), "opacity": alt.ExprRef(f"{size} < {LEAST_FONT} ? 0 : 1")}


def _rate_rectangles(base: alt.Chart, rows: pl.DataFrame, hidden: Sequence[str] = (), legend: bool = False) -> tuple[alt.Chart, alt.Chart]:
    """Rectangles from column rate, and grey ones where it is NULL: a rate that is not known is no rate of zero."""
    scale = alt.Scale(scheme="blues", domain=[0, 1])
    shade = alt.Color("rate:Q", title="rate", scale=scale, legend=alt.Legend(format="%", gradientLength=200, values=QUARTERS) if legend else None)
    cells = base.mark_rect(stroke="white", strokeWidth=2).encode(tooltip=tooltip(rows, hidden))
    return cells.transform_filter(KNOWN).encode(color=shade), cells.transform_filter(f"!{KNOWN}").encode(color=alt.ColorValue(MISSING))


def _on_rate() -> alt.ColorValue:
    """Colour of words that can be read on the colour of their rate."""
    return either(f"datum.rate > {DARK_FROM}", "white", INK)
