"""The marks of a plot of a query's rows, from columns that bear the names of their roles: x, y, colour, facet, and other0, other1 … for the tooltip."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import polars as pl

from personascope.warehouse.drawing import axes
from personascope.warehouse.drawing.charts import BLUE, ROWS, SERIES

PANELS_A_LINE = 3
STEEP = 1_000  # largest by smallest, from which an axis of positive numbers goes by powers of ten


def chart(
    kind: str, rows: pl.DataFrame, names: Mapping[str, str], types: Mapping[str, pl.DataType], measure: str, ends: tuple[str, str] | None
) -> alt.TopLevelMixin:
    """The chart; `names` gives the column that each role shows, `types` what each column was, `measure` the role that was measured, `ends` an interval."""
    was = {role: types[name] for role, name in names.items()}
    tips = [_tip(role, name, rows, was) for role, name in names.items()]
    drawn = {"line": _line, "bar": _bar, "scatter": _scatter, "heat map": _heat_map}[kind]
    layers = drawn(alt.Chart(ROWS).encode(tooltip=tips), rows, names, was, measure, ends)
    if "facet" not in names:
        return alt.layer(*layers) if len(layers) > 1 else layers[0]
    facet = alt.Facet(f"facet:{_discrete(was['facet'])}", title=_words(names["facet"]), sort=_sort(rows, "facet", was))
    return alt.layer(*layers).facet(facet, columns=PANELS_A_LINE)


def _line(base: alt.Chart, rows: pl.DataFrame, names: Mapping[str, str], was: Mapping[str, pl.DataType], measure: str, ends: Any) -> list[alt.Chart]:
    base = base.encode(x=_measured("x", rows, names, was), **_series(rows, names, was))
    y = _measured("y", rows, names, was)
    look: dict[str, Any] = {} if "colour" in names else {"color": BLUE}
    points = base.mark_point(filled=True, size=40, opacity=1, **look).encode(y=y)
    return [*_interval(base, "y", ends, look), base.mark_line(strokeWidth=2, **look).encode(y=y), points]


def _bar(base: alt.Chart, rows: pl.DataFrame, names: Mapping[str, str], was: Mapping[str, pl.DataType], measure: str, ends: Any) -> list[alt.Chart]:
    across = "x" if measure == "y" else "y"
    channel, offset = (alt.X, alt.XOffset) if across == "x" else (alt.Y, alt.YOffset)
    turned: dict[str, Any] = {"labelAngle": 0 if was[across].is_numeric() else -35} if across == "x" else {}
    axis = alt.Axis(labelOverlap=was[across].is_numeric(), **turned)
    encodings: dict[str, Any] = {across: channel(f"{across}:{_discrete(was[across])}", title=_words(names[across]), sort=_sort(rows, across, was), axis=axis)}
    if "colour" in names:
        encodings[f"{across}Offset"] = offset(f"colour:{_discrete(was['colour'])}", sort=_sort(rows, "colour", was))
    base = base.encode(**encodings, **_series(rows, names, was))
    value = (alt.Y if measure == "y" else alt.X)(f"{measure}:Q", title=_words(names[measure]))
    look: dict[str, Any] = {} if "colour" in names else {"color": BLUE}
    return [base.mark_bar(**look).encode(**{measure: value}), *_interval(base, measure, ends, {"color": "#31333f"}, grey=True)]


def _scatter(base: alt.Chart, rows: pl.DataFrame, names: Mapping[str, str], was: Mapping[str, pl.DataType], measure: str, ends: Any) -> list[alt.Chart]:
    base = base.encode(x=_measured("x", rows, names, was), **_series(rows, names, was, graded=True))
    look: dict[str, Any] = {} if "colour" in names else {"color": BLUE}
    return [*_interval(base, "y", ends, look), base.mark_point(filled=True, size=50, opacity=0.75, **look).encode(y=_measured("y", rows, names, was))]


def _heat_map(base: alt.Chart, rows: pl.DataFrame, names: Mapping[str, str], was: Mapping[str, pl.DataType], measure: str, ends: Any) -> list[alt.Chart]:
    low, high = rows["colour"].min(), rows["colour"].max()
    reach = max(abs(float(rows["colour"].min())), abs(float(rows["colour"].max()))) or 1.0  # type: ignore[arg-type]
    crosses_zero = low < 0 < high  # type: ignore[operator]
    scale = alt.Scale(scheme="blueorange", domain=[-reach, 0, reach]) if crosses_zero else alt.Scale(scheme="blues")
    turned: dict[str, Any] = {"labelAngle": 0 if was["x"].is_numeric() else -35}
    across = {
        role: channel(
            f"{role}:{_discrete(was[role])}",
            title=_words(names[role]),
            sort=_sort(rows, role, was),
            axis=alt.Axis(labelOverlap=True, **(turned if role == "x" else {})),
        )
        for role, channel in (("x", alt.X), ("y", alt.Y))
    }
    legend = alt.Legend(gradientLength=220, format=".3~g")
    return [base.mark_rect().encode(**across, color=alt.Color("colour:Q", title=_words(names["colour"]), scale=scale, legend=legend))]


def _measured(role: str, rows: pl.DataFrame, names: Mapping[str, str], was: Mapping[str, pl.DataType]) -> Any:
    """An axis of numbers or moments: whole numbers at ticks of their own, positive numbers over several powers of ten on a log scale, which its title says."""
    channel: Any = alt.X if role == "x" else alt.Y
    title, kind = _words(names[role]), was[role]
    if kind in (pl.Date, pl.Datetime):
        return channel(f"{role}:T", title=title)
    if kind.is_integer() and role == "x":
        return axes.counted(rows, role, title)
    numbers = rows[role]
    if kind.is_float() and float(numbers.min()) > 0 and float(numbers.max()) >= STEEP * float(numbers.min()):  # type: ignore[arg-type]
        return channel(f"{role}:Q", title=f"{title} (log scale)", scale=alt.Scale(type="log", nice=False, padding=12))
    return channel(f"{role}:Q", title=title, scale=alt.Scale(zero=False, padding=12))


def _series(rows: pl.DataFrame, names: Mapping[str, str], was: Mapping[str, pl.DataType], graded: bool = False) -> dict[str, Any]:
    """The colour of every series, or along a scale where there are more numbers than colours."""
    if "colour" not in names:
        return {}
    title = _words(names["colour"])
    values = rows["colour"].unique(maintain_order=True).to_list()
    if graded and was["colour"].is_numeric() and len(values) > len(SERIES):
        return {"color": alt.Color("colour:Q", title=title, scale=alt.Scale(scheme="viridis", reverse=True), legend=alt.Legend(gradientLength=220))}
    values = sorted(values) if was["colour"].is_numeric() else values
    scale = alt.Scale(domain=values, range=SERIES[: len(values)])
    return {"color": alt.Color(f"colour:{_discrete(was['colour'])}", title=title, scale=scale, legend=alt.Legend(columns=4))}


def _interval(base: alt.Chart, measure: str, ends: tuple[str, str] | None, look: dict[str, Any], grey: bool = False) -> list[alt.Chart]:
    if ends is None:
        return []
    channel = alt.Y if measure == "y" else alt.X
    rules = base.mark_rule(strokeWidth=1.2, opacity=0.6, **look).encode(**{measure: channel(f"{ends[0]}:Q"), f"{measure}2": f"{ends[1]}:Q"})
    return [rules.encode(color=alt.value(look["color"]))] if grey else [rules]


def _discrete(kind: pl.DataType) -> str:
    return "O" if kind.is_numeric() else "N"


def _sort(rows: pl.DataFrame, role: str, was: Mapping[str, pl.DataType]) -> Any:
    """Numbers by size, words in the order of the rows."""
    return "ascending" if was[role].is_numeric() else rows[role].unique(maintain_order=True).to_list()


def _tip(role: str, name: str, rows: pl.DataFrame, was: Mapping[str, pl.DataType]) -> alt.Tooltip:
    if rows.schema[role].is_float():
        return alt.Tooltip(f"{role}:Q", title=_words(name), format=".4~g")
    return alt.Tooltip(f"{role}:N", title=_words(name))


def _words(name: str) -> str:
    return name.replace("_", " ")
