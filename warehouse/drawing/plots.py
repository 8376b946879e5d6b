"""A chart of the rows of any query: line, bars, scatter or heat map in the look of the house; what cannot be drawn honestly is refused in a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any, Literal, get_args

import polars as pl
import polars.selectors as cs

from personascope.warehouse.drawing import plot_marks
from personascope.warehouse.drawing.charts import EXPORT_WIDTH, SERIES, Figure, Kind, picture
from personascope.warehouse.drawing.words import NOTHING_KNOWN, count
from personascope.warehouse.errors import PersonascopeError

PlotKind = Literal["line", "bar", "scatter", "heat map"]
KINDS: tuple[PlotKind, ...] = get_args(PlotKind)
MOST_POINTS, MOST_BARS, MOST_LEVELS, MOST_PANELS = 5_000, 80, 200, 12
HEIGHT, PANEL_HEIGHT, PANEL_WIDTH, LINE, MOST_HEIGHT = 340, 180, 240, 20, 900
ALONG = ("layer", "step", "position", "head", "epochs", "lr", "depth")  # what is counted off along an axis, where a query has it
LAST = ("n", "n_rows", "n_clusters", "n_questions", "seed", "sample_ix", *ALONG)  # numbers that are drawn only where there is nothing else
MOST_TRIES = 300
INTERVALS = (("low", "high"), ("ci_low", "ci_high"), ("wilson_low", "wilson_high"))


@dataclass(frozen=True)
class Plot:
    """What is drawn of which columns; a heat map's `colour` is the value of its cells, elsewhere it tells series apart. `facet`: a panel for each value."""

    kind: PlotKind
    x: str
    y: str
    colour: str | None = None
    facet: str | None = None

    def columns(self) -> dict[str, str]:
        """The column of every role that is taken."""
        roles = {"x": self.x, "y": self.y, "colour": self.colour, "facet": self.facet}
        return {role: name for role, name in roles.items() if name is not None}


@dataclass(frozen=True)
class Picture:
    """A plot that can be shown and saved: `spec` holds everything but the rows; `is_wide` where it takes any width, else its panels have theirs."""

    spec: dict[str, Any]
    rows: pl.DataFrame
    is_wide: bool

    def file(self, kind: Kind) -> bytes:
        """The plot as PNG, SVG or PDF."""
        return picture(self.spec, self.rows, kind, EXPORT_WIDTH if self.is_wide else PANEL_WIDTH)


def drawable(rows: pl.DataFrame) -> list[str]:
    """The columns that an axis can hold: no lists and no structures."""
    return [name for name, kind in rows.schema.items() if not kind.is_nested() and kind not in (pl.Binary, pl.Object)]


def measures(rows: pl.DataFrame) -> list[str]:
    """The columns that hold numbers."""
    return [name for name, kind in rows.schema.items() if kind.is_numeric()]


def suggested(rows: pl.DataFrame, kind: PlotKind, chosen: Mapping[str, str | None] | None = None) -> Plot | None:
    """Columns with which a plot of this kind can be drawn, the plainest first, where some roles are `chosen` (None: left free).

    Where none can be drawn, the first that has a column for every role, whose refusal says why not; None where there are no such columns.
    """
    chosen = chosen or {}
    known = [name for name in drawable(rows) if rows[name].null_count() < rows.height]
    numbers = [name for name in known if name in measures(rows)]
    numbers.sort(key=lambda name: (name in LAST or name.startswith("n_"), not rows.schema[name].is_float()))
    varied = [name for name in known if rows[name].n_unique() > 1]
    counted = [name for name in ALONG if name in varied]
    words = sorted((name for name in varied if name not in numbers), key=lambda name: name.endswith("_id"))
    moments = [name for name in words if rows.schema[name].is_temporal()]
    along = {"line": [*counted, *moments] or numbers, "bar": [*words, *counted], "scatter": numbers, "heat map": [*counted, *words]}[kind]
    values = numbers[:3]
    apart: list[str | None] = [None, *(name for name in [*words, *counted] if rows[name].n_unique() <= MOST_PANELS)]
    open_to: dict[str, list[str | None]] = {
        "facet": [None, *words] if kind == "heat map" else apart,
        "colour": [*values] if kind == "heat map" else apart,
        "x": [*dict.fromkeys(along)],
        "y": [*along] if kind == "heat map" else [*values],
    }
    roles = [[chosen[role]] if role in chosen else names for role, names in open_to.items()]
    plots = [
        Plot(kind, x, y, colour, facet)
        for facet, colour, x, y in islice(product(*roles), MOST_TRIES)
        if x is not None and y is not None and _all_differ(x, y, colour, facet)
    ]
    return next((each for each in plots if refusal(rows, each) is None), plots[0] if plots else None)


