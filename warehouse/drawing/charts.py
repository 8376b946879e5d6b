"""Charts with one look, each with its sample in the picture: the app shows them, the report saves them.

A chart never holds its data: they go beside it, so that thousands of cells cost nothing to build, and what is on the screen is what is downloaded. Colours are
those of Okabe and Ito (2008), which colour-blind readers tell apart too.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from textwrap import wrap
from typing import Any, Literal

import altair as alt
import polars as pl
import polars.selectors as cs
import vl_convert
from PIL import Image

from personascope.warehouse.drawing import axes, labels
from personascope.warehouse.drawing.headings import heading
from personascope.warehouse.drawing.kept import kept

BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#9a9da6"
SERIES = [BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK]
EXPORT_WIDTH = 900
EXPORT_SCALE = 2
SAVED_DIGITS = 9
LEVEL_LABELS = 6
TICKS = 8  # of a measured axis, about, so that their numbers stay apart on a narrow screen
PICK = "pick"
MOST_STEPS = 12  # of an ordered colour that a legend lists one by one
TITLE_WIDTH, FACT_WIDTH = 8.0, 6.4  # pixels that a character of a title and of the facts below it takes, about
MISSING, INK = "#e3e4e8", "#31333f"
Kind = Literal["png", "svg", "pdf"]
ROWS = alt.NamedData("rows")
_CONFIG: dict[str, Any] = {
    "background": "white",
    "font": "Source Sans, Source Sans Pro, Helvetica, Arial, sans-serif",
    "view": {"stroke": None},
    "title": {"anchor": "start", "fontSize": 15, "fontWeight": 600, "subtitleFontSize": 12, "subtitleColor": "#5b5e68", "offset": 12, "subtitlePadding": 5},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500, "gridColor": "#e8e9ed", "domainColor": "#9a9da6", "labelLimit": 320},
    "legend": {"orient": "top", "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500, "labelLimit": 400, "titleLimit": 400, "symbolOpacity": 1},
}
# What stands for itself on a white page, and what stands for it on a dark one; figures in cells keep the colours of their cells.
_PAGE, _INK, _FAINT = "#181818", "#e8e9ed", "#b3b7c2"
_ON_DARK = {BLACK: _INK, MISSING: "#3a3d46", "#5b5e68": _FAINT}
_DARK_CONFIG: dict[str, Any] = _CONFIG | {
    "background": "transparent",
    "title": _CONFIG["title"] | {"color": _INK, "subtitleColor": _FAINT},
    "axis": _CONFIG["axis"] | {"gridColor": "#30333d", "domainColor": "#7a7d86", "labelColor": _FAINT, "titleColor": _INK, "tickColor": "#7a7d86"},
    "legend": _CONFIG["legend"] | {"labelColor": _FAINT, "titleColor": _INK},
    "header": {"labelColor": _FAINT, "titleColor": _INK},
}


@dataclass(frozen=True)
class Figure:
    """A chart and the rows it draws, which its downloads hold too."""

    chart: alt.TopLevelMixin
    rows: pl.DataFrame

    def spec(self, title: str, facts: Sequence[str], height: int) -> dict[str, Any]:
        """The Vega-Lite specification without rows or width; `facts` under the title say what a reader must know of the sample."""
        return self._plain | {
            "title": {"text": title, "subtitle": list(facts)},
            "height": height,
            "config": _CONFIG,
            "autosize": {"type": "fit-x", "contains": "padding"},
        }

    @cached_property
    def _plain(self) -> dict[str, Any]:
        """The specification of the chart alone; made once, since it costs as much as all else of a drawing."""
        return self.chart.to_dict(validate=False)


@dataclass(frozen=True)
class Drawing:
    """A figure with all that is said of it: `name` is its file name, unique on a page or in a report; `facts` give n, clusters, seeds and method.

    `height` is in pixels between the axes, `width` in pixels of the saved picture; `runs` are those whose rows it draws.
    """

    name: str
    title: str
    facts: tuple[str, ...]
    height: int
    figure: Figure
    runs: frozenset[str] = frozenset()
    width: int = EXPORT_WIDTH

    @property
    def rows(self) -> pl.DataFrame:
        """The rows as they are saved: rounded, since sums over rows in another order differ in their last digits."""
        return self.figure.rows.with_columns(cs.float().round_sig_figs(SAVED_DIGITS))

    def picture(self, kind: Kind) -> bytes:
        """The figure as a file: the same lake gives the same bytes of PNG and SVG. A PDF of the chart library numbers its parts at random."""
        return picture(self.figure.spec(self.title, self.facts, self.height), self.rows, kind, self.width)


@kept
def curves(
    rows: pl.DataFrame,
    y_title: str,
    names: Sequence[str],
    x: str = "layer",
    x_title: str = "layer, counted from 0",
    full: str | None = None,
    ranks: bool = False,
    near: bool = False,
) -> Figure:
    """Lines over `x` from columns series, mean, low, high (a band; NULL for none) and any others, which the tooltip shows; a line marks 0.

    Where `full` names a column of truth values, points are full where it is true and hollow elsewhere. `ranks`: numbers from 1 by powers of ten, 1 at the top.
    `near`: the axis begins near the lines and not at 0, for figures of which 0 says nothing.
    """
    base = alt.Chart(ROWS).encode(
        x=axes.measured(rows, x, x_title) if rows[x].dtype.is_float() else axes.counted(rows, x, x_title),
        color=alt.Color("series:N", title=None, scale=alt.Scale(domain=list(names), range=SERIES[: len(names)])),
    )
    axis = axes.ranked(max(rows.select(pl.max_horizontal("mean", "high")).to_series(), default=1)) if ranks else {}
    axis = {"scale": alt.Scale(zero=False)} if near else axis
    y = alt.Y("mean:Q", title=y_title, **axis)
    band = base.mark_area(opacity=0.22).encode(y=alt.Y("low:Q", title=y_title, **axis), y2=alt.Y2("high:Q"))
    points = [base.mark_point(filled=True, size=45, opacity=1).encode(y=y, tooltip=tooltip(rows, () if full else ("low", "high")))]
    if full is not None:
        hollow = base.mark_point(filled=False, fill="white", size=45, opacity=1).encode(y=y, tooltip=tooltip(rows))
        points = [hollow.transform_filter(f"!datum['{full}']"), points[0].transform_filter(f"datum['{full}']")]
    return Figure(alt.layer(*([] if ranks or near else [_level(0)]), band, base.mark_line(strokeWidth=2).encode(y=y), *points), rows)


@kept
def intervals(
    rows: pl.DataFrame, y_title: str, margin: float | None = None, x: str = "layer", x_title: str = "layer, counted from 0", full: str | None = None
) -> Figure:
    """Points with error bars over `x` from columns mean, low, high; dashed lines at plus and minus `margin`.

    Where `full` names a column of truth values, points are full where it is true and hollow elsewhere.
    """
    base = alt.Chart(ROWS).encode(x=axes.counted(rows, x, x_title))
    bars = base.mark_rule(color=BLACK, strokeWidth=1.5).encode(y=alt.Y("low:Q", title=y_title), y2=alt.Y2("high:Q"))
    y, tips = alt.Y("mean:Q", title=y_title), tooltip(rows, ("low", "high"))
    points = [base.mark_point(filled=True, size=60, color=BLACK, opacity=1).encode(y=y, tooltip=tips)]
    if full is not None:
        hollow = base.mark_point(filled=False, fill="white", size=60, color=BLACK, opacity=1).encode(y=y, tooltip=tips)
        points = [hollow.transform_filter(f"!datum['{full}']"), points[0].transform_filter(f"datum['{full}']")]
    edges = [] if margin is None else [_level(margin, dashed=True), _level(-margin, dashed=True)]
    return Figure(alt.layer(_level(0), *edges, bars, *points), rows)


@kept
def rates(rows: pl.DataFrame, x_title: str, names: Sequence[str]) -> Figure:
    """Rates between 0 and 1 with intervals, one line per `label`, from columns label, series, rate, low, high."""
    base = alt.Chart(ROWS).encode(
        y=alt.Y("label:N", title=None, sort=in_order(rows["label"])),
        yOffset=alt.YOffset("series:N", sort=list(names)),
        color=alt.Color("series:N", title=None, scale=alt.Scale(domain=list(names), range=(SERIES * len(names))[: len(names)])),
    )
    axis = alt.Axis(format="%", tickCount=5)
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=x_title, axis=axis, scale=alt.Scale(domain=[0, 1])), x2=alt.X2("high:Q"))
    points = base.mark_point(filled=True, size=70, opacity=1).encode(x=alt.X("rate:Q", title=x_title, axis=axis), tooltip=tooltip(rows))
    return Figure(alt.layer(bars, points), rows)


@kept
def states(rows: pl.DataFrame, x: str, y: str, x_title: str, y_order: Sequence[str], looks: dict[str, tuple[str, str]], hidden: Sequence[str] = ()) -> Figure:
    """A grid of cells from column state, whose colour and symbol `looks` gives; where a row is missing there is no cell. The tooltip leaves out `hidden`."""
    counted = rows[x].dtype.is_numeric()
    order: Any = "ascending" if counted else in_order(rows[x])
    angle = 0 if counted or len(order) <= LEVEL_LABELS else -35
    rows = rows.with_columns(symbol=pl.col("state").replace_strict({state: symbol for state, (_, symbol) in looks.items()}))
    used = [state for state in looks if state in set(rows["state"])]
    base = alt.Chart(ROWS).encode(
        x=alt.X(f"{x}:O", title=x_title, sort=order, axis=alt.Axis(labelAngle=angle, labelLimit=220, labelOverlap=counted)),
        y=alt.Y(f"{y}:N", title=None, sort=list(y_order), axis=alt.Axis(labelLimit=420)),
    )
    cells = base.mark_rect(stroke="white", strokeWidth=2, cornerRadius=3).encode(
        color=alt.Color("state:N", title=None, scale=alt.Scale(domain=used, range=[looks[state][0] for state in used])),
        tooltip=tooltip(rows, ("symbol", *hidden)),
    )
    return Figure(alt.layer(cells, base.mark_text(fontSize=12, color="white", fontWeight=700).encode(text=alt.Text("symbol:N"))), rows)


@kept
def bars(rows: pl.DataFrame, value: str, x_title: str) -> Figure:
    """One bar a `label`, in the order of the rows, from 0 to its value; orange is above 0, blue below."""
    base = alt.Chart(ROWS).encode(y=alt.Y("label:N", title=None, sort=in_order(rows["label"])))
    colour = either(f"datum['{value}'] > 0", ORANGE, BLUE)
    drawn = base.mark_bar(height={"band": 0.7}).encode(
        x=alt.X(f"{value}:Q", title=x_title, axis=alt.Axis(tickCount=TICKS)), color=colour, tooltip=tooltip(rows)
    )
    return Figure(alt.layer(drawn, _upright(0)), rows)


@kept
def spans(rows: pl.DataFrame, x_title: str, chosen: str) -> Figure:
    """Points around 0 with intervals, one line per `label` in the order of the rows, from columns label, mean, low, high; the label `chosen` stands out.

    A line feed in a label begins another line of it.
    """
    base = alt.Chart(ROWS).encode(
        y=alt.Y("label:N", title=None, sort=in_order(rows["label"]), axis=alt.Axis(labelLimit=420, labelExpr="split(datum.label, '\\n')"))
    )
    colour = either(f"datum.label === {json.dumps(chosen)}", ORANGE, BLUE)
    short = alt.Axis(format="~g", labelOverlap=True, tickCount=TICKS)
    rules = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=x_title, axis=short), x2=alt.X2("high:Q"), color=colour)
    points = base.mark_point(filled=True, size=70, opacity=1).encode(x=alt.X("mean:Q", title=x_title, axis=short), color=colour, tooltip=tooltip(rows))
    return Figure(alt.layer(_upright(0), rules, points), rows)


@kept
def strips(rows: pl.DataFrame, summary: pl.DataFrame, x_title: str, chosen: str, domain: tuple[float, float]) -> Figure:
    """Every measurement as a tick, one line per `label`, from columns label, value; over them a point and a bar from `summary`: label, mean, low, high.

    `domain`: ends of the axis, so that charts side by side can be compared. The rows to download are the measurements; the summary stands in the chart.
    """
    y = alt.Y("label:N", title=None, sort=in_order(summary["label"]))
    colour = either(f"datum.label === {json.dumps(chosen)}", ORANGE, BLUE)
    x = alt.X("value:Q", title=x_title, scale=alt.Scale(domain=list(domain), padding=8))
    ticks = alt.Chart(ROWS).mark_tick(opacity=0.45, thickness=1.5, size=22).encode(x=x, y=y, color=colour, tooltip=tooltip(rows))
    over = alt.Chart(alt.InlineData(values=summary.to_dicts()))
    rules = over.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=y, color=colour)
    points = over.mark_point(filled=True, size=90, opacity=1, stroke="white").encode(x=alt.X("mean:Q"), y=y, color=colour, tooltip=tooltip(summary))
    return Figure(alt.layer(ticks, rules, points), rows)


@kept
def scatter(
    rows: pl.DataFrame,
    x: str,
    y: str,
    titles: tuple[str, str],
    words: str | None = None,
    colour: str | None = None,
    share: bool = False,
    shape: str | None = None,
) -> Figure:
    """Points of two measurements; `words` names the column written beside each, `colour` an ordered one, `shape` one of few values; `share`: y is a rate.

    A name that would lie on another one or on a point is left to the tooltip.
    """
    rates = {"axis": alt.Axis(format="%"), "scale": alt.Scale(domain=[0, 1])} if share else {"scale": alt.Scale(zero=False, padding=14)}
    across = alt.X(f"{x}:Q", title=titles[0], scale=alt.Scale(zero=False, padding=14), axis=alt.Axis(tickCount=TICKS))
    base = alt.Chart(ROWS).encode(x=across, y=alt.Y(f"{y}:Q", title=titles[1], **rates))
    shade: dict[str, Any] = {}
    if colour is not None:
        many = rows[colour].n_unique() > MOST_STEPS
        legend = alt.Legend(gradientLength=200, format="d") if many and rows[colour].dtype.is_integer() else alt.Legend(labelExpr=axes.label(rows, colour))
        kind = "Q" if many and rows[colour].dtype.is_integer() else "O"
        shade = {"color": alt.Color(f"{colour}:{kind}", title=heading(colour), scale=alt.Scale(scheme="viridis", reverse=True), legend=legend)}
    if shape is not None:
        shade["shape"] = alt.Shape(f"{shape}:N", title=None)
    points = base.mark_point(filled=True, size=60, opacity=0.8, color=BLUE).encode(tooltip=tooltip(rows), **shade)
    if words is None:
        return Figure(points, rows)
    known = rows.drop_nulls([x, y])
    names = known[words].cast(pl.String).fill_null("").to_list()
    named = alt.Chart(alt.InlineData(values=labels.placed(known[x].to_list(), known[y].to_list(), names, (0.0, 1.0) if share else None)))
    align, dx, dy = (alt.ExprRef(f"datum.{name}") for name in ("align", "dx", "dy"))
    texts = named.mark_text(fontSize=labels.FONT, color="#5b5e68", align=align, dx=dx, dy=dy).encode(x="x:Q", y="y:Q", text=alt.Text("words:N"))
    zero = [] if share else [_level(0), _upright(0)]
    return Figure(alt.layer(*zero, points, texts), rows)


@kept
def stacked(rows: pl.DataFrame, y_order: Sequence[str], colours: dict[str, str], x_title: str) -> Figure:
    """Shares that sum to one as a bar per `label`, from columns label, part, fraction; `colours` gives the parts in their order."""
    rows = rows.join(pl.DataFrame({"part": list(colours), "part_ix": range(len(colours))}), on="part", how="left")
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    chart = (
        alt.Chart(ROWS)
        .mark_bar()
        .encode(
            x=alt.X("fraction:Q", title=x_title, axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("label:N", title=None, sort=list(y_order)),
            color=alt.Color("part:N", title=None, scale=scale, sort=list(colours), legend=alt.Legend(columns=2)),
            order=alt.Order("part_ix:Q"),
            tooltip=tooltip(rows, ("part_ix",)),
        )
    )
    return Figure(chart, rows)


@kept
def columns(rows: pl.DataFrame, x: str, y: str, titles: tuple[str, str], names: Sequence[str], order: Sequence[str]) -> Figure:
    """Upright bars side by side, one colour per `series`, over named places `x` in `order` (titles of x and y)."""
    base = alt.Chart(ROWS).encode(
        x=alt.X(f"{x}:N", title=titles[0], sort=list(order), scale=alt.Scale(domain=list(order)), axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        xOffset=alt.XOffset("series:N", sort=list(names)),
        color=alt.Color("series:N", title=None, scale=alt.Scale(domain=list(names), range=(SERIES * len(names))[: len(names)])),
    )
    return Figure(base.mark_bar().encode(y=alt.Y(f"{y}:Q", title=titles[1]), tooltip=tooltip(rows)), rows)


def on_dark(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification for a dark page: light words and lines, edges in the colour of the page, cells and series as they are."""
    return _darkened(spec | {"config": {}}) | {"config": _DARK_CONFIG}


