"""Axes of charts: their scale and ticks by what is counted or measured along them."""

from typing import Any

import altair as alt
import polars as pl

MOST_TICKS = 40
MOST_DIGITS = 80  # of the numbers along an axis, beyond which they touch
SMALL = 0.1
NEARLY = 0.9  # of an axis from 0 to 1: where numbers end below, it would be empty on the right


def counted(rows: pl.DataFrame, x: str, title: str) -> alt.X:
    """An axis of whole numbers, a tick at each of them or, where there are many or long ones, at those that two, five, ten divides; of numbers that would touch
    in a narrow window every other is left out."""
    low, high = min(rows[x]), max(rows[x])
    most = min(MOST_TICKS, MOST_DIGITS / len(str(high)))
    step = next(step for step in (1, 2, 5, 10, 50, 100, high - low) if (high - low) / step <= most or step == high - low)
    return alt.X(
        f"{x}:Q",
        title=title,
        axis=alt.Axis(format="d", values=list(range(low - low % -step, high + 1, step)), labelOverlap="parity", labelSeparation=4, grid=False),
        scale=alt.Scale(nice=False, padding=12),
    )


def ranked(lowest: float) -> dict[str, Any]:
    """Scale and ticks of an axis of ranks from 1 at the top down to `lowest`, by powers of ten."""
    ticks = [step * 10**power for power in range(7) for step in (1, 2, 5) if step * 10**power <= lowest]
    return {"scale": alt.Scale(type="log", reverse=True, nice=False, padding=8), "axis": alt.Axis(values=ticks, format=",")}


def share(x: str, title: str) -> alt.X:
    """An axis from 0 to 1."""
    return alt.X(
        f"{x}:Q", title=title, axis=alt.Axis(format=".1f", values=[step / 10 for step in range(11)], grid=False), scale=alt.Scale(domain=[0, 1], padding=12)
    )


def measured(rows: pl.DataFrame, x: str, title: str) -> alt.X:
    """An axis of real numbers: from 0 to 1 where they lie there and come near 1, as depths do, else as far as they reach."""
    if min(rows[x]) >= 0 and NEARLY <= max(rows[x]) <= 1:
        return share(x, title)
    return alt.X(f"{x}:Q", title=title, axis=alt.Axis(grid=False), scale=alt.Scale(nice=False, padding=12))


def label(rows: pl.DataFrame, column: str) -> str:
    """Vega expression of a tick: 1e-5 where the numbers span powers of ten below 1, as they are elsewhere."""
    if not rows[column].dtype.is_float():
        return "datum.label"
    small = all(number < SMALL for number in rows[column].drop_nulls().to_list())
    return f"format(datum.value, '{'.2~e' if small else '~r'}')"