def _all_differ(*names: str | None) -> bool:
    taken = [name for name in names if name is not None]
    return len(set(taken)) == len(taken)


def plot(rows: pl.DataFrame, wanted: Plot, title: str, facts: Sequence[str] = ()) -> Picture:
    """Draws it; `facts` stand under the title, behind how many rows it shows. Raises PersonascopeError where it cannot be drawn, or not without misleading."""
    reason = refusal(rows, wanted)
    if reason is not None:
        raise PersonascopeError(reason)
    shown = _shown(rows, wanted)
    interval = _interval(rows, shown, wanted)
    left_out = rows.height - shown.height
    said = [f"{count(shown.height, 'row')} of the query", *facts]
    said += [f"thin lines from {interval[0]} to {interval[1]}"] if interval else []
    said += [f"{count(left_out, 'row')} without a number left out"] if left_out else []
    names = wanted.columns() | {f"other{place}": name for place, name in enumerate(_others(rows, wanted))}
    places = {name: role for role, name in names.items()}
    ends = (places[interval[0]], places[interval[1]]) if interval else None
    figure = Figure(plot_marks.chart(wanted.kind, shown, names, rows.schema, _measure(rows, wanted), ends), shown)
    panels = wanted.facet is not None
    spec = figure.spec(title, ["; ".join(said)], PANEL_HEIGHT if panels else _height(rows, shown, wanted))
    if panels:
        size = {"width": PANEL_WIDTH, "height": spec.pop("height")}
        spec = spec | {"spec": spec["spec"] | size} if "spec" in spec else spec | size
        spec["autosize"] = {"type": "pad", "contains": "padding"}
    return Picture(spec, shown, not panels)


def refusal(rows: pl.DataFrame, wanted: Plot) -> str | None:
    """Why this cannot be drawn, in a sentence; None where it can."""
    if rows.is_empty():
        return "the query gave no rows; there is nothing to draw"
    for role, name in wanted.columns().items():
        if name not in rows.columns:
            return f"{role}: the query has no column {name!r}; it has {', '.join(rows.columns)}"
        if name not in drawable(rows):
            return f"{role}: {name!r} holds lists or structures, which no axis can show; take one value out of it in the query"
    if (unfit := _unfit(rows, wanted)) is not None:
        return unfit
    shown = _shown(rows, wanted)
    if shown.is_empty():
        return f"none of the {count(rows.height, 'row')} holds a number in every column that is drawn"
    return _too_many(rows, shown, wanted) or _ambiguous(rows, shown, wanted)


def _unfit(rows: pl.DataFrame, wanted: Plot) -> str | None:
    """Whether a column is of a kind that its role cannot take."""
    numbers = measures(rows)
    if wanted.kind == "heat map":
        if wanted.colour is None:
            return "a heat map needs a colour: the column of numbers that its cells show"
        return None if wanted.colour in numbers else f"colour: {wanted.colour!r} is no column of numbers, which the cells of a heat map show"
    if wanted.kind == "bar":
        if wanted.x in numbers or wanted.y in numbers:
            return None
        return f"bars need numbers along one axis; neither {wanted.x!r} nor {wanted.y!r} is a column of numbers"
    if wanted.y not in numbers:
        return f"y: {wanted.y!r} is no column of numbers, which {'lines' if wanted.kind == 'line' else 'points'} need there"
    if wanted.x not in numbers and not rows.schema[wanted.x].is_temporal():
        return f"x: {wanted.x!r} is text, which has no distances to draw along; bars or a heat map can show it"
    return None


def _too_many(rows: pl.DataFrame, shown: pl.DataFrame, wanted: Plot) -> str | None:
    """Whether there is more than a reader could tell apart."""
    if wanted.facet is not None and (n := shown["facet"].n_unique()) > MOST_PANELS:
        return f"facet: {wanted.facet!r} has {n:,} values, and {MOST_PANELS} panels are the most; keep some of them in the query"
    if wanted.colour is not None and not is_graded(rows, wanted) and (n := shown["colour"].n_unique()) > len(SERIES):
        return f"colour: {wanted.colour!r} has {n:,} values, and {len(SERIES)} colours can be told apart; make it the facet, or keep some of them in the query"
    if wanted.kind in ("line", "scatter") and shown.height > MOST_POINTS:
        return f"{shown.height:,} points are more than a chart can show ({MOST_POINTS:,}); average or count in the query"
    if wanted.kind == "bar" and (n := shown[_category(rows, wanted)].n_unique()) > MOST_BARS:
        return f"{n:,} bars are more than a chart can show ({MOST_BARS}); keep the largest in the query (order by … limit …)"
    if wanted.kind == "heat map" and (n := max(shown["x"].n_unique(), shown["y"].n_unique())) > MOST_LEVELS:
        return f"{n:,} values along an axis are more than a heat map can show ({MOST_LEVELS}); keep some of them in the query"
    return None