def _darkened(part: Any, name: str = "") -> Any:
    if isinstance(part, dict):
        return {key: _darkened(value, key) for key, value in part.items()}
    if isinstance(part, list):
        return [_darkened(each, name) for each in part]
    if part == "white" and name in ("stroke", "fill"):
        return _PAGE
    return _ON_DARK.get(part, part) if isinstance(part, str) else part


def picture(spec: dict[str, Any], rows: pl.DataFrame, kind: Kind, width: int = EXPORT_WIDTH) -> bytes:
    """The specification over its rows as a PNG, SVG or PDF file, `width` pixels wide; drawn when it is asked for, and kept."""
    return _picture(json.dumps(with_rows(_in_lines(spec, width), rows.to_dicts()) | {"width": width}), kind)


def _in_lines(spec: dict[str, Any], width: int) -> dict[str, Any]:
    """The specification with title and facts in lines that fit a picture of a fixed width, since it cuts what is longer."""
    title = spec.get("title")
    if not isinstance(title, dict) or spec.get("autosize", {}).get("type") != "fit-x":
        return spec
    lines = {
        name: [
            line for each in ([title[name]] if isinstance(title[name], str) else title[name]) for line in wrap(each, int(width / size), break_on_hyphens=False)
        ]
        for name, size in (("text", TITLE_WIDTH), ("subtitle", FACT_WIDTH))
        if name in title
    }
    return spec | {"title": title | lines}


def with_rows(spec: dict[str, Any], rows: pl.DataFrame | list[dict[str, Any]]) -> dict[str, Any]:
    """The specification with the rows it draws."""
    return spec | {"datasets": spec.get("datasets", {}) | {ROWS.name: rows}}


@lru_cache(maxsize=64)
def _picture(spec: str, kind: Kind) -> bytes:
    """PNG and PDF are painted from the SVG, so that Vega lays the chart out once for all three."""
    if kind == "svg":
        return vl_convert.vegalite_to_svg(spec).encode()
    drawn = _picture(spec, "svg").decode()
    return vl_convert.svg_to_pdf(drawn) if kind == "pdf" else _packed(vl_convert.svg_to_png(drawn, scale=EXPORT_SCALE))


def _packed(png: bytes) -> bytes:
    """The same picture in a quarter of the bytes: without the transparency that a white page has none of, and packed well. Packed as well as PNG can be, it
    would take four times as long for one byte in a hundred."""
    with Image.open(io.BytesIO(png)) as drawn:
        opaque = drawn.convert("RGB") if drawn.mode == "RGBA" and drawn.getchannel("A").getextrema() == (255, 255) else drawn
        packed = io.BytesIO()
        opaque.save(packed, "PNG", dpi=drawn.info.get("dpi", (72 * EXPORT_SCALE,) * 2))
    return packed.getvalue()