def _ambiguous(rows: pl.DataFrame, shown: pl.DataFrame, wanted: Plot) -> str | None:
    """Where several rows fall on one place a bar would stand for their sum, a line would go up and down, and a cell would show the last of them."""
    if wanted.kind == "scatter":
        return None
    place, free = {"line": (("x", "colour"), "colour or facet"), "bar": ((_category(rows, wanted), "colour"), "colour or facet")}.get(
        wanted.kind, (("x", "y"), "the facet")
    )
    keys = [role for role in (*place, "facet") if role in shown.columns]
    several = shown.group_by(keys, maintain_order=True).len().filter(pl.col("len") > 1)
    if several.is_empty():
        return None
    where = ", ".join(f"{wanted.columns()[key]} = {several[key][0]}" for key in keys)
    what = {"line": "point", "bar": "bar", "heat map": "cell"}[wanted.kind]
    return f"{several['len'][0]:,} rows fall on one {what} ({where}); make what tells them apart {free}, or average them in the query"


def is_graded(rows: pl.DataFrame, wanted: Plot) -> bool:
    """Whether the colour runs along a scale instead of telling series apart."""
    if wanted.colour is None:
        return False
    graded = wanted.colour in measures(rows) and rows[wanted.colour].n_unique() > len(SERIES)
    return wanted.kind == "heat map" or (wanted.kind == "scatter" and graded)


def _measure(rows: pl.DataFrame, wanted: Plot) -> str:
    """The role that holds what was measured."""
    if wanted.kind == "heat map":
        return "colour"
    return "y" if wanted.y in measures(rows) else "x"


def _category(rows: pl.DataFrame, wanted: Plot) -> str:
    """The role along which bars stand."""
    return "x" if _measure(rows, wanted) == "y" else "y"


def _interval(rows: pl.DataFrame, shown: pl.DataFrame, wanted: Plot) -> tuple[str, str] | None:
    """The columns of an interval around what is drawn: those of the usual names, where every value lies between them."""
    others = _others(rows, wanted)
    if wanted.kind == "heat map" or _measure(rows, wanted) != "y":
        return None
    for low, high in INTERVALS:
        if low in others and high in others and low in measures(rows) and high in measures(rows):
            ends = shown.select(pl.col(f"other{others.index(low)}").alias("low"), pl.col("y"), pl.col(f"other{others.index(high)}").alias("high")).drop_nulls()
            if ends.height and ends.select(((pl.col("low") <= pl.col("y")) & (pl.col("y") <= pl.col("high"))).all()).item():
                return low, high
    return None


def _others(rows: pl.DataFrame, wanted: Plot) -> list[str]:
    return [name for name in drawable(rows) if name not in wanted.columns().values()]


def _shown(rows: pl.DataFrame, wanted: Plot) -> pl.DataFrame:
    """The rows that have a place on the axes, in columns named by their roles, and every other column for the tooltip, in values that Vega reads."""
    roles = [pl.col(name).alias(role) for role, name in wanted.columns().items()]
    taken = rows.select(*roles, *(pl.col(name).alias(f"other{place}") for place, name in enumerate(_others(rows, wanted))))
    taken = taken.with_columns(cs.decimal().cast(pl.Float64), cs.by_dtype(pl.Null, pl.Boolean, pl.Categorical, pl.Enum).cast(pl.String))
    taken = taken.with_columns(pl.when(cs.float().is_finite()).then(cs.float()))  # NaN and infinity have no place on an axis
    taken = taken.drop_nulls([role for role in wanted.columns() if taken.schema[role] != pl.String])
    taken = taken.with_columns(pl.col(role).fill_null(NOTHING_KNOWN) for role in wanted.columns() if taken.schema[role] == pl.String)
    moment = "%Y-%m-%dT00:00:00" if wanted.kind in ("line", "scatter") else "%Y-%m-%d"  # with its hour a day is read as local time, as moments are
    return taken.with_columns(
        cs.datetime().dt.to_string("%Y-%m-%dT%H:%M:%S%.3f"),
        cs.date().dt.to_string(moment),
        cs.time().dt.to_string("%H:%M:%S"),
        cs.duration().dt.total_seconds(fractional=True),
    )


def _height(rows: pl.DataFrame, shown: pl.DataFrame, wanted: Plot) -> int:
    """Pixels between the axes: bars that lie and the lines of a heat map need some each."""
    lying = wanted.kind == "heat map" or (wanted.kind == "bar" and _category(rows, wanted) == "y")
    series = shown["colour"].n_unique() if wanted.kind == "bar" and wanted.colour else 1
    return min(max(120, LINE * shown["y"].n_unique() * max(1, series // 2)), MOST_HEIGHT) if lying else HEIGHT