def either(test: str, then: str, otherwise: str) -> alt.ColorValue:
    """A colour where a test of the row holds, and another elsewhere. Channels by name: Altair takes ten milliseconds to guess what a dict is meant for."""
    return alt.ColorValue(otherwise, condition={"test": test, "value": then})


def _upright(x: float) -> alt.Chart:
    """A thin line from the bottom to the top of the chart at `x`."""
    return alt.Chart(alt.InlineData(values=[{"x": x}])).mark_rule(color=GREY).encode(x=alt.X("x:Q"))


def _level(y: float, dashed: bool = False) -> alt.Chart:
    """A thin line across the chart at `y`."""
    return alt.Chart(alt.InlineData(values=[{"y": y}])).mark_rule(color=GREY, strokeDash=[4, 4] if dashed else []).encode(y=alt.Y("y:Q"))


def in_order(column: pl.Series) -> list[str]:
    return column.unique(maintain_order=True).to_list()


def tooltip(rows: pl.DataFrame, hidden: Sequence[str] = ()) -> list[alt.Tooltip]:
    """Every column of the rows but the hidden ones, numbers to four significant digits."""
    tips = []
    for name, kind in rows.schema.items():
        if name not in hidden:
            words = heading(name)
            tips.append(alt.Tooltip(f"{name}:Q", title=words, format=".4~g") if kind.is_float() else alt.Tooltip(f"{name}:N", title=words))
    return tips
